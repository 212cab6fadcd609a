"""Chunks of rising, mostly poor quality, which do not show their own labels. They are made for labels by later policies."""

from typing import Literal

import numpy as np

from gla.windows.chunks import ChunkOptions, Drawn, drawn
from gla.windows.rows import Rows


class Options(ChunkOptions):
    """Chunks of random updates in rising order, all before a random update.

    From a random chunk on, which is called the switch, chunks are of the policy that gave the labels until then. This is like
    a rollout in which the agent uses what it has found.
    """

    kind: Literal["rising_quality"] = "rising_quality"
    switch: bool = True
    """Whether windows have a switch."""


def draw(options: Options, rows: Rows, n: int, rng: np.random.Generator) -> Drawn:
    """See gla.windows."""
    stream, last, chunks = rng.integers(0, rows.streams, n), rows.updates - 1, options.chunks
    gap = options.gaps(n, last, rng)
    ceiling = rng.integers(0, last, (n, 1), endpoint=True)
    update = np.sort(rng.integers(0, ceiling, (n, chunks), endpoint=True), 1)
    switch = rng.integers(0, chunks, (n, 1), endpoint=True) if options.switch else chunks
    update = np.where(np.arange(chunks) < switch, update, np.minimum(update + gap[:, None], last))
    return drawn(options, rows, stream, update, gap, rng)
