"""Environments: any Gymnasium id, any dm-control task, and five of our own.

``make`` returns every one of them in one shape: a flat float32 observation vector and either a
``Box`` or a ``Discrete`` action space. ``VectorEnv`` steps many side by side.
"""

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

# dm-control looks for a display when it is imported; nothing is rendered here.
if sys.platform.startswith("linux"):
    os.environ.setdefault("MUJOCO_GL", "disabled")

import gymnasium as gym
import numpy as np

from gla.watchdog import Wait

MAX_OBSERVATION = 64  # dimensions of the projected observation (Kirsch et al. 2023, Section 2)
MAX_ACTION = 16  # dimensions of the projected action
REAL = "fiub"  # kinds of NumPy's types that are real numbers
NUMBERS = frozenset({bool, int, float, *(np.dtype(code).type for code in "?bhilqBHILQefdg")})  # what a reward may be
FLAGS = frozenset({bool, np.bool_})  # what says whether an episode ended

gym.logger.min_level = gym.logger.ERROR  # v4 MuJoCo ids warn that v5 exists, at every construction

gym.register("gla/GridWorld-v0", "gla.environments.grid_world:GridWorld", max_episode_steps=10)
gym.register("gla/PointMass-v0", "gla.environments.point_mass:PointMass", max_episode_steps=20)
gym.register("gla/LinearControl-v0", "gla.environments.linear_control:LinearControl", max_episode_steps=20)
gym.register("gla/RandomControl-v0", "gla.environments.random_control:RandomControl", max_episode_steps=40)
gym.register("gla/AntDir-v0", "gla.environments.ant_dir:AntDir", max_episode_steps=200)


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
        raise WrongValue(f"observation {_short(observation)} (expected {int(np.prod(shape))} finite numbers, of shape {shape})")
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
    """An observation of a Box, or of a Dict of Boxes, as one vector. Raises WrongValue."""
    if not isinstance(space, gym.spaces.Dict):
        return real_array(observation, space.shape).astype(space.dtype).ravel()
    boxes = space.spaces
    try:
        values = [observation[key] for key in boxes]
    except (TypeError, LookupError):
        raise WrongValue(f"observation {_short(observation)} (expected a dictionary with {', '.join(boxes)})") from None
    parts = [real_array(value, box.shape) for value, box in zip(values, boxes.values(), strict=True)]
    return np.concatenate([part.astype(box.dtype).ravel() for part, box in zip(parts, boxes.values(), strict=True)])


class Guard(Wait):
    """Around calls of environments' own code: names the environment and the step of what goes wrong there, or does not return.

    names: of each environment; ``at`` is the one that is called, ``step`` its step, from 0, and ``during`` what is asked of it
    there, or before its first step. Raises UnsupportedEnvironment for any exception but the user's own interruption.
    """

    def __init__(self, names: list[str]):
        super().__init__()
        self.names, self.during, self.step = names, "", -1

    def __str__(self) -> str:
        return f"{self.names[self.at]}, {self.during}{f'step {self.step}' if self.step >= 0 else ''}"

    def failed(self, error: BaseException, late: bool) -> None:
        if isinstance(error, WrongValue):
            raise UnsupportedEnvironment(f"{self}: {error}") from error
        if isinstance(error, KeyboardInterrupt) and late:
            raise UnsupportedEnvironment(self.overdue()) from error
        if isinstance(error, Exception | SystemExit) and not isinstance(error, UnsupportedEnvironment):
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise UnsupportedEnvironment(f"{self}: {said} (expected what gymnasium.Env returns, and no exception)") from error


@dataclass(frozen=True)
class EnvSpec:
    """Shapes of an environment's spaces, as the rest of the package needs them.

    observation_size: length of the flat observation, 1..64.
    action_size: dimensions of a continuous action, or number of discrete actions, 1..16.
    discrete: whether actions are integers.
    low, high: bounds of a continuous action, each (action_size,); None for discrete actions.
    """

    observation_size: int
    action_size: int
    discrete: bool
    low: np.ndarray | None
    high: np.ndarray | None


