"""Search for what pays, in worlds of finitely many states and without noise."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.tabular import greedy
from gla.environments.vector import VectorStep
from gla.learners.tabular import located, refuse_what_is_not_discrete

GAMMA = 0.95  # discount per step, so that the shortest way is the best
SWEEPS = 400  # after so many steps a reward is worth nothing


class Search:
    """N seeds side by side. Until a step has paid more than 0, each goes the shortest known way to an action that was never tried. From then
    on it goes where it is paid most, and takes untried actions for ones that stay where they are.

    after: (N, S, A), the state that last followed a state and an action; S, where the episode ended. tried: (N, S, A) bool. paid: (N, S, A), the
    largest reward of an action in a state, and entered: (N, S), of entering a state. value: (N, S + 1), of states.
    """

    def __init__(self, spec: EnvSpec, n: int, seed: int):
        refuse_what_is_not_discrete(self, spec)
        s, a = spec.states, spec.action_size
        self.states, self.rng, self.copies = s, np.random.default_rng(seed), np.arange(n)
        self.after = np.broadcast_to(np.arange(s)[:, None], (n, s, a)).copy()
        self.tried, self.value = np.zeros((n, s, a), bool), np.zeros((n, s + 1))
        self.paid, self.entered = np.full((n, s, a), -np.inf), np.zeros((n, s + 1))
        self.policy = np.zeros((n, s), int)
        self._plan(self.copies)

    def _plan(self, copies: np.ndarray) -> None:
        """Finds the best policies of copies (n,), by value iteration. Ties are broken at random."""
        row, tried, paid = np.arange(len(copies))[:, None, None], self.tried[copies], self.paid[copies]
        looks = (paid.max((1, 2)) <= 0)[:, None, None] & ~tried
        stays = self.entered[copies, : self.states, None]
        reward = np.where(looks, 1.0, np.where(tried, paid, stays))
        after, value = np.where(looks, self.states, self.after[copies]), self.value[copies]
        for _ in range(SWEEPS):
            q = reward + GAMMA * value[row, after]
            best = q.max(-1)
            moved, value[:, :-1] = np.abs(best - value[:, :-1]).max(), best
            if moved < 1e-6:
                break
        self.value[copies], self.policy[copies] = value, greedy(q, self.rng)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps one-hot observations (N, S) to actions, (N,) integers."""
        self.state = observation.argmax(1)
        self.action = self.policy[self.copies, self.state]
        return self.action

    def observe(self, step: VectorStep) -> None:
        """Remembers a step, and plans anew where it changed what was known."""
        where, after = (self.copies, self.state, self.action), located(step, self.states)
        changed = ~self.tried[where] | (self.after[where] != after) | (step.reward > self.paid[where])
        self.tried[where], self.after[where] = True, after
        self.paid[where] = np.maximum(self.paid[where], step.reward)
        self.entered[self.copies, after] = np.maximum(self.entered[self.copies, after], step.reward)
        if changed.any():
            self._plan(np.flatnonzero(changed))
