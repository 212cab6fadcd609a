import asyncio
import os

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from gla.agent import AgentModel, TrainedAgent
from gla.checked import checked
from gla.config.agents import Agent
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.encoding import projected, tabular
from gla.environments import watermaze
from gla.environments.making import make, optimal_return, time_limit
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment, WrongValue, env_spec, flatten
from gla.environments.vector import VectorEnv
from gla.in_context import run_agent
from gla.models import lstm
from gla.options import ConfigError
from gla.sources import ppo
from gla.sources import random as uniform
from gla.storage.collecting import collect
from gla.storage.reading import read

SHIPPED = [
    "gla/GridWorld-v0",
    "gla/PointMass-v0",
    "gla/LinearControl-v0",
    "gla/RandomControl-v0",
    "gla/AntDir-v0",
    "gla/Watermaze-v0",
    "Ant-v4",
    "HalfCheetah-v4",
    "Reacher-v4",
    "InvertedPendulum-v5",
    "dm_control/cartpole-balance-v0",
    "dm_control/cartpole-swingup-v0",
]


@pytest.mark.parametrize("env_id", SHIPPED)
@pytest.mark.filterwarnings("ignore")
def test_shipped_environments_pass_gymnasiums_checker(env_id):
    env = make(env_id)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("env_id", SHIPPED)
def test_a_seed_twice_gives_the_same_steps(env_id):
    def run():
        envs = VectorEnv(env_id, [{}, {}], seed=3)
        rng = np.random.default_rng(0)
        seen = [envs.reset()]
        for _ in range(30):
            size = envs.spec.action_size
            action = rng.integers(0, size, 2) if envs.spec.discrete else rng.standard_normal((2, size))
            step = envs.step(action)
            seen += [step.observation, step.reward]
        envs.close()
        return seen

    for a, b in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_copies_of_a_vector_differ():
    envs = VectorEnv("Reacher-v4", [{}, {}], seed=0)
    first = envs.reset()
    assert not np.allclose(first[0], first[1])


def test_grid_world_walks_pays_and_returns_to_the_start():
    env = make("gla/GridWorld-v0", start=[0, 0], goal=[0, 2], max_episode_steps=3)
    env.reset(seed=0)
    assert env.step(0)[0].argmax() == 0  # up, into the wall
    observation, reward, *_ = env.step(1)
    assert observation.argmax() == 1 and reward == 0
    observation, reward, terminated, truncated, _ = env.step(1)
    assert observation.argmax() == 0 and reward == 1 and not terminated and truncated


def test_optimal_return_is_what_the_shortest_path_earns():
    for goal, path in (([0, 2], [1, 1]), ([2, 2], [2, 2, 1, 1])):
        env = make("gla/GridWorld-v0", goal=goal, max_episode_steps=10)
        env.reset(seed=0)
        total = sum(env.step(path[i % len(path)])[1] for i in range(10))
        assert total == optimal_return("gla/GridWorld-v0", {"max_episode_steps": 10}, [{"goal": goal}])
    assert optimal_return("Reacher-v4", {}, []) is None


def test_ant_dir_rewards_the_direction_alone():
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 8))

    def run(env):
        env.reset(seed=1)
        return [env.step(a) for a in actions]

    forward, backward, ant = (run(make(i, **k)) for i, k in (
        ("gla/AntDir-v0", {"direction": 1}), ("gla/AntDir-v0", {"direction": -1}), ("Ant-v4", {})))  # fmt: skip
    for f, b, a in zip(forward, backward, ant, strict=True):
        assert f[1] == pytest.approx(a[1])
        assert f[1] - b[1] == pytest.approx(2 * a[4]["x_velocity"])
        np.testing.assert_array_equal(f[0], b[0])


def test_old_versions_are_made_without_a_word_and_the_users_own_warnings_stay(capsys, recwarn):
    make("InvertedPendulum-v4").close()
    assert gym.logger.min_level == gym.logger.WARN
    assert not [w for w in recwarn if "out of date" in str(w.message)] and "out of date" not in capsys.readouterr().err
    with pytest.warns(DeprecationWarning, match="out of date"):
        gym.make("InvertedPendulum-v4").close()


