"""Random control: a family of continuous tasks that differ in dynamics, sizes, goals and kinds of reward alike."""

from typing import Any

import gymnasium as gym
import numpy as np

LIMIT = 3.0  # bound of each coordinate of the state
LARGEST = 1000  # coordinates
FALLEN = 1.0  # bound of the coordinate that must stay upright


class RandomControl(gym.Env):
    """Control a random recurrent system for a reward of a random kind.

    s' = D s + M tanh(s) + B a within +-3: D diagonal, between 0.8 (leaks) and 1 (integrates); M of entries
    N(0, m^2 / size) with m below 0.4, so that systems lean, swing or tip over; columns of B of length 0.15 to 0.45.
    Rewards depend on some coordinates, chosen at random, and are of one of three kinds: minus the distance to a
    hidden state ("reach"), exp(-2 distance^2) ("hold"), or the state along a hidden direction ("drive", as a
    speed). Half of the tasks also charge for actions (0.05 or 0.2 of |a|^2), and a quarter pay 1 for every step
    and end when one coordinate passes +-1. Everything is drawn from the seed ``task``. Hidden states are ones that the system passes
    under random constant actions.

    Observation: s, (size,) float32. Action: (actions,) in [-1, 1]. Episodes begin near 0. Raises ValueError for more
    actions than ``size``, or a size out of range.
    """

    metadata = {"render_modes": []}

    def __init__(self, task: int = 0, size: int = 4, actions: int = 2):
        if not 1 <= size <= LARGEST:
            raise ValueError(f"size {size} (expected 1 to {LARGEST})")
        if not 1 <= actions <= size:
            raise ValueError(f"actions {actions} (expected 1 to size, {size})")
        rng = np.random.default_rng([task, size, actions])
        self.decay = rng.uniform(0.8, 1.0, size)
        self.mix = rng.uniform(0, 0.4) / np.sqrt(size) * rng.standard_normal((size, size))
        b = rng.standard_normal((size, actions))
        self.b = rng.uniform(0.15, 0.45, actions) * b / np.linalg.norm(b, axis=0)
        self.kind = str(rng.choice(["reach", "hold", "drive"]))
        counted = rng.random(size) < 0.5
        self.counted = np.where(counted if counted.any() else True, 1.0, 0.0)
        self.goal, push = np.zeros(size), rng.choice([-0.7, 0.7], actions)
        for _ in range(6):
            self.goal = self._next(self.goal, push)
        direction = self.goal * self.counted
        self.direction = direction / max(float(np.linalg.norm(direction)), 1e-6)
        self.cost = float(rng.choice([0.0, 0.0, 0.05, 0.2]))
        self.upright = bool(rng.random() < 0.25)
        self.state = np.zeros(size)
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (actions,), np.float32)

    def _next(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return np.clip(self.decay * state + self.mix @ np.tanh(state) + self.b @ action, -LIMIT, LIMIT)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.25, 0.25, len(self.goal))
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray):
        action = np.clip(action, -1.0, 1.0)
        self.state = self._next(self.state, action)
        if self.kind == "drive":
            reward = self.direction @ self.state
        else:
            missed = self.counted * (self.state - self.goal)
            reward = -np.sqrt(missed @ missed) if self.kind == "reach" else np.exp(-2 * missed @ missed)
        reward -= self.cost * action @ action
        fallen = self.upright and abs(self.state[0]) > FALLEN
        return self.state.astype(np.float32), float(reward + self.upright), fallen, False, {}
