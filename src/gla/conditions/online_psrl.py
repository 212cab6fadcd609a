"""A baseline: posterior sampling (gla.learners.posterior_sampling) from scratch, in each seed separately. It needs discrete observations."""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners.posterior_sampling import PosteriorSampling
from gla.learners.tabular import discounts
from gla.rollout import EpisodeRows, run_learner


def run(entry: Environment, evaluation: Evaluation, label: str, files: list, **settings: Any) -> list[EpisodeRows]:
    """See gla.conditions. settings: settings of the learner that replace its defaults, to search for the best ones."""
    return [run_learner(PosteriorSampling, entry, evaluation, label, **{"gamma": discounts, **settings})]
