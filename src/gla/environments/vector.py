"""Environments that are stepped side by side. Each is reset in the step that ended its episode."""

import contextlib
import os
from importlib import import_module
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from gla.environments.kinds import BACKENDS, ENVIRONMENTS
from gla.environments.making import make, text
from gla.environments.spaces import UnsupportedEnvironment, WrongValue, _short, env_spec, flag, real_array, real_number
from gla.watchdog import Wait


def _process() -> dict[str, Any]:
    """Returns the settings of the whole process that results depend on."""
    return {
        "the working directory": os.getcwd(), "PyTorch's default type": torch.get_default_dtype(),
        "PyTorch's default device": torch.get_default_device(),
    }  # fmt: skip


class Guard(Wait):
    """A guard around calls of environments' own code. If a call fails or does not return, the error names the environment and
    the step.

    names: names of the environments. ``at`` is the number of the one that is called, ``step`` is its step, from 0, and
    ``during`` is the operation there, or before its first step. Raises UnsupportedEnvironment for any error except an
    interruption by the user.
    """

    def __init__(self, names: list[str]):
        super().__init__()
        self.names, self.during, self.step, self.process = names, "", -1, _process()

    def __str__(self) -> str:
        return f"{self.names[self.at]}, {self.during}{f'step {self.step}' if self.step >= 0 else ''}"

    def failed(self, error: BaseException, late: bool) -> None:
        if isinstance(error, WrongValue):
            raise UnsupportedEnvironment(f"{self}: {error}") from error
        if isinstance(error, KeyboardInterrupt) and late:
            raise UnsupportedEnvironment(self.overdue()) from error
        if not isinstance(error, KeyboardInterrupt | UnsupportedEnvironment):
            said = f"{type(error).__name__}: {text(error)} (expected what gymnasium.Env returns, and no exception)"
            raise UnsupportedEnvironment(f"{self}: {said}") from error

    def check_process(self) -> None:
        """Raises UnsupportedEnvironment if an environment changed settings of the whole process, and resets them.

        Otherwise results could be written into another folder, or computed in other number types. A check takes as long as a
        step of a fast environment, and is therefore not made in each step.
        """
        for (what, before), now in zip(self.process.items(), _process().values(), strict=True):
            if now != before:
                self._set_back()
                raise UnsupportedEnvironment(
                    f"{self}: {what} is now {str(now)!r} (expected it left as it was, {str(before)!r})"
                )

    def _set_back(self) -> None:
        folder, dtype, device = self.process.values()
        os.chdir(folder)
        torch.set_default_dtype(dtype)
        torch.set_default_device(device)


class VectorStep(NamedTuple):
    """The outcome of one action in each of N environments.

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
        """names: names of the environments in errors. All methods raise UnsupportedEnvironment, which names environment and step."""
        self._guard = guard = Guard(names or [f"environment {env_id!r}, copy {i}" for i in range(len(kwargs))])
        self.envs: list[gym.Env] = []
        guard.during = "being made"
        with guard:
            for i, k in enumerate(kwargs):
                guard.at = i
                self.envs.append(make(env_id, **k))
                self._check_alike(self.envs[0], self.envs[-1])
                guard.check_process()
        space = self.envs[0].observation_space
        self.spec, self._shape, self._dtype = env_spec(self.envs[0]), space.shape, space.dtype
        # One seed for each environment, drawn from one sequence, so that no two are equal.
        self._seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(len(kwargs), np.uint32)]

    def _check_alike(self, first: gym.Env, env: gym.Env) -> None:
        """Checks that all environments have the same spaces, since their observations are rows of one array and their actions
        are clipped to the same bounds."""
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
        """Returns the first observations, (N, d) float32."""
        observation, guard = np.empty((len(self), self.spec.observation_size), np.float32), self._guard
        guard.during, guard.step = "first reset", -1
        with guard:
            for i, (env, seed) in enumerate(zip(self.envs, self._seeds, strict=True)):
                guard.at = i
                observation[i] = self._reset(env, seed=seed)
                guard.check_process()
        return observation

    def step(self, actions: np.ndarray) -> VectorStep:
        """Steps each environment once. actions: (N,) integers, or (N, action_size) floats, which are clipped to the bounds."""
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
                # The usual case is checked quickly, since this runs in every step of every environment. An array of the right size
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
                with contextlib.suppress(Exception):  # the environment is not used any more
                    env.close()
            guard.at, guard.during = (
                0,
                f"or another of {len(self)}, up to its end" if len(self) > 1 else "up to its end",
            )
            guard.check_process()


def vector_env(
    backend: str, env_id: str, kwargs: list[dict[str, Any]], seed: int, threads: int = 1, names: list[str] | None = None
):
    """Returns a ``VectorEnv``, or its counterpart of another backend, which may use several threads. Raises UnsupportedEnvironment.

    names: names of the environments in errors.
    """
    return BACKENDS[backend].stepped(env_id, kwargs, seed, threads, names)


def stepped(env_id: str, kwargs: list[dict[str, Any]], seed: int, threads: int, names: list[str] | None):
    """Makes environments of the backend "gymnasium". They are stepped one after another, or all at once if they are of this
    package and their class can do that.
    """
    if own := ENVIRONMENTS.get(env_id):
        kind = getattr(import_module(own.module), own.name)
        if hasattr(kind, "vector"):
            return kind.vector(env_id, kwargs, seed)
    return VectorEnv(env_id, kwargs, seed, names)
