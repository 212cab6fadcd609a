"""A baseline: always the zero vector, or action 0."""

import numpy as np

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.rollout import EpisodeRows, run_in


def run(entry: Environment, evaluation: Evaluation, label: str, files: list) -> list[EpisodeRows]:
    """See gla.conditions."""
    n = evaluation.seeds

    def act(spec, _observation, _t) -> np.ndarray:
        return np.zeros(n, np.int64) if spec.discrete else np.zeros((n, spec.action_size), np.float32)

    return [run_in(entry, evaluation, label, act)]
