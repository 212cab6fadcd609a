"""R-max (Brafman and Tennenholtz, 2002), in worlds of finitely many states."""

from dataclasses import replace

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.vector import VectorStep
from gla.learners.tabular import TabularLearner, refuse_what_is_not_discrete

KNOWN = 1  # times that an action has to be tried until its outcomes are believed
MOST_PAID = 2  # rewards of an episode that its memory counts


class RMax(TabularLearner):
    """What was tried fewer than ``known`` times counts as if it paid the largest mean reward so far for ever, and all else is as it was on
    average. It plans anew when an action becomes known, and at the ends of episodes. With ``known`` 1 it tries once whatever may pay more
    than it has found, and then repeats what paid: in a world without noise this is a search.
    """

    closed = True  # what is unknown leads to the end of the world

    def __init__(self, spec: EnvSpec, n: int, seed: int, gamma: float | np.ndarray, known: int = KNOWN):
        self.known, self.most = known, np.zeros(n)
        super().__init__(spec, n, seed, gamma)

    def world(self, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tried = np.maximum(self.tried[copies], 1)
        probability, reward = self.counts[copies] / tried[..., None], self.paid[copies] / tried
        unknown = self.tried[copies] < self.known
        # The largest mean reward for ever is given at once, at the end of the world.
        most = np.where(self.most[copies] > 0, self.most[copies], 1.0) / (1 - self.gamma[copies])
        reward = np.where(unknown, most[:, None, None], reward)
        probability[unknown] = np.eye(self.states + 1)[-1]
        return probability, reward

    def stale(self, done: np.ndarray) -> np.ndarray:
        self.most = np.maximum(self.most, self.paid[self.where] / self.tried[self.where])
        return done | (self.tried[self.where] == self.known)


class RMaxWithMemory:
    """R-max whose states are pairs of a state and how many steps of the episode have paid so far, of which it counts ``MOST_PAID`` at most.

    So it can learn that a reward is paid once, and that another follows it, as with a key and a door.
    """

    def __init__(self, spec: EnvSpec, n: int, seed: int, **settings: float):
        refuse_what_is_not_discrete(self, spec)
        self.paid, self.levels = np.zeros(n, int), np.eye(MOST_PAID + 1, dtype=np.float32)
        size = spec.states * len(self.levels)
        self.inner = RMax(replace(spec, observation_size=size, states=size), n, seed, **settings)

    def _with(self, observation: np.ndarray, paid: np.ndarray) -> np.ndarray:
        """Returns one-hot observations of pairs, (N, S * levels)."""
        return (observation[:, :, None] * self.levels[paid][:, None]).reshape(len(observation), -1)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See gla.learners.tabular."""
        return self.inner.act(self._with(observation, self.paid))

    def observe(self, step: VectorStep) -> None:
        """See gla.learners.tabular."""
        paid = np.minimum(self.paid + (step.reward > 0), MOST_PAID)
        self.paid = np.where(step.terminated | step.truncated, 0, paid)
        seen, final = self._with(step.observation, self.paid), self._with(step.final_observation, paid)
        self.inner.observe(step._replace(observation=seen, final_observation=final))
