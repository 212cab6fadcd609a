"""A baseline: Q-learning with confidence bounds (gla.learners.q_ucb), from scratch in each seed, for discrete observations."""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners.q_ucb import QWithBounds
from gla.rollout import EpisodeRows, run_learner


def run(entry: Environment, evaluation: Evaluation, label: str, files: list, **settings: Any) -> list[EpisodeRows]:
    """See gla.conditions. settings: settings of the learner that replace its defaults, to search for the best ones."""
    return [run_learner(QWithBounds, entry, evaluation, label, **settings)]
