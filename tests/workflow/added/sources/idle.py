"""Actions that are 0."""

from typing import Literal

import numpy as np

from gla.sources import random


class Options(random.Options):
    """Actions that are 0, where they are continuous."""

    kind: Literal["idle"] = "idle"


arrays = random.arrays


class Run(random.Run):
    """See gla.sources.options."""

    def _uniform(self, n: int) -> np.ndarray:
        return np.zeros((n, self.spec.action_size), np.float32)
