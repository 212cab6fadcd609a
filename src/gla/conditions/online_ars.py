"""A baseline: gla.learners.random_search from scratch, each seed alone."""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners.random_search import RandomSearch
from gla.rollout import EpisodeRows, environments_of, run_all
from gla.splits import seed_of


def run(entry: Environment, evaluation: Evaluation, label: str, files: list, **settings: Any) -> list[EpisodeRows]:
    """See gla.conditions. settings: of the learner, in place of its own, to choose among them."""
    envs = environments_of(entry, evaluation)
    try:
        learner = RandomSearch(envs.spec, evaluation.seeds, seed_of(evaluation), **settings)
        return [
            run_all(
                envs,
                evaluation,
                label,
                lambda observation, _t: learner.act(observation),
                lambda step, *_: learner.observe(step),
            )
        ]
    finally:
        envs.close()
