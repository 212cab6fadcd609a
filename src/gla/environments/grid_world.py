"""The grid world of Kirsch et al. (2023), Figure 3 left: "a 3x3 grid with directional movement actions and a goal position at a fixed
location". Details that the paper leaves open are chosen here."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left
LARGEST = 100  # cells along each side


class GridWorld(gym.Env):
    """Walk to the goal. Reaching it pays 1 and puts the agent back on the start.

    Observation: one-hot position, (size * size,) float32. Action: one of the four MOVES; a move
    into a wall leaves the agent where it is. The goal is not observed. Episodes end at the time
    limit alone (``max_episode_steps`` of ``gymnasium.make``), so that every episode has the same
    length and a return counts the goals reached.

    Raises ValueError for a size out of range, a cell outside the grid, or a goal that is the start.
    """

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(
        self,
        size: int = 3,
        start: tuple[int, int] = (0, 0),
        goal: tuple[int, int] = (2, 2),
        render_mode: str | None = None,
    ):
        if not 1 <= size <= LARGEST:
            raise ValueError(f"size {size} (expected 1 to {LARGEST})")
        for name, cell in (("start", start), ("goal", goal)):
            if len(cell) != 2 or not all(0 <= c < size for c in cell):
                raise ValueError(f"{name} {list(cell)} is no cell of a {size}x{size} grid (expected [row, column])")
        if tuple(start) == tuple(goal):
            raise ValueError(f"goal {list(goal)} is the start (expected another cell)")
        self.render_mode = render_mode
        self.size, self.start, self.goal = size, np.array(start), np.array(goal)
        self.position = self.start.copy()
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size * size,), np.float32)
        self.action_space = gym.spaces.Discrete(len(MOVES))

    def _observation(self) -> np.ndarray:
        one_hot = np.zeros(self.size * self.size, dtype=np.float32)
        one_hot[self.position[0] * self.size + self.position[1]] = 1.0
        return one_hot

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.position = self.start.copy()
        return self._observation(), {}

    def step(self, action: int):
        self.position = np.clip(self.position + MOVES[action], 0, self.size - 1)
        reached = bool((self.position == self.goal).all())
        if reached:
            self.position = self.start.copy()
        return self._observation(), float(reached), False, False, {}

    def render(self) -> np.ndarray:
        """Draws the grid from above, with 40 pixels for a cell. The goal is green and the agent is blue."""
        cells = np.full((self.size, self.size, 3), 235, dtype=np.uint8)
        cells[tuple(self.goal)], cells[tuple(self.position)] = (0, 158, 115), (0, 114, 178)
        picture = cells.repeat(40, 0).repeat(40, 1)
        picture[::40] = picture[:, ::40] = 255
        return picture

    def optimal_return(self, steps: int) -> float:
        """Returns how many goals the shortest path reaches in an episode of this many steps."""
        return float(steps // int(np.abs(self.goal - self.start).sum()))
