"""Actions that are uniform over the action space: histories that never improve, from which labels of other kinds are made."""

from typing import Literal

import numpy as np

from gla.sources import acting
from gla.sources.acting import ActingOptions, arrays  # noqa: F401  (see gla.sources)


class Options(ActingOptions):
    """Uniform random actions. It records only transitions."""

    kind: Literal["random"] = "random"


class Run(acting.Run):
    """See gla.sources.acting."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        n, spec = len(self.envs), self.spec
        if spec.discrete:
            return self.rng.integers(0, spec.action_size, n)
        low, high = np.maximum(spec.low, -1e3), np.minimum(spec.high, 1e3)
        return self.rng.uniform(low, high, (n, spec.action_size)).astype(np.float32)
