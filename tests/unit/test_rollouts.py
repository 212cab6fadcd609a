import dataclasses
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from gla import reference
from gla.agent import AgentModel, TrainedAgent
from gla.conditions import ppo_final
from gla.conditions.kinds import CONDITIONS
from gla.conditions.roles import BASELINES, IN_CONTEXT
from gla.config.agents import Agent
from gla.config.environments import Environment, Reference
from gla.config.evaluations import Evaluation
from gla.encoding import projected
from gla.encoding.making import encoding_of
from gla.environments.vector import VectorEnv
from gla.files import CorruptFile, read_json
from gla.in_context import frame_seeds, run_agent, temperature_at
from gla.manifests import TEST
from gla.models.kinds import MODELS
from gla.options import ConfigError
from gla.policies import NumericalError
from gla.rollout import EpisodeRows, environments_of, run_baseline, run_policies
from gla.rows import COLUMNS, read_rows, write_rows
from gla.splits import seed_of
from gla.storage.reading import read

PENDULUM = Environment(id="InvertedPendulum-v5", kwargs={"max_episode_steps": 30})
GRID = Environment(id="gla/GridWorld-v0", tasks=[{"goal": [0, 2]}, {"goal": [2, 0]}])
ENTRIES = {"pendulum": PENDULUM, "grid": GRID}
REWARD, END = 80, 81  # positions in a token
ENCODED = {"projected": {"kind": "projected"}, "tabular": {"kind": "tabular", "states": 10, "actions": 5}}

FRESH = [
    (model, encoding, name) for model in MODELS for encoding, name in (("projected", "pendulum"), ("projected", "grid"), ("tabular", "grid"))
    # One that counts states needs Discrete observations, which neither has. One that plans has outputs other than 0 from the first step on.
    if not (MODELS.options(model).counts_states or MODELS.options(model).plans)
]  # fmt: skip


def _fresh(model="transformer", encoding=ENCODED["projected"], **kwargs):
    """An agent that no data have seen: its outputs are 0."""
    options = MODELS.options(model)
    heads = {"heads": 2} if "heads" in options.model_fields else {}
    config = Agent(dataset="d", model=options(layers=2, width=16, **heads), **kwargs)
    agent = TrainedAgent(None, config, {"encoding": encoding})
    torch.manual_seed(0)
    return dataclasses.replace(agent, model=AgentModel(config, encoding_of(agent.manifest).sizes).eval())


def _agent(projections="gaussian", standardise=True, model="transformer", **kwargs):
    agent = _fresh(model, ENCODED["projected"] | {"projections": projections, "standardise": standardise}, **kwargs)
    torch.nn.init.normal_(agent.model.sequence.head.weight, std=0.3)
    return agent


def _settings(environment="pendulum", **kwargs):
    length = {} if "episodes" in kwargs else {"env_steps": 40}
    return Evaluation(environment=environment, **{"seeds": 4, "context_length": 16} | length | kwargs)


def _within(agent, entry):
    """The encoding and the sequence model that an agent acts with in an environment."""
    envs = environments_of(entry, _settings())
    envs.close()
    return agent.within(envs.spec)


def _recorded(agent, entry, evaluation, condition="agent"):
    """A rollout's frame, its tokens (N, T, token) and its outputs (N, T, output)."""
    kind, seen = type(agent.model.sequence), []
    original = kind.step

    def step(self, x, state):
        output = original(self, x, state)
        seen.append((x.clone(), output.clone()))
        return output

    kind.step = step
    try:
        frame = run_agent(agent, entry, evaluation, condition).frame("a", "e", condition)
    finally:
        kind.step = original
    return frame, torch.stack([x for x, _ in seen], 1), torch.stack([y for _, y in seen], 1)


