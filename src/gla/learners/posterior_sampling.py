"""Posterior sampling for reinforcement learning (Strens, 2000; Osband et al., 2013), in worlds of finitely many states."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.tabular import values
from gla.environments.vector import VectorStep

GAMMA = 0.99  # discount per step


class PosteriorSampling:
    """N seeds side by side, each with a posterior of its own over worlds. At the beginning of each episode a world is drawn from it, and the
    best policy of this world acts until the episode ends.

    For S states, what follows a state and an action has a Dirichlet prior with 1 / S for every state and for the end of the episode. Their
    reward has a normal prior with mean 0 and deviation 1, and is observed with noise of deviation 1. Time limits are no part of a world.
    """

    def __init__(self, spec: EnvSpec, n: int, seed: int, gamma: float = GAMMA):
        """Raises ValueError if observations or actions are not discrete."""
        if not (spec.states and spec.discrete):
            raise ValueError("posterior sampling without discrete observations and actions (expected both)")
        s, a = spec.states, spec.action_size
        self.n, self.states, self.gamma, self.rng = n, s, gamma, np.random.default_rng(seed)
        self.follows = np.full((n, s, a, s + 1), 1 / s)  # the last is the end
        self.precision, self.paid = np.ones((n, s, a)), np.zeros((n, s, a))
        self.policy, self.copies = np.zeros((n, s), int), np.arange(n)
        self._draw(self.copies)

    def _draw(self, copies: np.ndarray) -> None:
        """Draws worlds for copies (n,), and finds their best policies by policy iteration."""
        drawn = self.rng.gamma(self.follows[copies]) + 1e-12
        reward = self.paid[copies] / self.precision[copies]
        reward += self.rng.standard_normal(reward.shape) / np.sqrt(self.precision[copies])
        s = self.states
        probability, terminal = np.zeros((len(copies), s + 1, *drawn.shape[2:])), np.zeros((len(copies), s + 1), bool)
        probability[:, :s], terminal[:, s] = drawn / drawn.sum(-1, keepdims=True), True
        paid = np.pad(reward, ((0, 0), (0, 1), (0, 0)))
        self.policy[copies] = values(probability, paid, terminal, self.gamma)[:, :s].argmax(-1)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps one-hot observations (N, S) to actions, (N,) integers."""
        self.state = observation.argmax(1)
        self.action = self.policy[self.copies, self.state]
        return self.action

    def observe(self, step: VectorStep) -> None:
        """Updates the posteriors by a step, and draws new worlds where an episode ended."""
        done = step.terminated | step.truncated
        after = np.where(done[:, None], step.final_observation, step.observation).argmax(1)
        where = self.copies, self.state, self.action
        self.follows[(*where, np.where(step.terminated, self.states, after))] += 1
        self.precision[where] += 1
        self.paid[where] += step.reward
        if done.any():
            self._draw(np.flatnonzero(done))