def make(env_id: str, **kwargs: Any) -> gym.Env:
    """One environment with flat float32 observations.

    Raises UnsupportedEnvironment for an unknown id, wrong keyword arguments, or spaces that do
    not fit, naming the id and what was expected.
    """
    if env_id.startswith("dm_control/"):
        import shimmy  # registers the dm_control ids

        gym.register_envs(shimmy)
    try:
        env = gym.make(env_id, disable_env_checker=True, **kwargs)
    except gym.error.Error as error:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: {error} "
            "(expected a Gymnasium id such as 'Reacher-v4', or 'dm_control/<domain>-<task>-v0')"
        ) from None
    except (TypeError, ValueError) as error:
        raise UnsupportedEnvironment(f"environment {env_id!r} with {kwargs}: {' '.join(str(error).split())}") from error
    except (Exception, SystemExit) as error:  # an environment's own code may raise anything
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnsupportedEnvironment(f"environment {env_id!r} with {kwargs}: {said} (expected one that can be made)") from error
    try:
        check_supported(env_id, env)
        if env.spec is None:
            raise UnsupportedEnvironment(f"environment {env_id!r}: spec None (expected what gymnasium.make sets, its time limit among it)")
    except UnsupportedEnvironment:
        with contextlib.suppress(Exception):
            env.close()
        raise
    space = env.observation_space
    if isinstance(space, gym.spaces.Dict):
        env = gym.wrappers.FlattenObservation(env)
        env.func = lambda observation: flatten(space, observation)  # as its own, but for checking the parts
    return env


def check_supported(env_id: str, env: gym.Env) -> None:
    """Raises UnsupportedEnvironment where no agent can act in the environment's spaces."""
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(env, name, None), gym.Space):
            raise UnsupportedEnvironment(f"environment {env_id!r}: {name} {getattr(env, name, None)!r} (expected a space of Gymnasium's)")
    space = env.observation_space
    boxes = list(space.spaces.values()) if isinstance(space, gym.spaces.Dict) else [space]
    for box in boxes:
        if not isinstance(box, gym.spaces.Box):
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: observation space {space} is not supported "
                "(expected a Box, or a Dict of Boxes)"
            )
        if box.dtype == np.uint8 or len(box.shape) > 1:
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: observations of shape {box.shape} and type {box.dtype} look like "
                "images, which are not supported (expected flat vectors of real numbers)"
            )
    size = sum(int(np.prod(box.shape)) for box in boxes)
    if not 1 <= size <= MAX_OBSERVATION:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: {size} observation dimensions (expected 1 to {MAX_OBSERVATION})"
        )
    action = env.action_space
    if isinstance(action, gym.spaces.Discrete):
        if action.start != 0:
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: actions start at {action.start} (expected 0)"
            )
        size = int(action.n)
    elif isinstance(action, gym.spaces.Box) and len(action.shape) == 1 and action.dtype.kind == "f":
        size = action.shape[0]
        room = (action.low <= action.high) & (action.low < np.inf) & (action.high > -np.inf)  # NaN compares false
        if not room.all():
            bounds = f"actions between {action.low.tolist()} and {action.high.tolist()}"
            raise UnsupportedEnvironment(f"environment {env_id!r}: {bounds} (expected bounds with numbers between them)")
    else:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: action space {action} is not supported "
            "(expected Discrete, or a Box with one axis, of real numbers)"
        )
    if not 1 <= size <= MAX_ACTION:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: {size} action dimensions (expected 1 to {MAX_ACTION})"
        )


def time_limit(env: gym.Env) -> int | None:
    """Steps after which an episode is cut off; None where nothing does it."""
    task = getattr(env.unwrapped, "_env", None)  # dm-control's own, which Gymnasium does not know
    limits = [env.spec.max_episode_steps, getattr(task, "_step_limit", None)]
    return min((int(x) for x in limits if x is not None and 0 < x < np.inf), default=None)


def env_spec(env: gym.Env) -> EnvSpec:
    """Shapes of an environment with spaces that are supported."""
    size = gym.spaces.flatdim(env.observation_space)
    action = env.action_space
    if isinstance(action, gym.spaces.Discrete):
        return EnvSpec(size, int(action.n), True, None, None)
    return EnvSpec(size, action.shape[0], False, action.low.astype(np.float32), action.high.astype(np.float32))


def optimal_return(id: str, kwargs: dict[str, Any], tasks: list[dict[str, Any]]) -> float | None:
    """Highest expected episode return, averaged over the tasks, where it is known in closed form."""
    if id != "gla/GridWorld-v0":
        return None
    returns = []
    for task in tasks or [{}]:
        env = make(id, **(kwargs | task))
        returns.append(env.unwrapped.optimal_return(env.spec.max_episode_steps))
        env.close()
    return float(np.mean(returns))


