"""The tasks and the random seed of each split. Everything random in an evaluation is drawn from this seed.

Both decide results. They are therefore here, and not in the entries of the config, whose files do not count as code of any stage
(``gla.code``).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Snakemake's processes import this module, and need no models of the config
    from gla.config.environments import Environment
    from gla.config.evaluations import Evaluation


def tasks_key(split: str) -> str:
    """Returns the key of an environment that holds the tasks of a split."""
    return "tasks" if split == "training" else f"{split}_tasks"


def tasks_in(entry: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """Returns the keyword arguments of the tasks of a split, at least one. entry: the environment's, normalised."""
    return entry[tasks_key(split)] or entry["tasks"] or [{}]


def tasks_of(environment: "Environment", split: str) -> list[dict[str, Any]]:
    """Returns the same of an environment."""
    return tasks_in(vars(environment), split)


def seed_of(evaluation: "Evaluation") -> int:
    """Returns the seed that everything random is drawn from. Validation has other seeds than test."""
    return evaluation.seed + (2**20 if evaluation.split == "validation" else 0)
