"""Tabular Q-learning that explores by an upper confidence bound: the learner that OmniRL is compared with (Wang et al., 2025, TQL-UCB)."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.tabular import greedy
from gla.environments.vector import VectorStep
from gla.learners.tabular import located, refuse_what_is_not_discrete

GAMMA = 0.99  # discount per step
START = 0.1  # initial values, as a share of 1 / (1 - discount)
BONUS = 0.05  # weight of the bound, as a share of 1 / (1 - discount)
MOST = 4000  # tries of an action, on the scale of which the step size falls and the bound is computed
RATE, LEAST = 0.01, 0.002  # initial step size, and the least factor that it falls to


class QWithBounds:
    """N seeds side by side. Each takes the action with the largest value plus bonus * deviation of rewards * sqrt(ln(MOST + 1) / tries).

    Settings are those of the authors' code of early 2025, the version of it that has a bound. ``q``, ``tried``: (N, S + 1, A) and (N, S, A); the
    last state is the end of the episode.
    """

    def __init__(
        self, spec: EnvSpec, n: int, seed: int, gamma: float = GAMMA, bonus: float = BONUS, rate: float = RATE
    ):
        refuse_what_is_not_discrete(self, spec)
        self.gamma, self.bonus, self.rate, self.states = gamma, bonus / (1 - gamma), rate, spec.states
        self.q = np.full((n, spec.states + 1, spec.action_size), START / (1 - gamma))
        self.q[:, -1] = 0.0
        self.tried = np.zeros((n, spec.states, spec.action_size))
        self.rewards = np.zeros((3, n))  # number, sum and sum of squares
        self.rng, self.copies = np.random.default_rng(seed), np.arange(n)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps one-hot observations (N, S) to actions, (N,) integers. Ties are broken at random."""
        self.state = observation.argmax(1)
        count, total, square = self.rewards[:, :, None]
        deviation = np.sqrt(np.maximum(square / np.maximum(count, 1) - (total / np.maximum(count, 1)) ** 2, 0.0))
        tries = np.maximum(self.tried[self.copies, self.state], 1)
        bound = self.q[self.copies, self.state] + self.bonus * deviation * np.sqrt(np.log(MOST + 1) / tries)
        self.action = greedy(bound, self.rng)
        return self.action

    def observe(self, step: VectorStep) -> None:
        """Makes one step of Q-learning."""
        where = self.copies, self.state, self.action
        rate = self.rate * np.maximum((MOST + 1) / (MOST + self.tried[where]), LEAST)
        target = step.reward + self.gamma * self.q[self.copies, located(step, self.states)].max(1)
        self.q[where] += rate * (target - self.q[where])
        self.tried[where] += 1
        self.rewards += np.stack([np.ones_like(step.reward), step.reward, step.reward**2])
