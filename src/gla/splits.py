"""What a split has of its own: the tasks of an environment, and the seed that everything random in an evaluation is drawn from.

Both decide results, and so they stand here and not in the entries of the config, whose files are in no stage's code (``gla.code``).
"""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation


def tasks_of(environment: Environment, split: str) -> list[dict[str, Any]]:
    """Keyword arguments of the tasks of a split, at least one."""
    own = {"training": environment.tasks, "validation": environment.validation_tasks, "test": environment.test_tasks}[
        split
    ]
    return own or environment.tasks or [{}]


def seed_of(evaluation: Evaluation) -> int:
    """The seed that everything random is drawn from; validation has other ones than test."""
    return evaluation.seed + (2**20 if evaluation.split == "validation" else 0)
