"""A control: every reward in the context is the constant 0."""

import numpy as np

from gla.in_context import InContext


def observe(context: InContext, reward: np.ndarray, done: np.ndarray) -> None:
    context.observe(np.zeros_like(reward), done)  # a reward that is always 0 stays 0 when it is standardised