def test_same_step_reset_keeps_the_final_observation():
    envs = VectorEnv("gla/GridWorld-v0", [{"max_episode_steps": 2, "start": [1, 1]}], seed=0)
    envs.reset()
    first = envs.step(np.array([0]))
    assert not first.truncated[0] and not first.final_observation.any()
    second = envs.step(np.array([0]))
    assert second.truncated[0] and not second.terminated[0]
    assert second.final_observation[0].argmax() == 1  # where it stood
    assert second.observation[0].argmax() == 4  # the next episode's start


def test_dict_observations_are_flattened():
    env = make("dm_control/cartpole-swingup-v0")
    assert env.observation_space.shape == (5,)
    assert env.reset(seed=0)[0].shape == (5,)


class _Odd(gym.Env):
    def __init__(self, observation=None, action=None):
        self.observation_space = observation or gym.spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = action or gym.spaces.Discrete(2)


@pytest.fixture
def odd():
    gym.register("gla-test/Odd-v0", _Odd)
    yield "gla-test/Odd-v0"
    del gym.registry["gla-test/Odd-v0"]


@pytest.mark.parametrize(
    "kwargs, said",
    [
        ({"observation": gym.spaces.Box(-1, 1, (0,), np.float32)}, "0 observation dimensions (expected 1 or more)"),
        ({"observation": gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)}, "images, which are not supported"),
        (
            {"observation": gym.spaces.Sequence(gym.spaces.Discrete(4))},
            "is not supported (expected one that Gymnasium can flatten)",
        ),
        (
            {"observation": gym.spaces.Dict({"a": gym.spaces.Box(0, 1, (2, 2), np.float32)})},
            "images, which are not supported",
        ),
        (
            {"action": gym.spaces.Box(-1, 1, (5000,), np.float32)},
            "5000 action dimensions, or discrete actions (expected 1 to 4096)",
        ),
        ({"action": gym.spaces.Discrete(4097)}, "4097 action dimensions, or discrete actions (expected 1 to 4096)"),
        ({"action": gym.spaces.MultiDiscrete([2**40] * 8)}, "discrete actions (expected 1 to 4096)"),
        ({"action": gym.spaces.MultiBinary(3)}, "expected Discrete, MultiDiscrete, or a Box with one axis"),
    ],
)
def test_unsupported_spaces_say_what_is_supported(odd, kwargs, said):
    with pytest.raises(UnsupportedEnvironment) as error:
        make(odd, **kwargs)
    assert odd in str(error.value) and said in str(error.value) and "\n" not in str(error.value)


# Environments that are larger than the projected encoding


class _Wide(gym.Env):
    """A hundred numbers, and thirty actions of which the one pays that the largest of the first thirty names."""

    observation_space, action_space = gym.spaces.Box(-np.inf, np.inf, (100,), np.float32), gym.spaces.Discrete(30)

    def _seen(self):
        self.state = self.np_random.standard_normal(100).astype(np.float32)
        return self.state

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action):
        reward = float(action == self.state[:30].argmax())
        return self._seen(), reward, False, False, {}


@pytest.fixture
def wide():
    gym.register("gla-test/Wide-v0", _Wide, max_episode_steps=8)
    yield "gla-test/Wide-v0"
    del gym.registry["gla-test/Wide-v0"]


