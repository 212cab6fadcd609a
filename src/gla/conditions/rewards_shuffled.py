"""A control: each seed is shown the rewards of another seed, the one before it. They have the usual sizes and times, but are
of no use.
"""

import numpy as np

from gla.in_context import InContext


def observe(context: InContext, reward: np.ndarray, done: np.ndarray) -> None:
    context.observe(np.roll(reward, 1), done)
