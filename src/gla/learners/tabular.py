"""The parts that learners of a table have in common: what they have counted, and planning."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.tabular import greedy, values
from gla.environments.vector import VectorStep


class TabularLearner:
    """N seeds side by side, in worlds of S states and A actions. A kind implements ``world`` and ``stale``.

    counts: (N, S, A, S + 1), how often each state followed a state and an action; the last is the end of the episode. Time limits are no
    end, since a table does not show how much time is left. tried, paid: (N, S, A), how often an action was taken, and the sum of its
    rewards. policy: (N, S), the actions that are taken.
    """

    def __init__(self, spec: EnvSpec, n: int, seed: int, gamma: float):
        """Raises ValueError if observations or actions are not discrete."""
        if not (spec.states and spec.discrete):
            raise ValueError(f"{type(self).__name__} without discrete observations and actions (expected both)")
        s, a = spec.states, spec.action_size
        self.n, self.states, self.gamma, self.rng = n, s, gamma, np.random.default_rng(seed)
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
        # The end is one more state, in which nothing is paid and which nothing follows.
        probability = np.pad(probability, ((0, 0), (0, 1), (0, 0), (0, 0)))
        reward = np.pad(reward, ((0, 0), (0, 1), (0, 0)))
        q = values(probability, reward, np.arange(self.states + 1) == self.states, self.gamma)
        self.policy[copies] = greedy(q[:, :-1], self.rng)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps one-hot observations (N, S) to actions, (N,) integers."""
        self.state = observation.argmax(1)
        self.action = self.policy[self.copies, self.state]
        return self.action

    def observe(self, step: VectorStep) -> None:
        """Counts a step, and plans anew where the kind says so."""
        done = step.terminated | step.truncated
        after = np.where(done[:, None], step.final_observation, step.observation).argmax(1)
        self.where = self.copies, self.state, self.action
        self.counts[(*self.where, np.where(step.terminated, self.states, after))] += 1
        self.tried[self.where] += 1
        self.paid[self.where] += step.reward
        if (stale := self.stale(done)).any():
            self._plan(np.flatnonzero(stale))