def test_any_size_is_made_and_written_down(tmp_path, wide):
    assert env_spec(make(wide)) == EnvSpec(100, 30, True, None, None)
    entry, sizes = (
        Environment(id=wide),
        {"environment": "wide", "lifetimes": 2, "num_envs": 2, "num_updates": 2, "num_steps": 16},
    )
    for source in (ppo.Options(**sizes, update_epochs=1, num_minibatches=2, hidden=8), uniform.Options(**sizes)):
        paths = tmp_path / source.kind / "history.zarr", tmp_path / f"{source.kind}.json"
        collect(source, entry, "wide", range(2), *paths)
        history = read(*paths)
        assert history.observation.shape == (2, 2, 32, 100) and history.action.shape == (2, 2, 32)
        assert len(np.unique(history.action)) > 20 and set(np.unique(history.reward)) == {0, 1}
        right = history.observation[..., :30].argmax(-1) == history.action
        np.testing.assert_array_equal(history.reward, right)
        np.testing.assert_array_equal(history.truncated[0, 0].nonzero()[0], [7, 15, 23, 31])
        if source.kind == "ppo":
            assert history.mean.shape == (2, 2, 32, 30) and history.policy.w0.shape == (2, 2, 100, 8)


def test_what_an_encoding_cannot_hold_is_refused_in_one_line(tmp_path, wide):
    spec, said = (
        env_spec(make(wide)),
        "environment 'gla-test/Wide-v0': 100 observation dimensions (expected at most 64 for the encoding 'projected')",
    )
    encoding = projected.Encoding(projected.Options())
    with pytest.raises(UnsupportedEnvironment) as error:
        encoding.check(wide, spec)
    assert str(error.value) == said
    for size, actions, named in (
        (65, 16, "65 observation dimensions .expected at most 64"),
        (64, 17, "17 action dimensions .expected at most 16"),
    ):
        with pytest.raises(UnsupportedEnvironment, match=f"^environment 'x': {named}"):
            encoding.check("x", EnvSpec(size, actions, False, None, None))
    encoding.check("x", EnvSpec(64, 16, True, None, None))
    tabular.Encoding(tabular.Options(states=100, actions=30)).check(wide, spec)
    with pytest.raises(
        UnsupportedEnvironment, match="100 observation dimensions .expected at most 99, the encoding's states"
    ):
        tabular.Encoding(tabular.Options(states=99, actions=30)).check(wide, spec)
    config = Agent(dataset="d", model=lstm.Options(layers=1, width=8))
    agent = TrainedAgent(AgentModel(config, encoding.sizes), config, {"encoding": {"kind": "projected"}})
    with pytest.raises(UnsupportedEnvironment) as error:
        run_agent(agent, Environment(id=wide), Evaluation(environment=wide, seeds=2, env_steps=3), "agent")
    assert str(error.value) == said
    raw = {
        "environments": {"wide": {"id": wide}, "grid": {"id": "gla/GridWorld-v0"}},
        "sources": {name: {"environment": name, "num_updates": 2} for name in ("wide", "grid")},
        "datasets": {"d": {"sources": ["wide"]}, "g": {"sources": ["grid"]},
                     "t": {"sources": ["wide"], "encoding": {"kind": "tabular", "states": 100, "actions": 30}}},
        "agents": {"a": {"dataset": "d"}, "b": {"dataset": "t"}, "c": {"dataset": "g"}},
        "evaluations": {"e": {"environment": "wide", "agents": ["a", "b", "c"], "split": "training", "env_steps": 9}},
    }  # fmt: skip
    with pytest.raises(ConfigError) as error:
        checked(raw, cache=tmp_path / "checked.json")
    assert str(error.value).splitlines() == [
        f"datasets.d.sources: 'wide': {said}",
        f"evaluations.e.agents: 'c': {said}",
    ]


@pytest.mark.parametrize("env_id", ["NoSuchThing-v3", "dm_control/cartpole-fly-v0", "Reacher-v99"])
def test_unknown_environments_are_named(env_id):
    with pytest.raises(UnsupportedEnvironment, match=env_id):
        make(env_id)


def test_wrong_keyword_arguments_are_named():
    with pytest.raises(UnsupportedEnvironment, match=r"goal \[3, 3\]"):
        make("gla/GridWorld-v0", goal=[3, 3])
    with pytest.raises(UnsupportedEnvironment, match="direction 2"):
        make("gla/AntDir-v0", direction=2)
    assert projected.OBSERVATION == 64 and projected.ACTION == 16


