"""Actions that are uniform over the action space: histories that never improve, and a base for labels of other kinds."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from gla.config.environments import Environment
from gla.environments.spaces import EnvSpec
from gla.environments.vector import VectorEnv
from gla.options import Count, Steps
from gla.sources.options import Array, SourceOptions, rows, transitions


class Options(SourceOptions):
    """Uniform actions. It writes transitions alone."""

    kind: Literal["random"] = "random"
    num_updates: Steps = 1
    """Parts of equal length that a lifetime is divided into."""
    num_steps: Count = 128
    """Steps of each copy of the environment in one part."""

    @property
    def updates(self) -> int:
        return self.num_updates

    @property
    def steps(self) -> int:
        return self.num_steps


def arrays(options: Options, spec: EnvSpec, lifetimes: range) -> dict[str, Array]:
    """See gla.sources."""
    return transitions(rows(lifetimes, options.num_envs, options), spec)


class Run:
    """See gla.sources.options."""

    def __init__(self, options: Options, environment: Environment, lifetimes: range, name: str):
        self.options, self.lifetimes, tasks = options, lifetimes, environment.tasks or [{}]
        kwargs = [environment.kwargs | tasks[i % len(tasks)] for i in lifetimes for _ in range(options.num_envs)]
        names = [f"environment {name!r}, lifetime {i}, copy {c}" for i in lifetimes for c in range(options.num_envs)]
        sequence = np.random.SeedSequence([options.seed, lifetimes.start])
        env_seed, seed = (int(s) for s in sequence.generate_state(2, np.uint32))
        self.rng = np.random.default_rng(seed)
        self.envs = VectorEnv(environment.id, kwargs, env_seed, names)
        self.spec = self.envs.spec

    def updates(self) -> Iterator[dict[str, np.ndarray]]:
        spec, n, observation = self.spec, len(self.envs), self.envs.reset()
        for _ in range(self.options.num_updates):
            steps = []
            for _ in range(self.options.num_steps):
                action = self.rng.integers(0, spec.action_size, n) if spec.discrete else self._uniform(n)
                step = self.envs.step(action)
                steps.append(
                    (observation, step.final_observation, action, step.reward, step.terminated, step.truncated)
                )
                observation = step.observation
            names = ("observation", "final_observation", "action", "reward", "terminated", "truncated")
            together = (np.stack(values, 1) for values in zip(*steps, strict=True))  # (N, T, ...)
            yield {
                name: x.reshape(len(self.lifetimes), -1, *x.shape[1:]) for name, x in zip(names, together, strict=True)
            }

    def _uniform(self, n: int) -> np.ndarray:
        low, high = np.maximum(self.spec.low, -1e3), np.minimum(self.spec.high, 1e3)
        return self.rng.uniform(low, high, (n, self.spec.action_size)).astype(np.float32)

    def rest(self) -> dict[str, np.ndarray]:
        return {}

    def curves(self, update: int) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self.envs.close()
