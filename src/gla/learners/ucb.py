"""Upper confidence bounds of a posterior (after Kaufmann et al., 2012, Bayes-UCB), for bandits."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.tabular import greedy
from gla.environments.vector import VectorStep
from gla.learners.tabular import refuse_what_is_not_discrete

WIDTH = 1.5  # of 0, 0.25, ..., 2 and 3 among the two best (with 1.25) in 400 training tasks of the adversarial bandit


class PosteriorBounds:
    """N seeds side by side. Each takes the action whose mean plus ``width`` deviations of a Beta posterior is the largest, in each state
    separately. What follows a state is ignored, as it may be in a bandit.

    The prior is uniform, so that rewards are taken for shares between 0 and 1. tried, paid: (N, S, A), how often an action was taken, and
    the sum of its rewards.
    """

    def __init__(self, spec: EnvSpec, n: int, seed: int, width: float = WIDTH):
        refuse_what_is_not_discrete(self, spec)
        self.width, self.rng, self.copies = width, np.random.default_rng(seed), np.arange(n)
        self.tried, self.paid = np.zeros((2, n, spec.states, spec.action_size))

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps one-hot observations (N, S) to actions, (N,) integers. Ties are broken at random."""
        self.state = observation.argmax(1)
        tried, paid = self.tried[self.copies, self.state], self.paid[self.copies, self.state]
        mean = (1 + paid) / (2 + tried)
        bound = mean + self.width * np.sqrt(np.clip(mean * (1 - mean), 0, None) / (3 + tried))
        self.action = greedy(bound, self.rng)
        return self.action

    def observe(self, step: VectorStep) -> None:
        """Counts a step."""
        where = self.copies, self.state, self.action
        self.tried[where] += 1
        self.paid[where] += step.reward
