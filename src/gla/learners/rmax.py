"""R-max (Brafman and Tennenholtz, 2002), in worlds of finitely many states."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.learners.tabular import TabularLearner

GAMMA = 0.95  # discount per step
KNOWN = 1  # times that an action has to be tried until its outcomes are believed


class RMax(TabularLearner):
    """What was tried fewer than ``known`` times counts as if it paid the largest mean reward so far for ever, and all else is as it was on
    average. It plans anew when an action becomes known, and at the ends of episodes. With ``known`` 1 it tries once whatever may pay more
    than it has found, and then repeats what paid: in a world without noise this is a search.
    """

    def __init__(self, spec: EnvSpec, n: int, seed: int, gamma: float = GAMMA, known: int = KNOWN):
        self.known, self.most = known, np.zeros(n)
        super().__init__(spec, n, seed, gamma)

    def world(self, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tried = np.maximum(self.tried[copies], 1)
        probability, reward = self.counts[copies] / tried[..., None], self.paid[copies] / tried
        unknown = self.tried[copies] < self.known
        # The largest mean reward for ever is given at once, at the end of the world.
        most = np.where(self.most[copies] > 0, self.most[copies], 1.0) / (1 - self.gamma)
        reward = np.where(unknown, most[:, None, None], reward)
        probability[unknown] = np.eye(self.states + 1)[-1]
        return probability, reward

    def stale(self, done: np.ndarray) -> np.ndarray:
        self.most = np.maximum(self.most, self.paid[self.where] / self.tried[self.where])
        return done | (self.tried[self.where] == self.known)
