"""Turns observations of all supported spaces into flat vectors, and actions into vectors or integers."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

REAL = "fiub"  # kinds of NumPy types that are real numbers
NUMBERS = frozenset({bool, int, float, *(np.dtype(code).type for code in "?bhilqBHILQefdg")})  # types of rewards
FLAGS = frozenset({bool, np.bool_})  # types of the flags that say whether an episode ended
MOST_ACTIONS = 4096  # most discrete actions, including those of a MultiDiscrete


class UnsupportedEnvironment(ValueError):
    """The environment does not exist, its spaces are not ones that an agent can act in, or it does not keep to them."""


class WrongValue(ValueError):
    """An environment returned a value that does not fit its spaces or Gymnasium's interface. The error names it and what was
    expected.
    """


def _short(value: Any) -> str:
    """Returns a value in one line of bounded length."""
    if isinstance(value, np.ndarray):
        return f"of shape {value.shape} and type {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _array(value: Any) -> np.ndarray:
    """Returns any value as an array; as an array of objects if it is not one of numbers."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError):  # lists of unequal lengths
        return np.empty((), object)


def real_array(observation: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an observation as an array of a Box's shape. Raises WrongValue where NumPy would repeat a single number or drop
    an imaginary part.

    The bounds are not checked. They are float32, and in many environments, including Gymnasium's own, they are infinite or
    rough guesses. Nothing here relies on them.
    """
    array = observation if type(observation) is np.ndarray else _array(observation)
    if array.shape != shape or array.dtype.kind not in REAL:
        raise WrongValue(
            f"observation {_short(observation)} (expected {int(np.prod(shape))} finite numbers, of shape {shape})"
        )
    return array


def real_number(reward: Any) -> float:
    """Returns a value that is one real number. Raises WrongValue for any other."""
    if type(reward) in NUMBERS:
        return reward
    array = _array(reward)
    if array.shape or array.dtype.kind not in REAL:
        raise WrongValue(f"reward {_short(reward)} (expected one finite number)")
    return float(array)


def flag(name: str, value: Any) -> bool:
    """Returns a value that is true or false. Raises WrongValue for any other, since ``"False"`` and NaN would count as true."""
    if type(value) in FLAGS:
        return value
    array = _array(value)
    if array.shape or array.dtype.kind != "b":
        raise WrongValue(f"{name} {_short(value)} (expected True or False)")
    return bool(array)


def flatten(space: gym.Space, observation: Any) -> np.ndarray:
    """Returns an observation as one vector. The parts of a Dict or a Tuple are concatenated; other spaces are flattened as in
    Gymnasium, where an integer becomes one-hot. Raises WrongValue, where Gymnasium takes arrays of any shape for those of a Box."""
    if isinstance(space, gym.spaces.Box):
        return real_array(observation, space.shape).astype(space.dtype).ravel()
    if isinstance(space, gym.spaces.Dict):
        try:
            values = [observation[key] for key in space.spaces]
        except (TypeError, LookupError):
            raise WrongValue(
                f"observation {_short(observation)} (expected a dictionary with {', '.join(map(str, space.spaces))})"
            ) from None
        return np.concatenate([flatten(own, value) for own, value in zip(space.spaces.values(), values, strict=True)])
    if isinstance(space, gym.spaces.Tuple):
        if not isinstance(observation, tuple | list) or len(observation) != len(space.spaces):
            raise WrongValue(f"observation {_short(observation)} (expected a tuple of {len(space.spaces)})")
        return np.concatenate([flatten(own, value) for own, value in zip(space.spaces, observation, strict=True)])
    try:
        inside = space.contains(observation)
    except Exception:  # Gymnasium's own check fails on values of the wrong type
        inside = False
    if not inside:
        raise WrongValue(f"observation {_short(observation)} (expected one of {space})")
    return gym.spaces.flatten(space, observation)


@dataclass(frozen=True)
class EnvSpec:
    """The shapes of an environment's spaces.

    observation_size: length of the flat observation. action_size: dimensions of a continuous action, or number of discrete
    actions. discrete: whether actions are integers. low, high: bounds of a continuous action, each (action_size,); None for
    discrete actions. states: number of values of an observation that is one integer, which is one-hot in the flat
    observation; 0 for other observations.
    """

    observation_size: int
    action_size: int
    discrete: bool
    low: np.ndarray | None
    high: np.ndarray | None
    states: int = 0


def env_spec(env: gym.Env) -> EnvSpec:
    """Returns the shapes of an environment that ``gla.environments.make`` returned."""
    size, states, action = gym.spaces.flatdim(env.observation_space), _states(env), env.action_space
    if isinstance(action, gym.spaces.Discrete):
        return EnvSpec(size, int(action.n), True, None, None, states)
    return EnvSpec(size, action.shape[0], False, action.low.astype(np.float32), action.high.astype(np.float32), states)


def _states(env: gym.Env) -> int:
    """Returns the number of values of an observation that is one integer; 0 for other observations."""
    while isinstance(env, gym.Wrapper) and not isinstance(env, gym.wrappers.FlattenObservation):
        env = env.env
    space = env.env.observation_space if isinstance(env, gym.wrappers.FlattenObservation) else None
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else 0


def _parts(space: gym.Space) -> list[gym.Space]:
    """Returns the spaces that a space consists of."""
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        inner = space.spaces.values() if isinstance(space, gym.spaces.Dict) else space.spaces
        return [part for own in inner for part in _parts(own)]
    return [space]


def check_supported(env_id: str, env: gym.Env) -> None:
    """Raises UnsupportedEnvironment if no agent can act in the environment's spaces. Whether they fit an encoding is checked by the
    encoding."""
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(env, name, None), gym.Space):
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: {name} {getattr(env, name, None)!r} (expected a space of Gymnasium's)"
            )
    space = env.observation_space
    for part in _parts(space):
        if isinstance(part, gym.spaces.Box):
            if part.dtype == np.uint8 and len(part.shape) > 1 or len(part.shape) > 1:
                raise UnsupportedEnvironment(
                    f"environment {env_id!r}: observations of shape {part.shape} and type {part.dtype} look like "
                    "images, which are not supported (expected flat vectors of real numbers)"
                )
        elif not part.is_np_flattenable:
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: observation space {space} is not supported (expected one that Gymnasium can flatten)"
            )
    if gym.spaces.flatdim(space) < 1:
        raise UnsupportedEnvironment(f"environment {env_id!r}: 0 observation dimensions (expected 1 or more)")
    action = env.action_space
    if isinstance(action, gym.spaces.Discrete):
        size = int(action.n)
    elif isinstance(action, gym.spaces.MultiDiscrete):
        size = int(np.prod(action.nvec, dtype=float))
    elif isinstance(action, gym.spaces.Box) and len(action.shape) == 1 and action.dtype.kind == "f":
        size = action.shape[0]
        room = (action.low <= action.high) & (action.low < np.inf) & (action.high > -np.inf)  # NaN compares false
        if not room.all():
            bounds = f"actions between {action.low.tolist()} and {action.high.tolist()}"
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: {bounds} (expected bounds with numbers between them)"
            )
    else:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: action space {action} is not supported "
            "(expected Discrete, MultiDiscrete, or a Box with one axis, of real numbers)"
        )
    if not 1 <= size <= MOST_ACTIONS:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: {size} action dimensions, or discrete actions (expected 1 to {MOST_ACTIONS})"
        )


def counted(space: gym.Space, action: int) -> Any:
    """Returns the action of a Discrete or MultiDiscrete space that has this number from 0 to n - 1. The last component of
    vectors runs fastest.
    """
    if isinstance(space, gym.spaces.Discrete):
        return int(action) + int(space.start)
    return np.array(np.unravel_index(int(action), np.ravel(space.nvec)), space.dtype).reshape(space.shape) + space.start


class Counted(gym.ActionWrapper, gym.utils.RecordConstructorArgs):
    """Numbers the actions of a Discrete that does not start at 0, or of a MultiDiscrete, from 0 to n - 1."""

    def __init__(self, env: gym.Env):
        gym.utils.RecordConstructorArgs.__init__(self)  # so that Gymnasium, and so Minari, can make it again
        gym.ActionWrapper.__init__(self, env)
        own = env.action_space
        self.action_space = gym.spaces.Discrete(
            int(own.n if isinstance(own, gym.spaces.Discrete) else np.prod(own.nvec))
        )

    def action(self, action: int) -> Any:
        return counted(self.env.action_space, action)
