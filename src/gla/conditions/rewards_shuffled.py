"""A control: each seed is shown the rewards of the seed before it, which are of the same sizes, at the same times, and of no use."""

import numpy as np

from gla.in_context import InContext


def observe(context: InContext, reward: np.ndarray, done: np.ndarray) -> None:
    context.observe(np.roll(reward, 1), done)
