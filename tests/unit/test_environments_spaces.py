"""Environments of many spaces come out in one shape: a flat observation vector, and a Box or a Discrete of actions."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple

from gla.environments.making import adapt, make
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment, env_spec
from gla.environments.vector import VectorEnv


class _Toy(gym.Env):
    """Shows samples of its observation space, or what it is told to show, and remembers the actions that reach it."""

    def __init__(self, observation=None, action=None, shows=None):
        self.observation_space = Box(-1, 1, (3,), np.float32) if observation is None else observation
        self.action_space = Discrete(2) if action is None else action
        self.shows, self.shown, self.taken = shows, [], []

    def _show(self):
        self.shown.append(self.observation_space.sample() if self.shows is None else self.shows)
        return self.shown[-1]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self._show(), {}

    def step(self, action):
        self.taken.append(action)
        return self._show(), 1.0, False, False, {}


@pytest.fixture(autouse=True)
def _registered():
    gym.register("gla-test/Toy-v0", _Toy, max_episode_steps=5)
    yield
    del gym.registry["gla-test/Toy-v0"]


def _toy(**kwargs):
    return make("gla-test/Toy-v0", **kwargs)


# Observations

BOX = Box(-1, 1, (2,), np.float32)
OBSERVATIONS = [
    (BOX, 2, 0), (Discrete(4), 4, 4), (Discrete(4, start=-2), 4, 4), (MultiBinary(3), 3, 0), (MultiDiscrete([2, 3]), 5, 0),
    (Dict({"place": BOX, "speed": Box(-9, 9, (1,))}), 3, 0), (Dict({"place": BOX, "floor": Discrete(3)}), 5, 0),
    (Tuple([Discrete(3), BOX, Dict({"z": Discrete(2), "a": Box(0, 1, (1,), np.float64)})]), 8, 0), (Tuple([Discrete(3), Discrete(2)]), 5, 0),
]  # fmt: skip


@pytest.mark.parametrize("space, size, states", OBSERVATIONS, ids=lambda x: str(x)[:20])
def test_every_observation_is_one_vector(space, size, states):
    env = _toy(observation=space)
    assert env_spec(env) == EnvSpec(size, 2, True, None, None, states)
    assert isinstance(env.observation_space, Box) and env.observation_space.shape == (size,)
    seen = [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(4))]
    for flat, shown in zip(seen, env.unwrapped.shown, strict=True):
        assert flat.shape == (size,)
        np.testing.assert_array_equal(flat, gym.spaces.flatten(space, shown))
    assert all(len(np.flatnonzero(flat)) == 1 for flat in seen) or not states  # one-hot
    envs = VectorEnv("gla-test/Toy-v0", [{"observation": space}] * 2, seed=0)
    first, step = envs.reset(), envs.step(np.array([0, 1]))
    assert all(
        x.shape == (2, size) and x.dtype == np.float32 for x in (first, step.observation, step.final_observation)
    )


@pytest.mark.parametrize("env_id, size, states", [("FrozenLake-v1", 16, 16), ("Blackjack-v1", 45, 0)])
def test_gymnasiums_worlds_of_integers_can_be_made(env_id, size, states):
    env = make(env_id)
    assert (env_spec(env).observation_size, env_spec(env).states) == (size, states)
    assert env.reset(seed=0)[0].sum() == (1 if states else 3)
    env.close()


@pytest.mark.parametrize(
    "space, shows",
    [
        (Dict({"a": BOX, "b": Discrete(3)}), {"b": 1, "a": np.array([0.5, 1.5])}),
        (Tuple([BOX, Discrete(3)]), ([0.5, 1.5], np.int64(1))),
        (Tuple([BOX, Discrete(3)]), [np.array([0.5, 1.5]), 1]),
        (Dict({"a": Dict({"place": BOX}), "b": Discrete(3)}), {"a": {"place": [0.5, 1.5]}, "b": 1}),
    ],
)
def test_boxes_are_read_alike_wherever_they_stand(space, shows):
    """Observations may be lists, other number types, or beyond their bounds because of rounding."""
    assert _toy(observation=space, shows=shows).reset(seed=0)[0].tolist() == [0.5, 1.5, 0, 1, 0]


@pytest.mark.parametrize(
    "space, shows, said",
    [
        (Discrete(4), 4, "observation 4 (expected one of Discrete(4))"), (Discrete(4), -1, "observation -1 (expected one of"),
        (Discrete(4), 1.5, "observation 1.5 (expected one of"), (Discrete(4), "1", "observation '1' (expected one of"),
        (Discrete(4), [1], "observation [1] (expected one of"), (MultiBinary(2), [0, 2], "(expected one of MultiBinary(2))"),
        (MultiDiscrete([2, 3]), np.array([1, 3]), "(expected one of MultiDiscrete([2 3]))"),
        (Tuple([BOX, Discrete(3)]), (np.zeros(2, np.float32),), "(expected a tuple of 2)"), (Tuple([BOX, Discrete(3)]), 3, "(expected a tuple of 2)"),
        (Tuple([BOX, Discrete(3)]), (np.zeros(1), 0), "observation of shape (1,) and type float64 (expected 2 finite numbers, of shape (2,))"),
        (Tuple([BOX, Discrete(3)]), (np.zeros(2), 3), "observation 3 (expected one of Discrete(3))"),
        (Dict({"place": BOX, "floor": Discrete(3)}), {"place": np.zeros(2)}, "(expected a dictionary with floor, place)"),
        (Dict({"place": BOX, "floor": Discrete(3)}), (1, 2), "(expected a dictionary with floor, place)"),
        (Dict({"place": BOX, "floor": Discrete(3)}), {"place": np.zeros(2), "floor": 3}, "observation 3 (expected one of Discrete(3))"),
    ],
)  # fmt: skip
def test_what_is_not_of_its_space_is_named(space, shows, said):
    envs = VectorEnv("gla-test/Toy-v0", [{"observation": space, "shows": shows}], 0, ["environment 'mine'"])
    with pytest.raises(UnsupportedEnvironment) as error:
        envs.reset()
    assert str(error.value).startswith("environment 'mine', first reset: observation ") and said in str(error.value)


# Actions

ACTIONS = [
    (Discrete(3), [0, 1, 2]), (Discrete(3, start=5), [5, 6, 7]), (Discrete(2, start=-1), [-1, 0]),
    (MultiDiscrete([2, 3]), [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]),
    (MultiDiscrete([2, 2], start=[1, -3]), [[1, -3], [1, -2], [2, -3], [2, -2]]),
    (MultiDiscrete([[2, 1], [1, 2]]), [[[0, 0], [0, 0]], [[0, 0], [0, 1]], [[1, 0], [0, 0]], [[1, 0], [0, 1]]]),
]  # fmt: skip


@pytest.mark.parametrize("space, meant", ACTIONS, ids=lambda x: str(x)[:25])
def test_every_discrete_action_is_a_number_from_0(space, meant):
    env = _toy(action=space)
    spec = env_spec(env)
    assert spec == EnvSpec(3, len(meant), True, None, None, 0)
    assert isinstance(env.action_space, Discrete) and (env.action_space.n, env.action_space.start) == (len(meant), 0)
    env.reset(seed=0)
    for action in range(len(meant)):
        env.step(np.int64(action))
    taken = env.unwrapped.taken
    assert [np.asarray(a).tolist() for a in taken] == meant and all(map(space.contains, taken))
    envs = VectorEnv("gla-test/Toy-v0", [{"action": space}] * len(meant), seed=0)
    envs.reset()
    envs.step(np.arange(len(meant)))
    assert [np.asarray(e.unwrapped.taken[0]).tolist() for e in envs.envs] == meant


def test_both_are_adapted_at_once_and_what_is_in_shape_is_left_alone():
    env = _toy(observation=Discrete(5), action=MultiDiscrete([2, 2]))
    assert env_spec(env) == EnvSpec(5, 4, True, None, None, 5)
    plain = _Toy()
    assert adapt(plain) is plain
    box = _toy(action=Box(-2, 2, (2,), np.float32))
    spec = env_spec(box)
    assert (spec.action_size, spec.discrete, spec.low.tolist(), spec.high.tolist()) == (2, False, [-2, -2], [2, 2])


def test_gymnasium_can_make_it_again_from_its_spec():
    env = gym.make(_toy(observation=Discrete(5), action=MultiDiscrete([2, 2])).spec)
    assert env_spec(env) == EnvSpec(5, 4, True, None, None, 5)


# What no agent can act in. Large environments can be made: what an encoding holds of them is its own limit.


@pytest.mark.parametrize(
    "kwargs, size",
    [({"observation": Box(-1, 1, (1000,), np.float32)}, (1000, 2)), ({"action": Box(-1, 1, (100,), np.float32)}, (3, 100)),
     ({"action": Discrete(4096)}, (3, 4096)), ({"action": MultiDiscrete([8] * 4)}, (3, 4096))],
)  # fmt: skip
def test_large_environments_can_be_made(kwargs, size):
    spec = env_spec(_toy(**kwargs))
    assert (spec.observation_size, spec.action_size) == size


@pytest.mark.parametrize(
    "kwargs, said",
    [
        (
            {"observation": Box(0, 255, (8, 8, 3), np.uint8)},
            "look like images, which are not supported (expected flat vectors of real",
        ),
        ({"observation": Dict({"place": BOX, "camera": Box(0, 255, (8, 8, 3), np.uint8)})}, "look like images"),
        (
            {"observation": Tuple([Discrete(2), Dict({"map": Box(0, 1, (4, 4), np.float32)})])},
            "of shape (4, 4) and type float32 look like",
        ),
        ({"observation": Sequence(BOX)}, "is not supported (expected one that Gymnasium can flatten)"),
        (
            {"observation": Dict({"path": Sequence(BOX), "place": BOX})},
            "is not supported (expected one that Gymnasium can flatten)",
        ),
        ({"observation": Box(-1, 1, (0,), np.float32)}, "0 observation dimensions (expected 1 or more)"),
        ({"observation": 3}, "observation_space 3 (expected a space of Gymnasium's)"),
        ({"action": Discrete(4097)}, "4097 action dimensions, or discrete actions (expected 1 to 4096)"),
        ({"action": MultiDiscrete([2] * 13)}, "8192 action dimensions, or discrete actions (expected 1 to 4096)"),
        ({"action": MultiDiscrete([10**6] * 13)}, "(expected 1 to 4096)"),
        (
            {"action": MultiBinary(3)},
            "action space MultiBinary(3) is not supported (expected Discrete, MultiDiscrete, or a Box with one axis",
        ),
        (
            {"action": Tuple([Discrete(2), BOX])},
            "(expected Discrete, MultiDiscrete, or a Box with one axis, of real numbers)",
        ),
        ({"action": Text(3)}, "(expected Discrete, MultiDiscrete, or a Box with one axis, of real numbers)"),
        (
            {"action": Box(0, 3, (2,), np.int64)},
            "(expected Discrete, MultiDiscrete, or a Box with one axis, of real numbers)",
        ),
    ],
)
def test_what_no_agent_can_act_in_is_one_line(kwargs, said):
    with pytest.raises(UnsupportedEnvironment) as error:
        _toy(**kwargs)
    assert (
        str(error.value).startswith("environment 'gla-test/Toy-v0': ")
        and said in str(error.value)
        and "\n" not in str(error.value)
    )
