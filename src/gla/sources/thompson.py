"""Thompson sampling for bandits (Thompson, 1933): each arm is pulled as often as it is likely to be the best."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gla.environments.spaces import UnsupportedEnvironment
from gla.environments.vector import VectorStep
from gla.options import Count
from gla.sources import acting
from gla.sources.acting import ActingOptions, arrays  # noqa: F401


class Options(ActingOptions):
    """Pulls the arm that is best in a draw from the posterior of all means."""

    kind: Literal["thompson"] = "thompson"
    num_envs: Count = 1
    """Copies of the environment in each lifetime. Each learns alone."""
    rewards: Literal["bernoulli", "gaussian"] = "bernoulli"
    """The distribution of rewards. bernoulli: 0 or 1, with a Beta(1, 1) prior of the mean; gaussian: normal, with a normal
    prior of mean 0.5 and deviation 1."""
    deviation: Annotated[float, Field(gt=0, le=1e6)] = 0.3
    """Standard deviation of normal rewards around their mean."""

    needs: ClassVar[str] = "arms"
    read_with: ClassVar = {"deviation": ("rewards", "gaussian")}


class Run(acting.Run):
    """See gla.sources.acting. ``pulls``, ``total_reward``: the pulls and the summed rewards of each arm, (N, arms)."""

    def begin(self) -> None:
        self.pulls, self.total_reward = np.zeros((2, len(self.envs), self.spec.action_size))

    def act(self, observation: np.ndarray) -> np.ndarray:
        if self.options.rewards == "bernoulli":
            return self.rng.beta(1 + self.total_reward, 1 + self.pulls - self.total_reward).argmax(1)
        precision = 1 + self.pulls / self.options.deviation**2
        mean = (0.5 + self.total_reward / self.options.deviation**2) / precision
        return self.rng.normal(mean, precision**-0.5).argmax(1)

    def learn(self, observation: np.ndarray, action: np.ndarray, step: VectorStep) -> None:
        if self.options.rewards == "bernoulli" and not np.isin(step.reward, (0, 1)).all():
            other = step.reward[~np.isin(step.reward, (0, 1))][0]
            said = f"reward {other:.6g} (expected 0 or 1 for a source of kind 'thompson' with rewards: bernoulli)"
            raise UnsupportedEnvironment(said)
        where = (np.arange(len(action)), action)
        self.pulls[where] += 1
        self.total_reward[where] += step.reward