@pytest.mark.parametrize(
    "env_id, kwargs, limit",
    [
        ("Reacher-v4", {}, 50),
        ("Reacher-v4", {"max_episode_steps": -1}, None),
        ("dm_control/cartpole-swingup-v0", {}, 1000),
        ("dm_control/cartpole-swingup-v0", {"max_episode_steps": 30}, 30),
    ],
)
def test_a_time_limit_is_when_an_episode_is_cut_off(env_id, kwargs, limit):
    env = make(env_id, **kwargs)
    assert time_limit(env) == limit
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3] for _ in range(limit or 200)]
    assert ends == [False] * (len(ends) - 1) + [limit is not None]
    env.close()


def test_point_mass_pays_the_distance_to_its_goal():
    env = make("gla/PointMass-v0", angle=90.0)
    start, _ = env.reset(seed=0)
    assert np.abs(start).max() <= 0.25
    observation, reward, *_ = env.step(np.array([-1.0, 4.0]))  # the second is clipped to 1
    np.testing.assert_allclose(observation, start + [-0.25, 0.25], atol=1e-6)
    np.testing.assert_allclose(reward, -np.linalg.norm(observation - [0.0, 0.75]), atol=1e-6)
    for _ in range(10):
        observation, reward, *_ = env.step(np.array([1.0, 0.75]) - observation)
    assert np.abs(observation).max() <= 1.0


def _swim(env, *actions):
    """Returns the observation after these moves, and their rewards."""
    taken = [env.step(action) for action in actions]
    return taken[-1][0], [reward for _, reward, *_ in taken], [ended for *_, ended, _, _ in taken]


def test_a_swimmer_moves_along_and_across_its_heading_and_not_through_the_wall():
    env = make("gla/Watermaze-v0", angle=0.0, distance=0.9)
    start, _ = env.reset(seed=0)
    assert start[:2].tolist() == [0, 0]
    along, across = start[2:], np.array([-start[3], start[2]])
    for there, back, direction in ((0, 1, along), (2, 3, across)):
        np.testing.assert_allclose(_swim(env, there)[0][:2], watermaze.STRIDE * direction, atol=1e-6)
        np.testing.assert_allclose(_swim(env, back)[0], start, atol=1e-6)
    turned = _swim(env, *[4] * 3)[0]  # three turns of thirty degrees
    np.testing.assert_allclose(turned, [0, 0, *across], atol=1e-6)
    np.testing.assert_allclose(_swim(env, *[5] * 3)[0], start, atol=1e-6)
    np.testing.assert_allclose(_swim(env, *[0] * 20)[0][:2], along, atol=1e-6)  # at the wall
    np.testing.assert_allclose(_swim(env, 6)[0][:2], along, atol=1e-6)


@pytest.mark.parametrize("ends", [False, True])
def test_the_platform_pays_whoever_is_on_it(ends):
    first = make("gla/Watermaze-v0").reset(seed=0)[0]
    angle = float(np.degrees(np.arctan2(first[3], first[2])))  # straight ahead
    env = make("gla/Watermaze-v0", angle=angle, distance=0.5, ends=ends)
    env.reset(seed=0)
    _, paid, ended = _swim(env, 0, 0, 0, 0, 0)
    assert paid == [0, 0, 1, 1, 1]  # at 0.36, 0.48 and 0.60 of the way; it has a radius of 0.2
    assert ended == [False, False, ends, ends, ends]


def test_landmarks_tell_what_the_pose_tells():
    """From three distances and bearings the position and the heading follow."""
    envs = [make("gla/Watermaze-v0", task=3, sees=sees) for sees in ("pose", "landmarks")]
    rng = np.random.default_rng(0)
    for env in envs:
        env.reset(seed=1)
    for action in rng.integers(0, 8, 40):
        (x, y, c, s), seen = (_swim(env, action)[0] for env in envs)
        away = np.stack([np.cos(watermaze.LANDMARKS), np.sin(watermaze.LANDMARKS)], 1) - [x, y]
        distance, bearing = seen[:3], np.arctan2(seen[6:], seen[3:6])
        np.testing.assert_allclose(distance, np.hypot(*away.T), atol=1e-5)
        turned = np.stack([np.cos(bearing), np.sin(bearing)], 1) @ np.array(
            [[c, s], [-s, c]]
        )  # from the swimmer's to the pool's
        np.testing.assert_allclose(turned * distance[:, None], away, atol=1e-5)


