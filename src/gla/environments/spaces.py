"""Observations as flat vectors and actions as vectors or integers, whatever an environment's spaces are."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

REAL = "fiub"  # kinds of NumPy's types that are real numbers
NUMBERS = frozenset({bool, int, float, *(np.dtype(code).type for code in "?bhilqBHILQefdg")})  # what a reward may be
FLAGS = frozenset({bool, np.bool_})  # what says whether an episode ended
MOST_ACTIONS = 4096  # discrete ones, those that a MultiDiscrete stands for among them


class UnsupportedEnvironment(ValueError):
    """The environment does not exist, its spaces are not ones that an agent can act in, or it does not keep to them."""


class WrongValue(ValueError):
    """What an environment returned is not what its spaces, or Gymnasium, say; names it, and what was expected."""


def _short(value: Any) -> str:
    """A value in one line of bounded length."""
    if isinstance(value, np.ndarray):
        return f"of shape {value.shape} and type {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _array(value: Any) -> np.ndarray:
    """Anything as an array; of objects, which are no numbers, where it is none."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError):  # lists of unequal lengths
        return np.empty((), object)


def real_array(observation: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An observation of a Box's shape. Raises WrongValue; NumPy would repeat one number, or drop an imaginary part.

    Its bounds are not asked for: they are float32, and infinite or roughly guessed in many an environment that is
    otherwise right, Gymnasium's own among them; nothing here relies on them.
    """
    array = observation if type(observation) is np.ndarray else _array(observation)
    if array.shape != shape or array.dtype.kind not in REAL:
        raise WrongValue(
            f"observation {_short(observation)} (expected {int(np.prod(shape))} finite numbers, of shape {shape})"
        )
    return array


def real_number(reward: Any) -> float:
    """Raises WrongValue for what is not one real number."""
    if type(reward) in NUMBERS:
        return reward
    array = _array(reward)
    if array.shape or array.dtype.kind not in REAL:
        raise WrongValue(f"reward {_short(reward)} (expected one finite number)")
    return float(array)


def flag(name: str, value: Any) -> bool:
    """Raises WrongValue for what is not true or false: ``"False"`` and NaN would count as true."""
    if type(value) in FLAGS:
        return value
    array = _array(value)
    if array.shape or array.dtype.kind != "b":
        raise WrongValue(f"{name} {_short(value)} (expected True or False)")
    return bool(array)


def flatten(space: gym.Space, observation: Any) -> np.ndarray:
    """An observation as one vector: that of a Box; of a Dict or a Tuple what they hold, end to end; any other as Gymnasium flattens
    it, an integer as one-hot. Raises WrongValue."""
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
    except Exception:  # Gymnasium's own check takes for granted what it checks
        inside = False
    if not inside:
        raise WrongValue(f"observation {_short(observation)} (expected one of {space})")
    return gym.spaces.flatten(space, observation)


@dataclass(frozen=True)
class EnvSpec:
    """Shapes of an environment's spaces, as the rest of the package needs them.

    observation_size: length of the flat observation. action_size: dimensions of a continuous action, or number of discrete
    actions. discrete: whether actions are integers. low, high: bounds of a continuous action, each (action_size,); None for
    discrete actions. states: how many there are, where an observation is one integer, one-hot in the flat one; 0 elsewhere.
    """

    observation_size: int
    action_size: int
    discrete: bool
    low: np.ndarray | None
    high: np.ndarray | None
    states: int = 0


def env_spec(env: gym.Env) -> EnvSpec:
    """Shapes of an environment that ``gla.environments.make`` returned."""
    size, states, action = gym.spaces.flatdim(env.observation_space), _states(env), env.action_space
    if isinstance(action, gym.spaces.Discrete):
        return EnvSpec(size, int(action.n), True, None, None, states)
    return EnvSpec(size, action.shape[0], False, action.low.astype(np.float32), action.high.astype(np.float32), states)


def _states(env: gym.Env) -> int:
    """How many values an observation has that is one integer; 0 for others."""
    while isinstance(env, gym.Wrapper) and not isinstance(env, gym.wrappers.FlattenObservation):
        env = env.env
    space = env.env.observation_space if isinstance(env, gym.wrappers.FlattenObservation) else None
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else 0


def _parts(space: gym.Space) -> list[gym.Space]:
    """The spaces that a space is made of."""
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        inner = space.spaces.values() if isinstance(space, gym.spaces.Dict) else space.spaces
        return [part for own in inner for part in _parts(own)]
    return [space]


def check_supported(env_id: str, env: gym.Env) -> None:
    """Raises UnsupportedEnvironment where no agent can act in the environment's spaces. What an encoding can hold of them is
    the encoding's to say."""
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
    """The action of a Discrete, or of a MultiDiscrete, that is counted 0, 1, ..., n - 1; of vectors the last component runs fastest."""
    if isinstance(space, gym.spaces.Discrete):
        return int(action) + int(space.start)
    return np.array(np.unravel_index(int(action), np.ravel(space.nvec)), space.dtype).reshape(space.shape) + space.start


class Counted(gym.ActionWrapper, gym.utils.RecordConstructorArgs):
    """Actions 0, 1, ..., n - 1 in the place of a Discrete that starts elsewhere, or of a MultiDiscrete."""

    def __init__(self, env: gym.Env):
        gym.utils.RecordConstructorArgs.__init__(self)  # so that Gymnasium, and so Minari, can make it again
        gym.ActionWrapper.__init__(self, env)
        own = env.action_space
        self.action_space = gym.spaces.Discrete(
            int(own.n if isinstance(own, gym.spaces.Discrete) else np.prod(own.nvec))
        )

    def action(self, action: int) -> Any:
        return counted(self.env.action_space, action)
