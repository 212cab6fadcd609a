"""A baseline: always the first action, or the smallest."""

import numpy as np

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.rollout import EpisodeRows, run_in


def run(entry: Environment, evaluation: Evaluation, label: str, files: list) -> list[EpisodeRows]:
    """See gla.conditions."""

    def act(spec, _observation, _t) -> np.ndarray:
        n = evaluation.seeds
        return np.zeros(n, np.int64) if spec.discrete else np.tile(spec.low, (n, 1)).astype(np.float32)

    return [run_in(entry, evaluation, label, act)]
