"""Computes the returns of episodes in many copies of environments."""

import numpy as np


class ReturnTracker:
    """Adds up the returns of episodes in K lifetimes with E copies of the environment each."""

    def __init__(self, k: int, e: int):
        self.running = np.zeros((k, e))

    def add(self, reward: np.ndarray, done: np.ndarray) -> list[list[float]]:
        """Returns the returns of the episodes that ended, in a list for each lifetime. reward, done: (K, E, T)."""
        ended: list[list[float]] = [[] for _ in self.running]
        for t in range(reward.shape[-1]):
            self.running += reward[..., t]
            for k, e in zip(*np.nonzero(done[..., t]), strict=True):
                ended[k].append(float(self.running[k, e]))
                self.running[k, e] = 0.0
        return ended