@pytest.mark.parametrize("length", [5, 16, 4000])
@pytest.mark.parametrize("entry", [PENDULUM, GRID], ids=["pendulum", "grid"])
@pytest.mark.parametrize("model", [m for m in MODELS if not MODELS.options(m).encodings])
@torch.no_grad()
def test_a_rollout_is_the_forward_pass_of_its_own_tokens(model, entry, length):
    agent = _agent(model=model, eta="position")
    _, tokens, outputs = _recorded(agent, entry, _settings(context_length=length))
    encoding, sequence = _within(agent, entry)
    assert tokens.shape == (4, 40, encoding.sizes.token)
    if "window" in type(agent.config.model).model_fields:  # a state of fixed size has no window
        sequence.options = agent.config.model.model_copy(update={"window": length})
    _, again = sequence(tokens)
    torch.testing.assert_close(again, outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("condition", IN_CONTEXT)
@pytest.mark.parametrize("model, encoding, name", FRESH)
def test_a_fresh_agent_acts_in_contexts_of_every_kind(model, encoding, name, condition):
    """Its outputs are always 0, so that its actions do not depend on the context."""
    agent = _fresh(model, ENCODED[encoding])
    frame, tokens, outputs = _recorded(agent, ENTRIES[name], _settings(name), condition)
    sizes = _within(agent, ENTRIES[name])[0].sizes
    assert outputs.shape == (4, 40, sizes.output) and (outputs == 0).all()
    assert tokens.shape == (4, 40, sizes.token) and tokens.isfinite().all()
    assert (tokens[:, 1:] != tokens[:, :1]).any(-1).any(1).all()  # something was shown
    _check_rows(frame)
    other = run_agent(_fresh(), ENTRIES[name], _settings(name), "agent").frame("a", "e", condition)
    pd.testing.assert_frame_equal(frame, other)


def _identity_agent():
    return _agent("identity", standardise=False)


def test_with_rewards_shuffled_each_seed_sees_those_of_the_seed_before_it(monkeypatch):
    original = VectorEnv.step
    monkeypatch.setattr(VectorEnv, "step", lambda *a: original(*a)._replace(reward=np.arange(4.0)))
    _, tokens, _ = _recorded(_identity_agent(), PENDULUM, _settings(), "rewards_shuffled")
    assert (tokens[:, 1:, REWARD] == torch.tensor([[3.0], [0.0], [1.0], [2.0]])).all()


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("model", [m for m in MODELS if not MODELS.options(m).encodings])
@torch.no_grad()
def test_a_wiped_context_is_a_fresh_one_at_each_episode(model, standardise):
    """An output depends on the tokens of its own episode alone, and the first of them is a first token."""
    agent = _agent(model=model, standardise=standardise)
    _, tokens, outputs = _recorded(agent, PENDULUM, _settings(context_length=100), "context_wiped")
    encoding, sequence = _within(agent, PENDULUM)
    end = sum(encoding.sizes.parts[:3])
    assert tokens[:, :, end].sum() > 8
    for seed, ends in enumerate(tokens[:, :, end].bool()):
        starts = [*ends.nonzero()[:, 0].tolist(), tokens.shape[1]]
        for a, b in pairwise(starts):
            assert (tokens[seed, a, :end] == 0).all()
            again = sequence(tokens[seed : seed + 1, a:b])[1][0]
            torch.testing.assert_close(again, outputs[seed, a:b], rtol=1e-4, atol=1e-4)
            if standardise:  # the first observation is its own mean
                assert (tokens[seed, a, end + 1 : -1] == 0).all()


def test_seen_projections_are_those_of_training_and_unseen_ones_are_not():
    agent = dataclasses.replace(_agent(), manifest={"encoding": ENCODED["projected"] | {"train": 3}})
    seen, unseen = (frame_seeds(encoding_of(agent.manifest), _settings(projections=p)) for p in ("seen", "unseen"))
    assert seen.tolist() == [0, 1, 2, 0] and (unseen >= TEST).all() and len(set(unseen)) == 4
    assert frame_seeds(encoding_of(_identity_agent().manifest), _settings()) is None


def _returns_of(tokens):
    """Each seed's (return, length) of the episodes that its raw tokens show to have ended."""
    found = []
    for seed in tokens[:, 1:]:  # token i holds what followed step i - 1
        ends = torch.cat([torch.tensor([-1]), seed[:, END].nonzero()[:, 0]])
        found.append([(seed[a + 1 : b + 1, REWARD].sum().item(), int(b - a)) for a, b in pairwise(ends)])
    return found


def test_tokens_hold_the_rewards_and_ends_that_the_rows_report():
    frame, tokens, _ = _recorded(_agent(standardise=False), PENDULUM, _settings())
    assert (tokens[:, 0, :END] == 0).all() and (tokens[:, 0, END] == 1).all()
    lengths = set()
    for seed, episodes in enumerate(_returns_of(tokens)):
        own = frame[frame["seed"] == seed]
        rows = list(zip(own["episode_return"], own["episode_length"], strict=True))[: len(episodes)]
        assert np.array(rows) == pytest.approx(np.array(episodes)) and len(own) - len(rows) in (
            0,
            1,
        )  # no token follows the last step
        lengths |= {tuple(own["episode_length"])}
    assert len(lengths) == 4  # no two seeds' episodes are alike


def test_tokens_hold_the_observations_and_actions_as_projected():
    agent = _agent("identity", standardise=False)
    _, tokens, outputs = _recorded(agent, PENDULUM, _settings(temperature=0.0))
    new, old = tokens[..., 82:146], tokens[..., :64]
    torch.testing.assert_close(old[:, 1:], new[:, :-1])
    assert (new[..., 4:] == 0).all() and (new[:, 0, :4] != 0).all()
    torch.testing.assert_close(tokens[:, 1:, 64], outputs[:, :-1, 0])  # no noise: the mean itself
    assert (tokens[..., 65:REWARD] == 0).all()


def test_discrete_actions_are_embedded_and_greedy_without_temperature():
    agent = _agent("identity", standardise=False)
    _, tokens, outputs = _recorded(agent, GRID, _settings("grid", temperature=0.0))
    chosen = torch.nn.functional.one_hot(outputs[:, :-1, :4].argmax(-1), 16).float()
    torch.testing.assert_close(tokens[:, 1:, 64:REWARD], chosen)


def test_temperatures_fall_and_stay_where_they_are_told_to():
    """From a large one, where actions are drawn almost evenly, to none after eight steps."""
    cooled = _settings("grid", env_steps=24, temperature=1000.0, cooling={"steps": 8, "temperature": 0.0})
    assert [temperature_at(cooled, t) for t in (0, 2, 8, 9)] == [1000.0, 750.0, 0.0, 0.0]
    assert temperature_at(_settings(temperature=0.5), 99) == 0.5
    _, tokens, outputs = _recorded(_agent("identity", standardise=False), GRID, cooled)
    taken, best = tokens[:, 1:, 64:REWARD].argmax(-1), outputs[:, :-1, :4].argmax(-1)
    assert (taken[:, 8:] == best[:, 8:]).all() and (taken[:, :4] != best[:, :4]).any()


def test_hidden_rewards_are_zero_in_every_token_and_nothing_else_is():
    agent = _agent()
    shown, hidden = (_recorded(agent, PENDULUM, _settings(), c)[1] for c in ("agent", "rewards_hidden"))
    assert (hidden[..., REWARD] == 0).all() and (shown[..., REWARD] != 0).any()
    assert (hidden[..., 82:146] != 0).any() and (hidden[:, 1:, END] == 1).any()


@pytest.mark.parametrize("eta, expected", [("none", [0, 0, 0]), ("gap", [0.2, 0.5, 0.8])])
def test_eta_goes_from_the_first_to_the_last_value(eta, expected):
    _, tokens, _ = _recorded(_agent(eta=eta), GRID, _settings("grid", env_steps=3, eta=[0.2, 0.8]))
    torch.testing.assert_close(tokens[0, :, -1], torch.tensor(expected, dtype=torch.float32))


def _check_rows(frame, seeds=4):
    assert list(frame.columns) == list(COLUMNS)
    assert sorted(frame["seed"].unique()) == list(range(seeds))
    for _, own in frame.groupby("seed"):
        assert list(own["episode"]) == list(range(len(own)))
        np.testing.assert_array_equal(own["episode_length"].cumsum(), own["env_steps"])


def _baseline(entry, evaluation, condition, stores=(), trained=""):
    files = {"policies": list(stores), "histories": list(stores), "reference": [trained]}.get(
        CONDITIONS[condition].reads, []
    )
    return run_baseline(entry, evaluation, condition, files, "x")


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Policies of two runs on each task, by the name of their environment."""
    paths = {}
    for name, entry in ENTRIES.items():
        paths[name] = tmp_path_factory.mktemp("references") / "test.safetensors"
        short = entry.model_copy(update={"reference": Reference(env_steps=300, runs=2, num_envs=2)})
        reference.train(short, name, "test", paths[name])
    return paths


@pytest.mark.parametrize(
    "condition", [c for c in CONDITIONS if CONDITIONS[c].reads != "prompt" and not CONDITIONS[c].tabular]
)
@pytest.mark.parametrize("length", [{"env_steps": 40}, {"episodes": 3}], ids=["steps", "episodes"])
@pytest.mark.parametrize("name", ENTRIES)
def test_every_condition_gives_the_same_kind_of_rows(request, references, name, length, condition):
    entry, evaluation = ENTRIES[name], _settings(name, **length)
    if condition in BASELINES:
        stores = [request.getfixturevalue(f"{name}_store")]
        first, again = (_baseline(entry, evaluation, condition, stores, references[name]) for _ in range(2))
    else:
        first, again = (run_agent(_agent(), entry, evaluation, condition).frame("a", name, condition) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)  # a seed twice
    assert sorted(first["training_seed"].unique()) == ([0, 1] if condition == "reference" else [0])
    for _, own in first.groupby("training_seed"):
        _check_rows(own)
    assert (first["environment"] == name).all() and (first["condition"] == condition).all()
    assert first["env_steps"].max() <= (40 if "env_steps" in length else 3 * 30)
    if "episodes" in length:
        assert (first.groupby(["training_seed", "seed"]).size() == 3).all()
    if name == "pendulum":
        np.testing.assert_allclose(
            first["episode_return"], first["episode_length"], atol=1.01
        )  # 1 for each step upright


def test_another_seed_gives_another_rollout():
    frames = [run_agent(_agent(), PENDULUM, _settings(seed=s), "agent").frame("a", "e", "agent") for s in (0, 1)]
    assert not frames[0].equals(frames[1])


def test_test_projections_differ_and_were_never_trained_on(monkeypatch):
    drawn, original = [], projected.projection

    def spy(seed, *sizes):
        drawn.append((seed, *original(seed, *sizes)))
        return drawn[-1][1:]

    monkeypatch.setattr(projected, "projection", spy)
    for seed in (0, 1):
        run_agent(_agent(), GRID, _settings("grid", seed=seed, env_steps=2), "agent")
    seeds = np.array([s for s, _, _ in drawn])
    assert (seeds >= TEST).all() and len(set(seeds)) == 8
    matrices = np.stack([a.ravel() for _, _, a in drawn])
    assert len(np.unique(matrices, axis=0)) == 8
    run_agent(_agent("identity"), GRID, _settings("grid", env_steps=2), "agent")
    assert len(drawn) == 8


def test_the_last_policies_act_in_the_tasks_that_they_learned(grid_store, monkeypatch):
    """Lifetimes that always go right (goal [0, 2]) or down (goal [2, 0]) earn 5 in their own task, and 0 in the other."""
    policy = read(*grid_store).policy

    def policies(lifetimes):
        action = torch.tensor([(1, 2)[i % 2] for i in lifetimes])
        bias = 100 * torch.nn.functional.one_hot(action, 4).float().view(-1, 1, 1, 4)
        fields = {f: torch.zeros_like(getattr(policy, f)[: len(lifetimes), -1:]) for f in policy._fields}
        return policy._replace(**fields | {"b2": bias, "observation_std": fields["observation_std"] + 1})

    blocks = {"one": policies(range(3)), "two": policies(range(3, 5))}  # five lifetimes: the odd one is left out
    monkeypatch.setattr(ppo_final, "read", lambda store, _: SimpleNamespace(policy=blocks[store]))
    stores = [("one", "-"), ("two", "-")]
    frame = _baseline(GRID, _settings("grid", seeds=7, episodes=2), "ppo_final", stores)
    assert (frame["episode_return"] == 5).all()


def test_tasks_go_round_the_seeds():
    splits = {"validation_tasks": [{"goal": [1, 2]}], "test_tasks": [{"goal": [2, 1]}, {"goal": [2, 2]}]}
    three = GRID.model_copy(update=splits)
    expected = {"training": [[0, 2], [2, 0], [0, 2]], "validation": [[1, 2]] * 3, "test": [[2, 1], [2, 2], [2, 1]]}
    for split, goals in expected.items():
        for entry, own in ((three, goals), (GRID, expected["training"])):  # those of training where a split has none
            envs = environments_of(entry, _settings("grid", seeds=3, split=split))
            assert [list(e.unwrapped.goal) for e in envs.envs] == own
            envs.close()


def test_validation_draws_other_environments_projections_and_noise_than_the_test():
    settings = [_settings(split=s, seed=seed) for s in ("validation", "test") for seed in (0, 1)]
    assert len({seed_of(s) for s in settings}) == 4
    seeds = np.concatenate([frame_seeds(encoding_of(_agent().manifest), s) for s in settings])
    assert len(set(seeds)) == 16 and (seeds >= TEST).all()
    frames = [run_agent(_agent(), PENDULUM, s, "agent").frame("a", "e", "agent") for s in settings]
    assert not frames[0].equals(frames[2])


def test_temperature_reaches_references(references, grid_store):
    """Without noise a policy does the same at every seed of the noise, and with it does not."""
    for condition in ("reference", "ppo_final"):
        rows = {}
        for temperature in (0.0, 1.0, 30.0):
            settings = _settings("grid", episodes=8, seeds=8, temperature=temperature)
            rows[temperature] = _baseline(GRID, settings, condition, [grid_store], references["grid"])["episode_return"]
        assert rows[0.0].nunique() <= 4 and not rows[1.0].equals(rows[0.0]) and not rows[30.0].equals(rows[1.0])


def test_a_reference_is_trained_on_the_tasks_of_its_split_and_acts_in_them(tmp_path):
    """Two goals that are opposite: after some thousand steps each run is near its own."""
    tasks = {"validation_tasks": [{"goal": [0, 1]}], "test_tasks": [{"goal": [2, 1]}, {"goal": [1, 0]}]}
    entry = GRID.model_copy(
        update=tasks | {"kwargs": {"start": [1, 1]}, "reference": Reference(env_steps=20_000, runs=2)}
    )
    path = tmp_path / "test.safetensors"
    reference.train(entry, "grid", "test", path)
    runs = reference.read(path)
    assert len(runs) == 2 and all(len(p.w0) == 2 for p in runs)
    frame = _baseline(entry, _settings("grid", episodes=4), "reference", trained=path)
    assert frame.groupby(["training_seed", "seed"])["episode_return"].mean().min() > 7  # of ten
    body = read_json(path.with_suffix(".json"))
    assert body["config"]["tasks"] == tasks["test_tasks"] and len(body["mean_return"]) == 4
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CorruptFile, match="test.safetensors"):
        reference.read(path)
    path.unlink()
    with pytest.raises(CorruptFile, match=r"test.safetensors: missing"):
        reference.read(path)


def test_rewards_that_never_differ_are_said_to():
    assert _baseline(GRID, _settings("grid"), "random")["rewards_vary"].all()
    rows = EpisodeRows(2, None)
    for _ in range(3):
        rows.add(np.ones(2), np.array([True, True]))
    assert not rows.frame("a", "e", "agent")["rewards_vary"].any()


def test_ragged_episodes_are_counted_for_each_seed():
    rows, done = EpisodeRows(2, None), np.array([[0, 0], [1, 0], [0, 0], [1, 0], [0, 1]], bool)
    for t, d in enumerate(done):
        rows.add(np.array([1.0, 10.0 * t]), d)
    frame = rows.frame("a", "e", "agent")
    assert frame[["seed", "episode", "env_steps", "episode_return", "episode_length"]].to_numpy().tolist() == [
        [0, 0, 2, 2, 2], [0, 1, 4, 2, 2], [1, 0, 5, 100, 5],
    ]  # fmt: skip
    assert not rows.finished


def test_a_limit_leaves_out_what_faster_seeds_do_meanwhile():
    rows = EpisodeRows(2, 2)
    for t in range(6):
        assert not rows.finished
        rows.add(np.ones(2), np.array([True, t % 3 == 2]))
    assert rows.finished
    assert rows.frame("a", "e", "agent").groupby("seed").size().tolist() == [2, 2]


def test_episodes_without_a_time_limit_have_to_end_by_themselves(monkeypatch):
    monkeypatch.setattr("gla.environments.vector.VectorEnv", _Endless)
    monkeypatch.setattr("gla.rollout.LONGEST", 20)
    with pytest.raises(
        ConfigError,
        match="'endless' has no time limit, and 3 episodes took more than 60 steps .*expected kwargs.max_episode.*or env_steps instead of",
    ):
        _baseline(PENDULUM, _settings(episodes=3), "random")


class _Endless(VectorEnv):
    def __init__(self, *args):
        super().__init__(*args)
        self.envs[0].spec.id, self.envs[0].spec.max_episode_steps = "endless", None

    def step(self, actions):
        never = np.zeros(len(self), bool)
        return super().step(actions)._replace(terminated=never, truncated=never)


def test_a_number_that_goes_wrong_is_named(monkeypatch):
    original = VectorEnv.step

    def broken(self, actions):
        step = original(self, actions)
        step.reward[2] = np.nan
        return step

    monkeypatch.setattr(VectorEnv, "step", broken)
    with pytest.raises(NumericalError, match="evaluate: x, environment .*, seed 2, step 0: reward is not finite"):
        run_agent(_agent(), PENDULUM, _settings(), "agent", "x")


def test_an_agent_whose_output_is_no_number_is_named_where_actions_are_integers():
    agent = _agent()
    torch.nn.init.constant_(agent.model.sequence.head.weight, torch.nan)
    for entry, name in ((GRID, "grid"), (PENDULUM, "pendulum")):
        with pytest.raises(
            NumericalError, match=f"environment '{name}', seed 0, step 0: the agent's output is not finite"
        ):
            run_agent(agent, entry, _settings(name), "agent", "x")


def test_a_policy_whose_output_is_no_number_is_named_where_actions_are_integers(grid_store):
    policy = read(*grid_store).policy
    policy = type(policy)(*(field[:, -1] for field in policy))
    policy.b2[1] = torch.nan
    with pytest.raises(
        NumericalError, match=f"x, environment '{GRID.id}', seed 1, step 0: the policy's output is not finite"
    ):
        run_policies(policy, GRID, _settings("grid"), "x")


def test_policies_of_another_environment_are_refused(pendulum_store, grid_store, references):
    with pytest.raises(
        CorruptFile,
        match=rf"x, environment '{GRID.id}': policies of observation and action sizes \(4, 1\) \(expected \(9, 4\)",
    ):
        _baseline(GRID, _settings("grid"), "ppo_final", [pendulum_store])
    with pytest.raises(
        CorruptFile, match=rf"x run 0, environment '{PENDULUM.id}': policies of .* \(9, 4\) \(expected \(4, 1\)"
    ):
        _baseline(PENDULUM, _settings(), "reference", trained=references["grid"])
    with pytest.raises(CorruptFile) as error:
        _baseline(GRID, _settings("grid"), "ppo_final", [grid_store, pendulum_store])
    assert str(error.value).startswith(
        f"{pendulum_store[0]}: policies of sizes [(4, 64), "
    ) and f"as in {grid_store[0]}" in str(error.value)


def test_rows_survive_the_disk_and_damage_is_named(tmp_path):
    path, rows = tmp_path / "r.parquet", _baseline(GRID, _settings("grid"), "random")
    write_rows(rows, path)
    first = path.read_bytes()
    write_rows(rows, path)
    assert path.read_bytes() == first
    pd.testing.assert_frame_equal(read_rows(path), rows, check_dtype=False)
    path.write_bytes(first[:-20])
    with pytest.raises(CorruptFile, match="r.parquet"):
        read_rows(path)
    path.unlink()
    with pytest.raises(CorruptFile, match="r.parquet"):
        read_rows(path)
    foreign = tmp_path / "foreign.parquet"  # with no hash next to it
    pd.DataFrame({"seed": [1]}).to_parquet(foreign)
    with pytest.raises(CorruptFile, match="foreign.parquet: no column 'agent'"):
        read_rows(foreign)


def test_rollouts_without_an_end_have_no_rows_and_all_columns():
    frame = _baseline(GRID, _settings("grid", env_steps=5), "zero_action")
    assert len(frame) == 0 and list(frame.columns) == list(COLUMNS)
