"""Two doors, behind one of which there is a reward."""

import gymnasium as gym
import numpy as np


class TwoDoors(gym.Env):
    """Observation: always 1. Action: a door."""

    def __init__(self, door: int = 0):
        self.door = door
        self.observation_space, self.action_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), float(action == self.door), False, False, {}
