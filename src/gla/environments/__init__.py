"""Environments: any Gymnasium id, any dm-control task, and five of our own.

``make`` returns every one of them in one shape: a flat float32 observation vector and either a
``Box`` or a ``Discrete`` action space. ``VectorEnv`` steps many side by side.
"""

import os
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

# dm-control looks for a display when it is imported; nothing is rendered here.
if sys.platform.startswith("linux"):
    os.environ.setdefault("MUJOCO_GL", "disabled")

import gymnasium as gym
import numpy as np

MAX_OBSERVATION = 64  # dimensions of the projected observation (Kirsch et al. 2023, Section 2)
MAX_ACTION = 16  # dimensions of the projected action

gym.logger.min_level = gym.logger.ERROR  # v4 MuJoCo ids warn that v5 exists, at every construction

gym.register("gla/GridWorld-v0", "gla.environments.grid_world:GridWorld", max_episode_steps=10)
gym.register("gla/PointMass-v0", "gla.environments.point_mass:PointMass", max_episode_steps=20)
gym.register("gla/LinearControl-v0", "gla.environments.linear_control:LinearControl", max_episode_steps=20)
gym.register("gla/RandomControl-v0", "gla.environments.random_control:RandomControl", max_episode_steps=40)
gym.register("gla/AntDir-v0", "gla.environments.ant_dir:AntDir", max_episode_steps=200)


class UnsupportedEnvironment(ValueError):
    """The environment does not exist, or its spaces are not ones that an agent can act in."""


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
        raise UnsupportedEnvironment(f"environment {env_id!r} with {kwargs}: {error}") from None
    try:
        check_supported(env_id, env)
    except UnsupportedEnvironment:
        env.close()
        raise
    if isinstance(env.observation_space, gym.spaces.Dict):
        env = gym.wrappers.FlattenObservation(env)
    return env


def check_supported(env_id: str, env: gym.Env) -> None:
    """Raises UnsupportedEnvironment where no agent can act in the environment's spaces."""
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
    elif isinstance(action, gym.spaces.Box) and len(action.shape) == 1:
        size = action.shape[0]
    else:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: action space {action} is not supported "
            "(expected Discrete, or a Box with one axis)"
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

    def __init__(self, env_id: str, kwargs: list[dict[str, Any]], seed: int):
        self.envs = [make(env_id, **k) for k in kwargs]
        self.spec = env_spec(self.envs[0])
        # One seed for each environment, drawn from one sequence: never two alike.
        self._seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(len(kwargs), np.uint32)]

    def __len__(self) -> int:
        return len(self.envs)

    def reset(self) -> np.ndarray:
        """First observations, (N, d) float32."""
        observations = [env.reset(seed=seed)[0] for env, seed in zip(self.envs, self._seeds, strict=True)]
        return np.asarray(observations, dtype=np.float32).reshape(len(self), -1)

    def step(self, actions: np.ndarray) -> VectorStep:
        """Act once in each. actions: (N,) integers, or (N, action_size) floats, clipped to the bounds here."""
        n, d = len(self.envs), self.spec.observation_size
        observation = np.empty((n, d), dtype=np.float32)
        final = np.zeros((n, d), dtype=np.float32)
        reward = np.empty(n, dtype=np.float64)
        terminated, truncated = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        if not self.spec.discrete:
            actions = np.clip(actions, self.spec.low, self.spec.high)
        for i, env in enumerate(self.envs):
            obs, reward[i], term, trunc, _ = env.step(actions[i])
            if term or trunc:
                final[i] = obs
                terminated[i], truncated[i] = term, trunc
                obs, _ = env.reset()
            observation[i] = obs
        return VectorStep(observation, reward, terminated, truncated, final)

    def close(self) -> None:
        for env in self.envs:
            env.close()


def vector_env(backend: str, env_id: str, kwargs: list[dict[str, Any]], seed: int, threads: int = 1):
    """A ``VectorEnv``, or EnvPool's in its stead, which may use several threads. Raises UnsupportedEnvironment."""
    if backend == "envpool":
        from gla.environments.envpool import EnvPoolVector  # an extra

        return EnvPoolVector(env_id, kwargs, seed, threads)
    return VectorEnv(env_id, kwargs, seed)
