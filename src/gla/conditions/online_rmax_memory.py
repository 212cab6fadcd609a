"""A baseline: R-max that remembers what was paid (gla.learners.rmax), from scratch in each seed, for discrete observations."""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners.rmax import RMaxWithMemory
from gla.learners.tabular import discounts
from gla.rollout import EpisodeRows, run_learner


def run(entry: Environment, evaluation: Evaluation, label: str, files: list, **settings: Any) -> list[EpisodeRows]:
    """See gla.conditions. settings: settings of the learner that replace its defaults, to search for the best ones."""
    return [run_learner(RMaxWithMemory, entry, evaluation, label, **{"gamma": discounts, **settings})]
