"""A baseline: R-max (gla.learners.rmax) that believes what it has tried three times, from scratch in each seed, for discrete observations.

In worlds with noise a single try says little.
"""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners.rmax import RMax
from gla.learners.tabular import discounts
from gla.rollout import EpisodeRows, run_learner


def run(entry: Environment, evaluation: Evaluation, label: str, files: list, **settings: Any) -> list[EpisodeRows]:
    """See gla.conditions. settings: settings of the learner that replace its defaults, to search for the best ones."""
    return [run_learner(RMax, entry, evaluation, label, **{"known": 3, "gamma": discounts, **settings})]
