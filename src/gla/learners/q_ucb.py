"""Tabular Q-learning that explores by random upper confidence bounds, after TQL-UCB, with which OmniRL is compared (Wang et al., 2025)."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.vector import VectorStep
from gla.learners.tabular import located, refuse_what_is_not_discrete

GAMMA = 0.99  # discount per step
BONUS = 0.05  # weight of the bound, as a share of 1 / (1 - discount)
MOST = 4000  # steps that the bound is computed for
RATE = 0.01  # step size
SPREAD = 0.1  # least deviation of a state's values in the bound


class QWithBounds:
    """N seeds side by side. Each takes the action with the largest value plus
    bonus * deviation of the state's values * sqrt(ln(MOST + 1) / tries) * max(0, a standard normal number).

    The authors' code has several versions of this learner. This is the one whose bound decides between actions, with its settings. q: (N, S + 1,
    A), values, of which those of the end of the episode stay 0. tried: (N, S, A), one more than the number of tries.
    """

    def __init__(
        self, spec: EnvSpec, n: int, seed: int, gamma: float = GAMMA, bonus: float = BONUS, rate: float = RATE
    ):
        refuse_what_is_not_discrete(self, spec)
        self.gamma, self.bonus, self.rate, self.states = gamma, bonus / (1 - gamma), rate, spec.states
        self.q = np.zeros((n, spec.states + 1, spec.action_size))
        self.tried = np.ones((n, spec.states, spec.action_size))
        self.rng, self.copies = np.random.default_rng(seed), np.arange(n)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps one-hot observations (N, S) to actions, (N,) integers."""
        self.state = observation.argmax(1)
        own, tried = self.q[self.copies, self.state], self.tried[self.copies, self.state]
        spread = np.maximum(own.std(1, keepdims=True), SPREAD)
        noise = np.maximum(self.rng.standard_normal(own.shape), 0.0)
        self.action = (own + self.bonus * spread * np.sqrt(np.log(MOST + 1) / tried) * noise).argmax(1)
        return self.action

    def observe(self, step: VectorStep) -> None:
        """Makes one step of Q-learning."""
        where = self.copies, self.state, self.action
        target = step.reward + self.gamma * self.q[self.copies, located(step, self.states)].max(1)
        self.q[where] += self.rate * (target - self.q[where])
        self.tried[where] += 1
