"""Sources that act step by step in all copies of their environments at once, and may learn from each step."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from gla.config.environments import Environment
from gla.environments.spaces import EnvSpec
from gla.environments.vector import VectorStep, stepped
from gla.options import Count, Steps
from gla.sources.options import Array, SourceOptions, rows, transitions

NAMES = ("observation", "final_observation", "action", "reward", "terminated", "truncated")


class ActingOptions(SourceOptions):
    """Options of all sources that act step by step."""

    # An environment must have one of these: "states", discrete like its actions; "arms", with one state; or "tables" and a time limit.
    needs: ClassVar[str] = ""

    num_updates: Steps = 1
    """Number of equal parts that a lifetime is divided into."""
    num_steps: Count = 128
    """Number of steps that each copy of the environment takes in one part."""

    def problems_in(self, name: str, facts: Mapping[str, Any]) -> Iterator[str]:
        counted = facts["discrete"] and facts["states"]
        fits, expected = {
            "": (True, ""),
            "states": (counted, "one whose observations and actions are Discrete"),
            "arms": (counted == 1, "a bandit, with one observation and Discrete actions"),
            "tables": (facts["tables"] and facts["time_limit"] is not None, "a tabular world of gla with a time limit"),
        }[self.needs]
        if not fits:
            yield f"environment: {name!r} (expected {expected}, for a source of this kind)"

    @property
    def updates(self) -> int:
        return self.num_updates

    @property
    def steps(self) -> int:
        return self.num_steps


def arrays(options: ActingOptions, spec: EnvSpec, lifetimes: range) -> dict[str, Array]:
    """See gla.sources. All further data that a source provides are one integer for each step."""
    axes = rows(lifetimes, options.num_envs, options)
    return transitions(axes, spec) | {name: Array("int64", axes) for name in sorted(options.provides)}


class Run:
    """See gla.sources.options. Each kind implements ``act`` and, if it learns, ``learn``.

    N copies of environments are stepped side by side, with those of one lifetime next to each other. ``envs`` are the
    environments and ``spec`` is their shapes; ``rng`` is the source's random generator; ``step`` of ``total`` steps have been
    made in each copy.
    """

    def __init__(self, options: Any, environment: Environment, lifetimes: range, name: str):
        self.options, self.lifetimes, tasks = options, lifetimes, environment.tasks or [{}]
        kwargs = [environment.kwargs | tasks[i % len(tasks)] for i in lifetimes for _ in range(options.num_envs)]
        names = [f"environment {name!r}, lifetime {i}, copy {c}" for i in lifetimes for c in range(options.num_envs)]
        sequence = np.random.SeedSequence([options.seed, lifetimes.start])
        env_seed, seed = (int(s) for s in sequence.generate_state(2, np.uint32))
        self.rng = np.random.default_rng(seed)
        self.envs = stepped(environment.id, kwargs, env_seed, 1, names)
        self.spec: EnvSpec = self.envs.spec
        self.step, self.total = 0, options.updates * options.steps
        self.begin()

    def begin(self) -> None:
        """Called before the first step."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps observations (N, d) to actions, (N, a) or integers (N,)."""
        raise NotImplementedError

    def learn(self, observation: np.ndarray, action: np.ndarray, step: VectorStep) -> None:
        """Learns from the outcome of the last actions."""

    def labels(self) -> tuple[np.ndarray, ...]:
        """Returns the data that ``options.provides`` names, in alphabetical order and (N,) each, for the last actions."""
        return ()

    def updates(self) -> Iterator[dict[str, np.ndarray]]:
        observation, names = self.envs.reset(), (*NAMES, *sorted(self.options.provides))
        for _ in range(self.options.updates):
            steps = []
            for _ in range(self.options.steps):
                action = self.act(observation)
                labels = self.labels()
                step = self.envs.step(action)
                self.learn(observation, action, step)
                steps.append((
                    observation, step.final_observation, action, step.reward, step.terminated, step.truncated, *labels
                ))  # fmt: skip
                observation = step.observation
                self.step += 1
            together = (np.stack(values, 1) for values in zip(*steps, strict=True))  # (N, T, ...)
            yield {
                name: x.reshape(len(self.lifetimes), -1, *x.shape[1:]) for name, x in zip(names, together, strict=True)
            }

    def rest(self) -> dict[str, np.ndarray]:
        return {}

    def curves(self, update: int) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self.envs.close()


def states(envs: Any, observation: np.ndarray) -> np.ndarray:
    """Returns the state of each copy, (N,): the state in its tables, if it has tables; otherwise the one that the one-hot observation
    shows."""
    return envs.state if hasattr(envs, "state") else observation.argmax(1)


def entered(envs: Any, step: VectorStep) -> np.ndarray:
    """Returns the state that each copy entered in a step, (N,), before any reset."""
    if hasattr(envs, "entered"):
        return envs.entered
    over = (step.terminated | step.truncated)[:, None]
    return np.where(over, step.final_observation, step.observation).argmax(1)


def epsilon_at(epsilon: list[float], step: int, total: int) -> float:
    """Returns a value that changes linearly from the first of ``total`` steps to the last."""
    return epsilon[0] + (epsilon[1] - epsilon[0]) * step / max(1, total - 1)
