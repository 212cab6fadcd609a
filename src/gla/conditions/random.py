"""A baseline: actions uniform over the action space."""

import numpy as np

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.rollout import EpisodeRows, run_in
from gla.splits import seed_of


def run(entry: Environment, evaluation: Evaluation, label: str, files: list) -> list[EpisodeRows]:
    """See gla.conditions."""
    rng, n = np.random.default_rng(seed_of(evaluation)), evaluation.seeds

    def act(spec, _observation, _t) -> np.ndarray:
        if spec.discrete:
            return rng.integers(0, spec.action_size, n)
        return rng.uniform(np.maximum(spec.low, -1e3), np.minimum(spec.high, 1e3), (n, spec.action_size)).astype(
            np.float32
        )

    return [run_in(entry, evaluation, label, act)]
