from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from pydantic import ValidationError

from gla.config.environments import Environment
from gla.files import read_json
from gla.options import ConfigError
from gla.policies import NumericalError
from gla.sources import behaviours, ppo, random
from gla.sources.kinds import SOURCES
from gla.storage.collecting import collect
from gla.storage.reading import read, verify

TRANSITIONS = {"observation", "final_observation", "action", "reward", "terminated", "truncated"}
GRID = Environment(id="gla/GridWorld-v0", tasks=[{"goal": [0, 2]}, {"goal": [2, 2]}])
PENDULUM = Environment(id="InvertedPendulum-v5", kwargs={"max_episode_steps": 40})


def _options(**kwargs):
    return random.Options(
        **{"environment": "e", "lifetimes": 4, "num_envs": 2, "num_updates": 3, "num_steps": 25} | kwargs
    )


def _collect(folder, entry, lifetimes=range(4), name="e", **kwargs):
    paths = folder / "history.zarr", folder / "digest.json"
    collect(_options(**kwargs), entry, name, lifetimes, *paths)
    return paths


def _bytes(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return {n: _collect(tmp_path_factory.mktemp(n), e) for n, e in (("grid", GRID), ("pendulum", PENDULUM))}


# Uniform actions


@pytest.mark.parametrize("name, entry", [("grid", GRID), ("pendulum", PENDULUM)])
def test_collecting_twice_gives_the_same_bytes(tmp_path, stores, name, entry):
    again = _collect(tmp_path, entry)
    assert _bytes(again[0]) == _bytes(stores[name][0]) and again[1].read_bytes() == stores[name][1].read_bytes()
    verify(*again)


def test_blocks_and_seeds_differ(tmp_path, stores):
    contents = {read_json(stores["grid"][1])["content"]}
    for i, change in enumerate(({"lifetimes": range(4, 8)}, {"seed": 1})):
        (tmp_path / str(i)).mkdir()
        contents.add(read_json(_collect(tmp_path / str(i), GRID, **change)[1])["content"])
    assert len(contents) == 3


@pytest.mark.parametrize("name", ["grid", "pendulum"])
def test_a_store_of_uniform_actions_holds_transitions_alone(stores, name):
    body, h = read_json(stores[name][1]), read(*stores[name])
    assert set(body["arrays"]) == set(h.arrays) == TRANSITIONS | {"mean_return", "env_steps"}
    assert not random.Options.provides and not _options().snapshots()
    assert h.observation.shape[:3] == h.reward.shape == (4, 2, 75) and h.mean_return.shape == (4, 3)
    assert body["updates"] == 3 and body["steps_per_update"] == 25 and h.updates == 3
    for array in h.arrays.values():
        assert array.dtype.kind != "f" or array is h.mean_return or np.isfinite(array).all()


def test_transitions_are_the_environments_own(stores):
    """Each stream of the grid is compared with a grid that is stepped with the same actions. Lifetime k has task k % 2."""
    h = read(*stores["grid"])
    for k in range(4):
        for e in range(2):
            env = gym.make(GRID.id, **GRID.tasks[k % 2])
            state, _ = env.reset()
            for s in range(75):
                np.testing.assert_array_equal(h.observation[k, e, s], state)
                state, reward, terminated, truncated, _ = env.step(int(h.action[k, e, s]))
                ended = terminated or truncated
                assert (reward, terminated, truncated) == (
                    h.reward[k, e, s],
                    h.terminated[k, e, s],
                    h.truncated[k, e, s],
                )
                np.testing.assert_array_equal(h.final_observation[k, e, s], state if ended else 0 * state)
                state = env.reset()[0] if ended else state
    assert h.truncated.any() and h.reward.any()


def test_discrete_actions_are_uniform(tmp_path):
    h = read(*_collect(tmp_path, GRID, num_updates=1, num_steps=1000))
    share = np.bincount(h.action.ravel(), minlength=4) / h.action.size
    np.testing.assert_allclose(share, 1 / 4, atol=5 * (3 / 16 / h.action.size) ** 0.5)
    flat = h.action.reshape(8, -1)
    assert len({row.tobytes() for row in flat}) == 8  # no two streams act alike


def test_continuous_actions_are_uniform_between_the_bounds(stores):
    action = read(*stores["pendulum"]).action.ravel()  # bounds are -3 and 3
    assert np.abs(action).max() <= 3 and action.min() < -2.9 < 2.9 < action.max()
    assert action.mean() == pytest.approx(0, abs=5 * 3**0.5 / action.size**0.5)
    assert action.var() == pytest.approx(3, rel=0.15)


class _Broken(gym.Env):
    """Observes, or pays, something that is not finite at its third step."""

    observation_space, action_space = (
        gym.spaces.Box(-1e9, 1e9, (2,), np.float32),
        gym.spaces.Box(-np.inf, np.inf, (1,), np.float32),
    )

    def __init__(self, what="reward", value=np.nan):
        self.what, self.value = what, value

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        broken = {self.what: self.value} if self.t == 3 else {}
        return (
            np.full(2, broken.get("observation", 0.0), np.float32),
            float(broken.get("reward", 0.0)),
            self.t == 20,
            False,
            {},
        )


gym.register("BrokenSource-v0", entry_point=_Broken, max_episode_steps=20)


@pytest.mark.parametrize("what, value, step", [("reward", np.nan, 2), ("reward", 1e39, 2), ("observation", np.inf, 3)])
def test_a_number_that_is_not_finite_is_named_and_leaves_no_digest(tmp_path, what, value, step):
    """1e39 is finite, but not in the type that is stored."""
    entry = Environment(id="BrokenSource-v0", kwargs={"what": what, "value": value})
    with pytest.raises(
        NumericalError, match=f"collect e 2-3: lifetime 2, update 0, copy 0, step {step}: {what} is not finite"
    ):
        _collect(tmp_path, entry, range(2, 4))
    assert not (tmp_path / "digest.json").exists()


def test_actions_without_bounds_are_drawn_from_a_wide_interval(tmp_path):
    entry = Environment(id="BrokenSource-v0", kwargs={"what": "nothing"})
    action = read(*_collect(tmp_path, entry)).action
    assert np.isfinite(action).all() and 900 < np.abs(action).max() <= 1000


# All kinds


@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_stream_of_more_steps_than_windows_can_count_is_refused(kind):
    options = SOURCES.options(kind)
    assert options(environment="e", num_updates=1000, num_steps=128).updates == 1000
    with pytest.raises(
        ValidationError, match=r"num_updates 100000000 of num_steps 128 .*expected less than 2147483648"
    ):
        options(environment="e", num_updates=10**8, num_steps=128)


def test_what_a_source_provides_is_what_it_writes():
    assert ppo.Options.provides == {"distribution", "policies"} and random.Options.provides == set()
    spec = type("Spec", (), {"observation_size": 3, "action_size": 2, "discrete": False, "states": 0})()
    for kind in SOURCES:
        found = SOURCES[kind].arrays(SOURCES.options(kind)(environment="e", num_updates=2), spec, range(2))
        assert set(found) >= TRANSITIONS
        assert ({"mean", "log_std"} <= set(found)) == ("distribution" in SOURCES.options(kind).provides)
        assert ("policy_w0" in found) == ("snapshot_update" in found) == ("policies" in SOURCES.options(kind).provides)


def test_kinds_are_a_list_of_names_and_an_unknown_one_is_named():
    assert list(SOURCES) == ["ppo", "random", "q_learning", "noisy_oracle", "behaviours", "ucb", "thompson"]
    with pytest.raises(ConfigError, match="sources.kind: 'sac' .expected one of ppo, random"):
        SOURCES["sac"]


# Learners in tabular worlds


def _act(kind, environment, lifetimes=range(1), **options):
    """The transitions of a source, (K, E, T, ...), and its run."""
    own = SOURCES[kind]
    made = SOURCES.options(kind)(environment="e", **options)
    run = own.Run(made, environment, lifetimes, "e")
    parts = list(run.updates())
    run.close()
    assert set(parts[0]) <= set(own.arrays(made, run.spec, lifetimes))
    return {name: np.concatenate([p[name] for p in parts], 2) for name in parts[0]}, run


def test_q_learning_reaches_the_values_of_value_iteration():
    """In a deterministic world, with random actions and a step size of 1, it reaches Watkins' fixed point, Q = r + gamma max Q'."""
    room = Environment(id="gla/DarkRoomEnds-v0", kwargs={"goal": [0, 0], "size": 3, "start": "random"})
    _, run = _act("q_learning", room, num_updates=1, num_steps=4000, learning_rate=1.0, epsilon=[1.0, 1.0], gamma=0.8)
    t, values = run.envs.tables[0], np.zeros(9)
    for _ in range(50):
        values = t.expected(values, 0.8).max(1)
    expected = t.expected(values, 0.8)
    expected[0] = 0  # nobody acts at the goal
    np.testing.assert_allclose(np.delete(run.values[0], 0, 0), np.delete(expected, 0, 0), atol=1e-6)


def test_q_learning_learns_each_goal_alone():
    tasks = [{"task": t} for t in range(6)]
    room = Environment(id="gla/DarkRoomEnds-v0", tasks=tasks)
    values, _ = _act("q_learning", room, range(12), num_updates=4, num_steps=1000)
    reached = values["terminated"].reshape(12, 4, 1000).sum(2)
    assert (reached[:, 3] > 80).all() and reached[
        :, 0
    ].mean() < 40  # as epsilon falls, from nearly never to every 12 steps or less


def test_q_learning_tells_states_apart_that_look_alike():
    """With the key and without it every cell looks the same; the learner is told which it is (Tarasov et al., 2025)."""
    rooms = Environment(id="gla/DarkKeyToDoorEnds-v0", kwargs={"key": [0, 0], "door": [2, 2], "size": 3})
    values, run = _act("q_learning", rooms, num_updates=1, num_steps=6000)
    assert run.values.shape == (1, 27, 5)
    over = values["terminated"] | values["truncated"]
    assert values["reward"][0, 0, -1000:].sum() / over[0, 0, -1000:].sum() > 1.95


@pytest.mark.parametrize("kind", ["ucb", "thompson"])
def test_regret_of_bandit_learners_grows_with_the_logarithm(kind):
    """Ten times the pulls, far less than ten times the regret; uniform pulls lose half of what there is."""
    bandit = Environment(id="gla/Bandit-v0", kwargs={"arms": 2, "means": [0.3, 0.7]})
    values, _ = _act(kind, bandit, range(64), num_updates=1, num_steps=2000)
    regret = 0.4 * (values["action"][:, 0] == 0).cumsum(-1).mean(0)
    assert regret[199] < 20 and regret[1999] < 3 * regret[199]
    # Auer et al. (2002), Theorem 1: at most 8 ln n / 0.4 + (1 + pi^2 / 3) 0.4.
    assert regret[1999] < 8 * np.log(2000) / 0.4 + (1 + np.pi**2 / 3) * 0.4


def test_thompson_sampling_pulls_an_arm_as_often_as_it_is_likely_to_be_best():
    """Two arms after one reward each, 1 and 0: Beta(2, 1) is above Beta(1, 2) with probability 5/6."""
    bandit = Environment(id="gla/Bandit-v0", kwargs={"arms": 2})
    options = SOURCES.options("thompson")(environment="e", num_envs=20_000)
    run = SOURCES["thompson"].Run(options, bandit, range(1), "e")
    run.pulls[:], run.total_reward[:, 0] = 1, 1
    assert (run.act(None) == 0).mean() == pytest.approx(5 / 6, abs=0.01)


def test_thompson_sampling_refuses_rewards_that_are_not_its_kind():
    bandit = Environment(id="gla/Bandit-v0", kwargs={"rewards": "gaussian"})
    with pytest.raises(Exception, match="expected 0 or 1"):
        _act("thompson", bandit)
    values, _ = _act("thompson", bandit, range(32), rewards="gaussian", num_steps=300)
    best = [gym.make("gla/Bandit-v0").unwrapped.means.argmax()]
    assert (values["action"][:, 0, -50:] == best).mean() > 0.7


def test_an_oracle_reaches_the_optimum_and_labels_random_steps():
    room = Environment(id="gla/DarkRoom-v0", tasks=[{"task": t} for t in range(10)])
    values, run = _act("noisy_oracle", room, range(10), epsilon=[0.0, 0.0], num_steps=40)
    best = [t.start @ t.optimal_values(20)[-1] for t in run.envs.tables]
    np.testing.assert_allclose(values["reward"][:, 0].reshape(10, 2, 20).sum(2), np.repeat(best, 2).reshape(10, 2))
    assert (values["action"] == values["optimal_action"]).all()
    noisy, _ = _act("noisy_oracle", room, range(10), epsilon=[1.0, 1.0], num_steps=2000)
    counts = np.bincount(noisy["action"].ravel(), minlength=5) / noisy["action"].size
    np.testing.assert_allclose(counts, 0.2, atol=0.01)
    # Labels are those of the states that were seen: up or down where the goal is another row, first.
    falling, _ = _act("noisy_oracle", room, range(10), num_steps=2000)
    same = (falling["action"] == falling["optimal_action"]).reshape(10, 4, 500).mean((0, 2))
    assert (np.diff(same) > 0.15).all() and same[0] < 0.4 and same[3] > 0.85


@pytest.mark.parametrize(
    "kind, facts, said",
    [
        ("q_learning", {"discrete": False, "states": 0}, "Discrete"),
        ("ucb", {"discrete": True, "states": 9}, "bandit"),
        ("noisy_oracle", {"discrete": True, "states": 9}, "tabular"),
        ("behaviours", {"discrete": True, "states": 9}, "tabular"),
    ],
)
def test_sources_are_refused_where_they_cannot_act(kind, facts, said):
    source = SOURCES.options(kind)(environment="e")
    (problem,) = source.problems_in("e", {"tables": False, "time_limit": 10} | facts)
    assert said in problem and "'e'" in problem
    assert not list(random.Options(environment="e").problems_in("e", {"tables": False, "time_limit": 1} | facts))


def _behaving(kind, monkeypatch, updates=6, **options):
    """Steps in 32 random worlds of one kind of behaviour alone, (updates, N, steps) each, and what ran them."""
    monkeypatch.setattr(behaviours, "BEHAVIOURS", (behaviours.Behaviour(*kind),))
    options = behaviours.Options(environment="e", num_updates=updates, num_steps=300, lifetimes=32, **options)
    run = behaviours.Run(
        options, Environment(id="gla/AnyMDP-v0", tasks=[{"task": i} for i in range(32)]), range(32), "e"
    )
    steps = list(run.updates())
    return {
        name: np.stack([one[name].reshape(32, -1, *one[name].shape[3:]) for one in steps]) for name in steps[0]
    }, run


def test_a_mixture_says_who_acted_and_what_an_oracle_would_have_done():
    entry = Environment(id="gla/AnyMDP-v0", tasks=[{"task": i} for i in range(8)])
    values, run = _act("behaviours", entry, range(64), num_updates=1, num_steps=1500)
    tags = np.bincount(values["behaviour"].ravel(), minlength=7) / values["behaviour"].size
    assert (tags > 0).all() and tags[behaviours.RANDOM] > 0.2 and len(tags) == 7
    state = values["observation"].argmax(-1) if values["observation"].ndim > 3 else values["observation"]
    for i in range(64):
        table, task = run.envs.tables[run.envs.task[i]], run.envs.task[i]
        place = np.argsort(table.seen)[
            np.searchsorted(np.sort(table.seen), state[i, 0])
        ]  # the state of each observation
        best = run.reference[task, place].max(-1)
        chosen = np.take_along_axis(run.reference[task, place], values["optimal_action"][i, 0][:, None], -1)[:, 0]
        np.testing.assert_allclose(chosen, best)
        for oracle in range(4):
            here = values["behaviour"][i, 0] == oracle
            q = run.oracles[oracle, task, place[here]]
            taken = np.take_along_axis(q, values["action"][i, 0][here][:, None], -1)[:, 0]
            np.testing.assert_allclose(taken, q.max(-1))


def test_learners_of_a_mixture_learn_and_the_model_based_one_reaches_the_oracle(monkeypatch):
    monkeypatch.setattr(behaviours, "NOISELESS", 1.0)
    paid = {
        kind: _behaving((kind, 1.0, 3), monkeypatch)[0]["reward"].mean(-1)
        for kind in ("random", "model", "q", "oracle")
    }
    low, high = paid["random"].mean(0), paid["oracle"].mean(0)
    share = {kind: np.median((paid[kind] - low) / (high - low), 1) for kind in ("model", "q")}
    assert share["model"][-1] > 0.9 and share["model"][-1] > share["model"][0] + 0.2
    assert 0.1 < share["q"][-1] < share["model"][-1]


def test_behaviours_change_at_the_ends_of_episodes_and_steady_ones_never(monkeypatch):
    monkeypatch.setattr(behaviours, "NOISELESS", 1.0)
    found = {}
    for steady in (0.0, 1.0):
        entry = Environment(id="gla/AnyMDP-v0", tasks=[{"task": i} for i in range(8)])
        values, _ = _act("behaviours", entry, range(64), num_steps=1500, steady=steady, switch=1.0)
        oracle = values["behaviour"][:, 0] < 4
        found[steady] = [len(set(own[here])) for own, here in zip(values["behaviour"][:, 0], oracle, strict=True)]
    assert np.mean(found[0.0]) > 2 and max(found[1.0]) <= 1


@pytest.mark.parametrize("oracles", [True, False])
def test_oracles_act_only_if_they_are_asked_for_and_label_every_step(oracles):
    entry = Environment(id="gla/AnyMDP-v0", tasks=[{"task": i} for i in range(4)])
    values, run = _act("behaviours", entry, range(64), num_updates=1, num_steps=300, oracles=oracles)
    assert (values["behaviour"] < behaviours.MODEL_BASED).any() == oracles
    assert len(np.unique(values["optimal_action"])) == run.spec.action_size


@pytest.mark.parametrize("kind", ["q_learning", "noisy_oracle", "behaviours", "ucb", "thompson"])
def test_stores_of_learners_are_the_same_twice(tmp_path, kind):
    entry = Environment(id="gla/Bandit-v0" if kind in ("ucb", "thompson") else "gla/DarkRoom-v0", tasks=[{"task": 1}])
    if kind in ("noisy_oracle", "q_learning", "behaviours"):
        entry = entry.model_copy(update={"kwargs": {"size": 3}})
    found = []
    for i in range(2):
        paths = tmp_path / f"{i}/history.zarr", tmp_path / f"{i}/digest.json"
        made = SOURCES.options(kind)(environment="e", lifetimes=3, num_updates=2, num_steps=50)
        collect(made, entry, "e", range(3), *paths)
        verify(*paths)
        found.append(_bytes(paths[0]))
        assert read(*paths).observation.shape[:3] == (3, 1, 100)
    assert found[0] == found[1]
