"""A point that walks to a hidden goal in the plane: the smallest continuous task that only rewards tell apart."""

import math
from typing import Any

import gymnasium as gym
import numpy as np

STEP = 0.25  # length of the largest move along each axis
RADIUS = 0.75  # distance of the goal from the centre


class PointMass(gym.Env):
    """Move towards a goal on a circle; each step pays minus the distance to it.

    Observation: position, (2,) float32 in [-1, 1]. Action: (2,) in [-1, 1], a quarter of which is
    added to the position. Episodes begin near the centre and end at the time limit alone. The goal,
    at ``angle`` degrees, is not observed.
    """

    metadata = {"render_modes": []}

    def __init__(self, angle: float = 0.0):
        radians = math.radians(angle)
        self.goal = RADIUS * np.array([math.cos(radians), math.sin(radians)])
        self.position = np.zeros(2)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-0.25, 0.25, 2)
        return self.position.astype(np.float32), {}

    def step(self, action: np.ndarray):
        self.position = np.clip(self.position + STEP * np.clip(action, -1.0, 1.0), -1.0, 1.0)
        reward = -float(np.linalg.norm(self.position - self.goal))
        return self.position.astype(np.float32), reward, False, False, {}