class VectorStep(NamedTuple):
    """What N environments returned for one action each (N is the number of environments).

    observation: (N, d) float32, the next observation to act on: after an episode's end, the
        first one of the next episode.
    reward: (N,) float64.
    terminated, truncated: (N,) bool.
    final_observation: (N, d) float32, the observation that ended an episode; zero elsewhere.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: np.ndarray


class VectorEnv:
    """N environments stepped one after another, each reset in the step that ended its episode.

    Gymnasium's own SyncVectorEnv does the same under ``AutoresetMode.SAME_STEP``; it also copies
    every observation twice and merges every info dictionary, which costs as much as simulating
    Reacher does.
    """

    def __init__(self, env_id: str, kwargs: list[dict[str, Any]], seed: int, names: list[str] | None = None):
        """names: of each environment, in errors. Raises UnsupportedEnvironment, as do all methods, naming environment and step."""
        self._guard = guard = Guard(names or [f"environment {env_id!r}, copy {i}" for i in range(len(kwargs))])
        self.envs: list[gym.Env] = []
        guard.during = "being made"
        with guard:
            for i, k in enumerate(kwargs):
                guard.at = i
                self.envs.append(make(env_id, **k))
                self._check_alike(self.envs[0], self.envs[-1])
        space = self.envs[0].observation_space
        self.spec, self._shape, self._dtype = env_spec(self.envs[0]), space.shape, space.dtype
        # One seed for each environment, drawn from one sequence: never two alike.
        self._seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(len(kwargs), np.uint32)]

    def _check_alike(self, first: gym.Env, env: gym.Env) -> None:
        """All observations are rows of one array, and all actions are clipped to the same bounds."""
        for name in ("observation_space", "action_space"):
            a, b = getattr(first, name), getattr(env, name)
            bounds = name == "action_space" and isinstance(b, gym.spaces.Box)
            if a.shape != b.shape or getattr(a, "n", 0) != getattr(b, "n", 0) or bounds and a != b:
                raise UnsupportedEnvironment(f"{self._guard}: {name} {b} (expected that of the first, {a})")

    def __len__(self) -> int:
        return len(self.envs)

    def _reset(self, env: gym.Env, **seed: int) -> np.ndarray:
        returned = env.reset(**seed)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise WrongValue(f"reset returned {_short(returned)} (expected observation and info)")
        return real_array(returned[0], self._shape)

    def reset(self) -> np.ndarray:
        """First observations, (N, d) float32."""
        observation, guard = np.empty((len(self), self.spec.observation_size), np.float32), self._guard
        guard.during, guard.step = "first reset", -1
        with guard:
            for i, (env, seed) in enumerate(zip(self.envs, self._seeds, strict=True)):
                guard.at = i
                observation[i] = self._reset(env, seed=seed)
        return observation

    def step(self, actions: np.ndarray) -> VectorStep:
        """Act once in each. actions: (N,) integers, or (N, action_size) floats, clipped to the bounds here."""
        n, d, dtype, ndarray, guard = len(self.envs), self.spec.observation_size, self._dtype, np.ndarray, self._guard
        observation = np.empty((n, d), dtype=np.float32)
        final = np.zeros((n, d), dtype=np.float32)
        reward = np.empty(n, dtype=np.float64)
        terminated, truncated = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        if not self.spec.discrete:
            actions = np.clip(actions, self.spec.low, self.spec.high)
        guard.during, guard.step = "", guard.step + 1
        with guard:
            for i, env in enumerate(self.envs):
                guard.at = i
                obs, paid, term, trunc, _ = env.step(actions[i])
                # What is usual is told at a glance, as it is for every step of every environment; an array of the right size
                # that cannot be written into its row raises an error there.
                if type(obs) is not ndarray or obs.size != d or obs.dtype is not dtype:
                    obs = real_array(obs, self._shape)
                reward[i] = paid if type(paid) is float else real_number(paid)
                if term is not False or trunc is not False:
                    terminated[i], truncated[i] = flag("terminated", term), flag("truncated", trunc)
                    if terminated[i] or truncated[i]:
                        final[i] = obs
                        guard.during = "reset after "
                        obs = self._reset(env)
                        guard.during = ""
                observation[i] = obs
        return VectorStep(observation, reward, terminated, truncated, final)

    def close(self) -> None:
        guard = self._guard
        guard.during, guard.step = "being closed", -1
        with guard:
            for i, env in enumerate(self.envs):
                guard.at = i
                with contextlib.suppress(Exception):  # nothing is asked of it any more
                    env.close()


def vector_env(
    backend: str, env_id: str, kwargs: list[dict[str, Any]], seed: int, threads: int = 1, names: list[str] | None = None
):
    """A ``VectorEnv``, or EnvPool's in its stead, which may use several threads. Raises UnsupportedEnvironment.

    names: of each environment, in errors; EnvPool's are its own, and cannot return another shape or type than they say.
    """
    if backend == "envpool":
        from gla.environments.envpool import EnvPoolVector  # an extra

        return EnvPoolVector(env_id, kwargs, seed, threads)
    return VectorEnv(env_id, kwargs, seed, names)
