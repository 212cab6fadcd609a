"""Running mean and deviation, for learners that see one step at a time."""

import numpy as np

CLIP = 5.0  # deviations


class RunningScale:
    """Mean and deviation of the observations of each of N seeds so far (Welford, 1962)."""

    def __init__(self, n: int, d: int):
        self.count, self.mean, self.squares = 0, np.zeros((n, d)), np.zeros((n, d))

    def update(self, x: np.ndarray) -> None:
        """Adds one step of each seed. x: (N, d)."""
        self.count += 1
        change = x - self.mean
        self.mean += change / self.count
        self.squares += change * (x - self.mean)

    @property
    def std(self) -> np.ndarray:
        """The deviation, (N, d); 1 where nothing has varied yet."""
        variance = self.squares / max(self.count, 1)
        return np.sqrt(np.where(variance > 1e-8, variance, 1.0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Standardises and clips observations, (N, d)."""
        return np.clip((x - self.mean) / self.std, -CLIP, CLIP)
