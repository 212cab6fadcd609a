"""Morris's water maze: a round pool with an invisible platform that has to be found and remembered (Laskin et al., 2022,
Section 4).
"""

import math
from typing import Any, Literal

import gymnasium as gym
import numpy as np

STRIDE, TURN = 0.12, math.radians(30)  # length (in radii of the pool) and angle of a move
PLATFORM = 0.2  # radius
# Forward, back, left, right, turn left, turn right, and forward while turning left or right. Columns: move along the heading, move across
# it, and turn of the heading.
ACTIONS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [1, 0, 1], [1, 0, -1]], float)
LANDMARKS = np.radians(
    [20.0, 110.0, 230.0]
)  # angles of the landmarks on the wall; gaps are unequal, so that the pool looks different in each direction


class Watermaze(gym.Env):
    """Find the platform of a pool of radius 1, where every step on it pays 1. The swimmer starts in the centre with a random heading.

    It is DeepMind Lab's task with the same eight moves, but observations are a few numbers: **no pixels are rendered**.
    Observation with sees ``pose``: position and direction of the heading, (4,); with ``landmarks``: distance and direction of
    each of three landmarks on the wall, (9,); float32. Action: 0 to 7. The platform's centre is at ``angle`` degrees and
    ``distance`` from the centre, or drawn from the seed ``task`` uniformly over the pool except for the start. ends: whether
    the platform ends an episode. Raises ValueError for an argument that is out of range.
    """

    metadata = {"render_modes": []}

    def __init__(
        self, task: int = 0, angle: float | None = None, distance: float | None = None,
        sees: Literal["pose", "landmarks"] = "pose", ends: bool = False,
    ):  # fmt: skip
        if task < 0:
            raise ValueError(f"task {task} (expected 0 or more)")
        if (angle is None) != (distance is None):
            raise ValueError(f"angle {angle} and distance {distance} (expected both, or neither and a task)")
        if distance is not None and not 0 <= distance <= 1:
            raise ValueError(f"distance {distance} (expected 0 to 1)")
        if sees not in ("pose", "landmarks"):
            raise ValueError(f"sees {sees!r} (expected pose or landmarks)")
        if angle is None:
            rng, least = np.random.default_rng([task, 2022]), PLATFORM + STRIDE
            angle, distance = rng.uniform(0, 360), math.sqrt(rng.uniform(least**2, (1 - PLATFORM / 2) ** 2))
        self.goal = distance * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
        self.sees, self.ends = sees, bool(ends)
        self.position, self.heading = np.zeros(2), 0.0
        size = 4 if sees == "pose" else 3 * len(LANDMARKS)
        self.observation_space = gym.spaces.Box(-2.0, 2.0, (size,), np.float32)
        self.action_space = gym.spaces.Discrete(len(ACTIONS))

    def _seen(self) -> np.ndarray:
        if self.sees == "pose":
            return np.array([*self.position, math.cos(self.heading), math.sin(self.heading)], np.float32)
        away = np.stack([np.cos(LANDMARKS), np.sin(LANDMARKS)], 1) - self.position
        bearing = np.arctan2(away[:, 1], away[:, 0]) - self.heading
        return np.concatenate([np.hypot(*away.T), np.cos(bearing), np.sin(bearing)]).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.position, self.heading = np.zeros(2), float(self.np_random.uniform(0, 2 * math.pi))
        return self._seen(), {}

    def step(self, action: int):
        along, across, turn = ACTIONS[int(action)]
        x, y = math.cos(self.heading), math.sin(self.heading)
        self.position = self.position + STRIDE * np.array([along * x - across * y, along * y + across * x])
        if (far := float(np.hypot(*self.position))) > 1:  # along the wall
            self.position = self.position / far
        self.heading += TURN * turn
        found = float(np.hypot(*(self.position - self.goal))) <= PLATFORM
        return self._seen(), float(found), found and self.ends, False, {}
