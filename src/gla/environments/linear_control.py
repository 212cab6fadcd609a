"""Random linear control: a family of continuous tasks that differ in dynamics, sizes and goal alike."""

from typing import Any

import gymnasium as gym
import numpy as np

LIMIT = 3.0  # bound of each coordinate of the state
LARGEST = 1000  # coordinates


class LinearControl(gym.Env):
    """Drive a random linear system to a hidden state. Each step pays minus the distance to it.

    s' = s + M s + B a. The entries of M are N(0, 0.1^2 / size), and the columns of B have length 0.3. Both are drawn from the
    seed ``task``, like the hidden state, which is one that the system passes under random constant actions. Observation: s,
    (size,) float32. Action: (actions,) in [-1, 1]. Episodes begin near 0 and end at the time limit alone. Raises ValueError
    for more actions than ``size``, or a size out of range.
    """

    metadata = {"render_modes": []}

    def __init__(self, task: int = 0, size: int = 4, actions: int = 2):
        if not 1 <= size <= LARGEST:
            raise ValueError(f"size {size} (expected 1 to {LARGEST})")
        if not 1 <= actions <= size:
            raise ValueError(f"actions {actions} (expected 1 to size, {size})")
        rng = np.random.default_rng([task, size, actions])
        self.drift = np.eye(size) + 0.1 / np.sqrt(size) * rng.standard_normal((size, size))
        b = rng.standard_normal((size, actions))
        self.b = 0.3 * b / np.linalg.norm(b, axis=0)
        self.goal, push = np.zeros(size), rng.choice([-0.5, 0.5], actions)
        for _ in range(6):
            self.goal = self._next(self.goal, push)
        self.position = np.zeros(size)
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (actions,), np.float32)

    def _next(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return np.clip(self.drift @ state + self.b @ action, -LIMIT, LIMIT)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-0.25, 0.25, len(self.goal))
        return self.position.astype(np.float32), {}

    def step(self, action: np.ndarray):
        self.position = self._next(self.position, np.clip(action, -1.0, 1.0))
        reward = -float(np.linalg.norm(self.position - self.goal))
        return self.position.astype(np.float32), reward, False, False, {}
