"""A baseline: gla.learners.random_search from scratch, each seed alone."""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners.random_search import RandomSearch
from gla.rollout import EpisodeRows, run_learner


def run(entry: Environment, evaluation: Evaluation, label: str, files: list, **settings: Any) -> list[EpisodeRows]:
    """See gla.conditions. settings: of the learner, in place of its own, to choose among them."""
    return [run_learner(RandomSearch, entry, evaluation, label, **settings)]
