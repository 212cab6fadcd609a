"""Upper confidence bounds for bandits (Auer et al., 2002, UCB1)."""

from typing import ClassVar, Literal

import numpy as np

from gla.environments.vector import VectorStep
from gla.options import Count, Weight
from gla.sources import acting
from gla.sources.acting import ActingOptions, arrays  # noqa: F401


class Options(ActingOptions):
    """Pulls the arm with the highest upper confidence bound: mean + sqrt(bonus * ln(pulls of all arms) / pulls of this arm)."""

    kind: Literal["ucb"] = "ucb"
    num_envs: Count = 1
    """Copies of the environment in each lifetime. Each learns alone."""
    bonus: Weight = 2.0
    """Weight of the uncertainty, as in the formula above."""

    needs: ClassVar[str] = "arms"


class Run(acting.Run):
    """See gla.sources.acting. ``pulls``, ``total_reward``: the pulls and the summed rewards of each arm, (N, arms)."""

    def begin(self) -> None:
        self.pulls, self.total_reward = np.zeros((2, len(self.envs), self.spec.action_size))

    def act(self, observation: np.ndarray) -> np.ndarray:
        pulls = np.maximum(self.pulls, 1)
        bound = self.total_reward / pulls + np.sqrt(self.options.bonus * np.log(max(self.step, 1)) / pulls)
        # Arms that were never pulled come first, in random order; ties are broken at random.
        bound = np.where(self.pulls == 0, np.inf, bound)
        return np.where(bound == bound.max(1, keepdims=True), self.rng.random(bound.shape), -1.0).argmax(1)

    def learn(self, observation: np.ndarray, action: np.ndarray, step: VectorStep) -> None:
        where = (np.arange(len(action)), action)
        self.pulls[where] += 1
        self.total_reward[where] += step.reward