def test_platforms_of_tasks_lie_all_over_the_pool_but_not_where_swimmers_start():
    goals = np.stack([make("gla/Watermaze-v0", task=i).unwrapped.goal for i in range(300)])
    far = np.hypot(*goals.T)
    assert far.min() > watermaze.PLATFORM and far.max() <= 1 - watermaze.PLATFORM / 2 + 1e-9
    assert np.abs(goals.mean(0)).max() < 0.1 and len(np.unique(goals, axis=0)) == 300
    np.testing.assert_array_equal(make("gla/Watermaze-v0", task=7).unwrapped.goal, goals[7])


@pytest.mark.parametrize(
    "kwargs, said",
    [({"task": -1}, "task -1"), ({"angle": 1.0}, "expected both"), ({"angle": 1.0, "distance": 2}, "distance 2"), ({"sees": "all"}, "sees 'all'")],
)  # fmt: skip
def test_a_pool_that_cannot_be_is_named(kwargs, said):
    with pytest.raises(UnsupportedEnvironment, match=said):
        make("gla/Watermaze-v0", **kwargs)


def test_random_control_pays_what_its_task_says():
    kinds = set()
    for task in range(40):
        twins = [make("gla/RandomControl-v0", task=task, size=3, actions=2).unwrapped for _ in range(2)]
        env, action = twins[0], np.array([1.0, -0.5])
        for _ in range(15):
            start = env.reset(seed=task)[0]
            np.testing.assert_array_equal(start, twins[1].reset(seed=task)[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            assert (reward, terminated) == twins[1].step(action)[1:3] and not truncated
        state = np.clip(env.decay * start + env.mix @ np.tanh(start) + env.b @ action, -3, 3)
        np.testing.assert_allclose(observation, state, atol=1e-6)
        missed = np.linalg.norm((state - env.goal)[env.counted > 0])
        paid = {"reach": -missed, "hold": np.exp(-2 * missed**2), "drive": state @ env.direction}[env.kind]
        assert reward == pytest.approx(paid - env.cost * 1.25 + env.upright, abs=1e-6)
        env.state = np.full(3, 2.9)
        assert env.step(action)[2] == env.upright
        kinds |= {env.kind, f"cost {env.cost}", f"upright {env.upright}"}
    assert len(kinds) == 3 + 3 + 2
    with pytest.raises(UnsupportedEnvironment, match="actions 3 .expected 1 to size, 2"):
        make("gla/RandomControl-v0", size=2, actions=3)


def test_linear_control_is_linear_and_its_task_decides_it():
    envs = [make("gla/LinearControl-v0", task=t, size=5, actions=3).unwrapped for t in (1, 1, 2)]
    states = [env.reset(seed=0)[0] for env in envs]
    action = np.array([0.5, -1.0, 0.25])
    after = [env.step(action) for env in envs]
    np.testing.assert_array_equal(after[0][0], after[1][0])
    assert after[0][1] == after[1][1] and not np.allclose(after[0][0], after[2][0])
    np.testing.assert_allclose(after[0][0], envs[0].drift @ states[0] + envs[0].b @ action, atol=1e-6)
    assert after[0][1] == pytest.approx(-np.linalg.norm(after[0][0] - envs[0].goal), abs=1e-6)
    with pytest.raises(UnsupportedEnvironment, match="actions 3 .expected 1 to size, 2"):
        make("gla/LinearControl-v0", size=2, actions=3)


# Environments that lie (all kinds: tests/reliability/environments.py)


class _Panic(BaseException):
    """Like the exception that pyo3 raises when Rust code panics."""


class _Mute(Exception):
    def __str__(self):
        raise RuntimeError


RAISED = {
    "_Panic: out of bounds": _Panic("out of bounds"), "CancelledError: (no text)": asyncio.CancelledError(), "GeneratorExit: (no text)": GeneratorExit(),
    "BaseExceptionGroup: two (2 sub-exceptions)": BaseExceptionGroup("two", [ValueError(), KeyboardInterrupt()]), "SystemExit: 0": SystemExit(0),
    "_Mute: (no text)": _Mute(), "KeyError: 'two\\nwords'": KeyError("two\nwords"),
}  # fmt: skip


class _Told(gym.Env):
    """Three zeros and no reward, but for what is told at one step, or in the reset before it."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)

    def __init__(self, told=None, reset=None, at=2, actions=None, made=None):
        self.told, self.first, self.at, self.count = told or {}, reset, at, -1
        self.action_space = actions or gym.spaces.Discrete(2)
        if made:
            made()

    def reset(self, *, seed=None, options=None):
        if callable(self.first):
            self.first, _ = None, self.first()
        return (np.zeros(3, np.float32), {}) if self.first is None else self.first

    def step(self, action):
        self.count += 1
        usual = {
            "observation": np.zeros(3, np.float32),
            "reward": 0.0,
            "terminated": False,
            "truncated": False,
            "info": {},
        }
        told = usual | (self.told if self.count == self.at else {})
        if isinstance(told["info"], BaseException):
            raise told["info"]
        if callable(told["info"]):
            told["info"]()
        return tuple(told.values())


@pytest.fixture
def told():
    """Two copies, the second of which tells something."""
    gym.register("gla-test/Told-v0", _Told)
    yield lambda **kwargs: VectorEnv(
        "gla-test/Told-v0", [{}, kwargs], 0, [f"environment 'mine', lifetime {i}" for i in range(2)]
    )
    del gym.registry["gla-test/Told-v0"]


@pytest.mark.parametrize(
    "lie, said",
    [
        ({"observation": np.zeros(1, np.float32)}, "observation of shape (1,) and type float32 (expected 3 finite numbers, of shape (3,))"),
        ({"observation": np.zeros(3, complex)}, "observation of shape (3,) and type complex128 (expected 3"),
        ({"observation": "abc"}, "observation 'abc' (expected 3"),
        ({"reward": "1"}, "reward '1' (expected one finite number)"),
        ({"reward": np.zeros(1)}, "reward of shape (1,) and type float64 (expected one finite number)"),
        ({"terminated": "False"}, "terminated 'False' (expected True or False)"),
        ({"truncated": np.nan}, "truncated nan (expected True or False)"),
        *(({"info": e}, f"{said} (expected what gymnasium.Env returns, and no exception)") for said, e in RAISED.items()),
    ],
)  # fmt: skip
def test_what_a_step_may_not_return_is_one_line_with_the_environment_and_the_step(told, lie, said):
    envs = told(told=lie)
    envs.reset()
    for _ in range(2):
        envs.step(np.zeros(2, int))
    with pytest.raises(UnsupportedEnvironment) as error:
        envs.step(np.zeros(2, int))
    assert str(error.value).startswith(f"environment 'mine', lifetime 1, step 2: {said}") and "\n" not in str(
        error.value
    )
    envs.close()


@pytest.mark.parametrize("said", RAISED)
def test_whatever_is_raised_while_an_environment_is_made_is_one_line(told, said):
    def made():
        raise RAISED[said]

    with pytest.raises(UnsupportedEnvironment) as error:
        told(made=made)
    assert f": {said} (expected one that can be made)" in str(error.value) and "\n" not in str(error.value)


def test_the_users_own_interruption_goes_through(told):
    def made():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        told(made=made)
    envs = told(told={"info": KeyboardInterrupt()}, at=0)
    envs.reset()
    with pytest.raises(KeyboardInterrupt):
        envs.step(np.zeros(2, int))


@pytest.mark.parametrize(
    "when, where",
    [
        ("made", "lifetime 1, being made"),
        ("reset", "lifetime 1, first reset"),
        ("step", "lifetime 0, or another of 2, up to its end"),
    ],
)
@pytest.mark.parametrize(
    "change, said",
    [
        (lambda: os.chdir("/"), "the working directory is now '/' (expected it left as it was, '"),
        (lambda: torch.set_default_dtype(torch.float64), "PyTorch's default type is now 'torch.float64' (expected it left as it was, 'torch.float32')"),
        (lambda: torch.set_default_device("meta"), "PyTorch's default device is now 'meta' (expected it left as it was, 'cpu')"),
    ],
)  # fmt: skip
def test_what_belongs_to_the_whole_process_is_left_as_it_was(told, tmp_path, monkeypatch, when, where, change, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsupportedEnvironment) as error:
        envs = told(**{"step": {"told": {"info": change}, "at": 0}}.get(when, {when: change}))
        envs.reset()
        envs.step(np.zeros(2, int))
        envs.close()
    assert str(error.value).startswith(f"environment 'mine', {where}: {said}")
    assert os.getcwd() == str(tmp_path) and torch.ones(1).dtype == torch.float32 and torch.ones(1).device.type == "cpu"


@pytest.mark.parametrize("reset", [np.zeros(3, np.float32), (np.zeros(1, np.float32), {}), ("abc", {})])
def test_what_a_reset_may_not_return_is_named(told, reset):
    with pytest.raises(UnsupportedEnvironment, match=r"^environment 'mine', lifetime 1, first reset: .*\(expected "):
        told(reset=reset).reset()


def test_what_differs_from_the_usual_and_means_the_same_is_taken_for_it(told):
    """Lists, other types of numbers, and observations beyond their bounds, as rounding makes them."""
    kinds = [
        {"observation": [0, 1.5, 0], "reward": 1, "terminated": np.False_}, {"observation": np.array([0, 1.5, 0]), "reward": np.float32(1)},
        {"observation": np.array([0, 1.5, 0], np.float32)[:], "reward": np.array(1.0), "truncated": np.array(False)},
        {"observation": np.array([0, 1.5, 0], np.float16), "reward": True},
    ]  # fmt: skip
    for kind in kinds:
        envs = told(told=kind, at=0)
        envs.reset()
        step = envs.step(np.zeros(2, int))
        assert (
            step.observation[1].tolist() == [0, 1.5, 0]
            and step.reward[1] == 1
            and not (step.terminated | step.truncated).any()
        )


@pytest.mark.parametrize(
    "low, high, said",
    [
        (1, -1, r"actions between \[1.0\] and \[-1.0\]"),
        (np.nan, 1, "nan"),
        (np.inf, np.inf, "inf"),
        (-2, 2, "expected that of the first"),
    ],
)
def test_bounds_that_no_action_lies_in_or_that_differ_are_named(told, low, high, said):
    with pytest.raises(UnsupportedEnvironment, match=said):
        box = gym.spaces.Box(-1, 1, (1,), np.float32)
        other = gym.spaces.Box(-1, 1, (1,), np.float32)
        other.low[:], other.high[:] = low, high
        VectorEnv("gla-test/Told-v0", [{"actions": box}, {"actions": other}], 0)


def test_integers_are_no_actions_of_a_policy(told):
    with pytest.raises(UnsupportedEnvironment, match="a Box with one axis, of real numbers"):
        told(actions=gym.spaces.Box(0, 3, (2,), np.int64))


def test_the_parts_of_an_observation_are_checked_before_they_are_joined():
    env = make("dm_control/cartpole-swingup-v0")
    space, good = env.unwrapped.observation_space, env.unwrapped.observation_space.sample()
    np.testing.assert_array_equal(flatten(space, good), gym.spaces.flatten(space, good))
    for bad in (
        good | {"velocity": np.zeros(3)},
        good | {"velocity": ["1", "2"]},
        {"velocity": good["velocity"]},
        np.zeros(5),
    ):
        with pytest.raises(WrongValue, match="expected"):
            flatten(space, bad)
