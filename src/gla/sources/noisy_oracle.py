"""The optimal policy of a tabular world with less and less noise (Zisman et al., 2024, ADε): histories without any learner.

With only random actions, [1, 1], it is a uniform policy whose every step is labelled with the optimal action. Decision-pretrained
transformers are trained on such data (Lee et al., 2023).
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gla.environments.tabular import plans
from gla.options import Count, Fraction
from gla.sources import acting
from gla.sources.acting import ActingOptions, arrays, epsilon_at  # noqa: F401


class Options(ActingOptions):
    """Optimal actions mixed with random ones. It records the optimal action of each step along with the action that was taken."""

    kind: Literal["noisy_oracle"] = "noisy_oracle"
    num_envs: Count = 1
    """Copies of the environment in each lifetime."""
    epsilon: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [1.0, 0.0]
    """Share of random actions in the first step and in the last one; it changes linearly in between."""
    gamma: Fraction = 0.99
    """Discount per step in the returns that optimal actions maximise up to the time limit. It is below 1 so that no reward is
    put off."""

    provides: ClassVar[frozenset[str]] = frozenset({"optimal_action"})
    needs: ClassVar[str] = "tables"


class Run(acting.Run):
    """See gla.sources.acting. ``plans``: the optimal actions of each table, by remaining steps and state."""

    def begin(self) -> None:
        self.plans = plans(self.envs.tables, int(self.envs.limit.max()), self.options.gamma)

    def act(self, observation: np.ndarray) -> np.ndarray:
        n, envs = len(self.envs), self.envs
        self.best = self.plans[envs.task, envs.left - 1, envs.state]
        explores = self.rng.random(n) < epsilon_at(self.options.epsilon, self.step, self.total)
        return np.where(explores, self.rng.integers(0, self.spec.action_size, n), self.best)

    def labels(self) -> tuple[np.ndarray, ...]:
        return (self.best,)
