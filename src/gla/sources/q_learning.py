"""Tabular Q-learning (Watkins, 1989), as a population: every copy of an environment has its own learner and table."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gla.environments.vector import VectorStep
from gla.options import Count, Fraction
from gla.sources import acting
from gla.sources.acting import ActingOptions, arrays, entered, epsilon_at, states  # noqa: F401


class Options(ActingOptions):
    """Tabular Q-learning that explores less and less. It records only transitions, and needs discrete observations and actions."""

    kind: Literal["q_learning"] = "q_learning"
    num_envs: Count = 1
    """Copies of the environment in each lifetime. Each learns alone."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.9933
    """Step size (Tarasov et al., 2025)."""
    gamma: Fraction = 0.9
    """Discount per step."""
    epsilon: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [1.0, 0.0]
    """Share of random actions in the first step and in the last one; it changes linearly in between."""

    needs: ClassVar[str] = "states"


class Run(acting.Run):
    """See gla.sources.acting. ``values``: (N, states, actions)."""

    def begin(self) -> None:
        count = getattr(self.envs, "states", self.spec.states)
        self.values = np.zeros((len(self.envs), count, self.spec.action_size))
        self.rows = np.arange(len(self.envs))

    def act(self, observation: np.ndarray) -> np.ndarray:
        n, actions = len(self.rows), self.spec.action_size
        self.state = states(self.envs, observation)
        own = self.values[self.rows, self.state]
        # Ties are broken at random; at first all values are equal.
        best = np.where(own == own.max(1, keepdims=True), self.rng.random(own.shape), -1.0).argmax(1)
        explores = self.rng.random(n) < epsilon_at(self.options.epsilon, self.step, self.total)
        return np.where(explores, self.rng.integers(0, actions, n), best)

    def learn(self, observation: np.ndarray, action: np.ndarray, step: VectorStep) -> None:
        after = self.values[self.rows, entered(self.envs, step)].max(1)
        target = step.reward + self.options.gamma * np.where(step.terminated, 0.0, after)
        where = (self.rows, self.state, action)
        self.values[where] += self.options.learning_rate * (target - self.values[where])
