"""Environments: where agents act, which tasks there are, and which policies have a score of 1."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from gla.options import Count, Options, Seed, Steps, Text, shown

MOST_TASKS = 10_000
Tasks = Annotated[list[dict[str, Any]], Field(max_length=MOST_TASKS)]


class Reference(Options):
    """The policies that have a score of 1: PPO, trained for long on the very tasks that are evaluated."""

    env_steps: Steps = 1_000_000
    """Environment steps of each run, rounded up to whole updates."""
    runs: Count = 3
    """Independent runs on each task. Their spread is part of every score's interval."""
    backend: Literal["gymnasium", "envpool"] = "gymnasium"
    """The library that steps the environment during training. Rollouts of the trained policies always use Gymnasium."""
    num_envs: Count = 16
    """Copies of the environment in each run."""
    seed: Seed = 0
    """Random seed of the runs."""


class Environment(Options):
    """An environment that agents and sources act in."""

    id: Text
    """A Gymnasium id, or dm_control/<domain>-<task>-v0."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments that are passed to gymnasium.make."""
    tasks: Tasks = []
    """Further keyword arguments, one set for each of the n tasks. Lifetime (or test seed) k has tasks[k % n].
    {task: [0, 64]} stands for [{task: 0}, ..., {task: 63}]."""
    validation_tasks: Tasks = []
    """Tasks of evaluations on the split validation, by which choices are made. If empty, the same as tasks."""
    test_tasks: Tasks = []
    """Tasks of evaluations on the split test, which are reported. If empty, the same as tasks."""
    reference: Reference = Reference()
    """How the policies that have a score of 1 are trained."""

    @field_validator("tasks", "validation_tasks", "test_tasks", mode="before")
    @classmethod
    def _range(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1:
            ((key, bounds),) = value.items()
            if isinstance(bounds, list) and len(bounds) == 2 and all(type(x) is int for x in bounds):
                if bounds[0] >= bounds[1]:
                    raise ValueError(f"{value} is an empty range (expected [low, high] with low < high)")
                if bounds[1] - bounds[0] > MOST_TASKS:
                    raise ValueError(
                        f"{shown(value)} are {bounds[1] - bounds[0]} tasks (expected at most {MOST_TASKS})"
                    )
                return [{key: i} for i in range(*bounds)]
        return value
