"""The agent as it is: it is told the rewards of its actions."""

import numpy as np

from gla.in_context import InContext


def observe(context: InContext, reward: np.ndarray, done: np.ndarray) -> None:
    context.observe(reward, done)
