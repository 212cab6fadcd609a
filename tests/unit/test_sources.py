from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from pydantic import ValidationError

from gla.config.environments import Environment
from gla.files import read_json
from gla.options import ConfigError
from gla.policies import NumericalError
from gla.sources import ppo, random
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
    """Each stream of the grid beside a grid that is walked by its actions; lifetime k has task k % 2."""
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
    spec = type("Spec", (), {"observation_size": 3, "action_size": 2, "discrete": False})()
    for kind in SOURCES:
        found = SOURCES[kind].arrays(SOURCES.options(kind)(environment="e", num_updates=2), spec, range(2))
        assert set(found) >= TRANSITIONS
        assert ({"mean", "log_std"} <= set(found)) == ("distribution" in SOURCES.options(kind).provides)
        assert ("policy_w0" in found) == ("snapshot_update" in found) == ("policies" in SOURCES.options(kind).provides)


def test_kinds_are_a_list_of_names_and_an_unknown_one_is_named():
    assert list(SOURCES) == ["ppo", "random"]
    with pytest.raises(ConfigError, match="sources.kind: 'sac' .expected one of ppo, random"):
        SOURCES["sac"]
