"""The parts that learners of a table have in common: what they have counted, and planning."""

from typing import Any

import numpy as np

from gla.environments.making import time_limit
from gla.environments.spaces import EnvSpec
from gla.environments.tabular import greedy, values
from gla.environments.vector import VectorStep

LONGEST = 1000  # steps that plans look ahead where episodes have no limit, at most


def discounts(envs: Any) -> np.ndarray | float:
    """Returns the discounts per step with which plans look as far ahead as an episode is long, 1 - 1/limit: one number, or one for each of N
    tasks that have limits of their own. envs: environments side by side."""
    limit = getattr(envs, "limit", time_limit(envs.envs[0]))
    return 1 - 1 / np.clip(LONGEST if limit is None else limit, 2, LONGEST)


def refuse_what_is_not_discrete(learner: object, spec: EnvSpec) -> None:
    """Raises ValueError if observations or actions are not discrete."""
    if not (spec.states and spec.discrete):
        raise ValueError(f"{type(learner).__name__} without discrete observations and actions (expected both)")


def located(step: VectorStep, end: int) -> np.ndarray:
    """Returns the states that a step entered, (N,), before any reset, and ``end`` where the episode is over. Time limits are no end, since a
    table does not show how much time is left."""
    done = step.terminated | step.truncated
    after = np.where(done[:, None], step.final_observation, step.observation).argmax(1)
    return np.where(step.terminated, end, after)


class TabularLearner:
    """N seeds side by side, in worlds of S states and A actions. A kind implements ``world`` and ``stale``. gamma: discount per step, one number
    or (N,). Plans are made without an end of time, and a discount of 1 - 1/limit makes them look as far ahead as an episode is long.

    counts: (N, S, A, S + 1), how often each state followed a state and an action; the last is the end of the episode. tried, paid: (N, S, A),
    how often an action was taken, and the sum of its rewards. policy: (N, S), the actions that are taken.
    """

    closed = False  # whether nothing leads to a state that was never entered, in the worlds that are planned for

    def __init__(self, spec: EnvSpec, n: int, seed: int, gamma: float | np.ndarray):
        """Raises ValueError if observations or actions are not discrete."""
        refuse_what_is_not_discrete(self, spec)
        s, a = spec.states, spec.action_size
        self.n, self.states, self.rng = n, s, np.random.default_rng(seed)
        self.gamma = np.broadcast_to(gamma, n)
        self.counts, self.tried, self.paid = np.zeros((n, s, a, s + 1)), np.zeros((n, s, a)), np.zeros((n, s, a))
        self.policy, self.copies = np.zeros((n, s), int), np.arange(n)
        self._plan(self.copies)

    def world(self, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the worlds that copies (n,) plan for: probabilities (n, S, A, S + 1) and rewards (n, S, A)."""
        raise NotImplementedError

    def stale(self, done: np.ndarray) -> np.ndarray:
        """Called after each step. Returns the copies that plan anew, (N,) bool. done: (N,) bool, where an episode ended."""
        raise NotImplementedError

    def _plan(self, copies: np.ndarray) -> None:
        """Finds the best policies for the worlds of copies (n,). Ties are broken at random."""
        probability, reward = self.world(copies)
        row, states = np.arange(len(copies))[:, None], self._planned(copies)
        # The end is one more state, in which nothing is paid and which nothing follows.
        ends = np.append(states, np.full((len(copies), 1), self.states), 1)
        probability = np.pad(probability[row, states], ((0, 0), (0, 1), (0, 0), (0, 0)))
        probability = np.take_along_axis(probability, ends[:, None, None], 3)
        reward_of = np.pad(reward[row, states], ((0, 0), (0, 1), (0, 0)))
        terminal = np.arange(ends.shape[1]) == ends.shape[1] - 1
        q = np.zeros_like(reward)  # what is not planned for is as good as anything
        q[row, states] = values(probability, reward_of, terminal, self.gamma[copies])[:, :-1]
        self.policy[copies] = greedy(q, self.rng)

    def _planned(self, copies: np.ndarray) -> np.ndarray:
        """Returns the states that copies (n,) plan for, (n, K): if worlds are closed the K that were entered or left, for the largest K, and
        otherwise all."""
        if not self.closed:
            return np.broadcast_to(np.arange(self.states), (len(copies), self.states))
        seen = self.tried[copies].any(-1) | self.counts[copies, :, :, :-1].any((1, 2))
        return np.argsort(~seen, 1, kind="stable")[:, : max(1, seen.sum(1).max())]

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps one-hot observations (N, S) to actions, (N,) integers."""
        self.state = observation.argmax(1)
        self.action = self.policy[self.copies, self.state]
        return self.action

    def observe(self, step: VectorStep) -> None:
        """Counts a step, and plans anew where the kind says so."""
        self.where = self.copies, self.state, self.action
        self.counts[(*self.where, located(step, self.states))] += 1
        self.tried[self.where] += 1
        self.paid[self.where] += step.reward
        if (stale := self.stale(step.terminated | step.truncated)).any():
            self._plan(np.flatnonzero(stale))
