"""Posterior sampling for reinforcement learning (Strens, 2000; Osband et al., 2013), in worlds of finitely many states."""

import numpy as np

from gla.learners.tabular import TabularLearner


class PosteriorSampling(TabularLearner):
    """Each seed has a posterior of its own over worlds. At the beginning of each episode a world is drawn from it, and the best policy of this
    world acts until the episode ends.

    For S states, what follows a state and an action has a Dirichlet prior with 1 / S for every state and for the end of the episode. Their
    reward has a normal prior with mean 0 and deviation 1, and is observed with noise of deviation 1.
    """

    def world(self, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        drawn = self.rng.gamma(self.counts[copies] + 1 / self.states) + 1e-12
        precision = 1 + self.tried[copies]
        reward = self.paid[copies] / precision + self.rng.standard_normal(precision.shape) / np.sqrt(precision)
        return drawn / drawn.sum(-1, keepdims=True), reward

    def stale(self, done: np.ndarray) -> np.ndarray:
        return done
