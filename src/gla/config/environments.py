"""Environments: where one acts, which tasks there are, and what a score of 1 stands for there."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from gla.options import Count, Options, Seed, Steps, Text, shown

MOST_TASKS = 10_000
Tasks = Annotated[list[dict[str, Any]], Field(max_length=MOST_TASKS)]


class Reference(Options):
    """PPO, trained for long on the very tasks that are evaluated: what a score of 1 stands for."""

    env_steps: Steps = 1_000_000
    """Environment steps of each run, rounded up to whole updates."""
    runs: Count = 3
    """Independent runs on each task. Their spread is part of every score's interval."""
    backend: Literal["gymnasium", "envpool"] = "gymnasium"
    """What steps the environment during training. Rollouts of the trained policies always use Gymnasium's."""
    num_envs: Count = 16
    """Copies of the environment in each run."""
    seed: Seed = 0
    """Seed of the runs."""


class Environment(Options):
    """Where agents and sources act."""

    id: Text
    """A Gymnasium id, or dm_control/<domain>-<task>-v0."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments of gymnasium.make."""
    tasks: Tasks = []
    """Further keyword arguments, one set for each task: lifetime (or test seed) k has tasks[k % n].
    {task: [0, 64]} stands for [{task: 0}, ..., {task: 63}]."""
    validation_tasks: Tasks = []
    """Tasks of evaluations of split validation, on which choices are made. Where empty, they are those of tasks."""
    test_tasks: Tasks = []
    """Tasks of evaluations of split test, which are reported. Where empty, they are those of tasks."""
    reference: Reference = Reference()
    """What a score of 1 stands for."""

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
