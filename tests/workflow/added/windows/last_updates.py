"""Chunks of a lifetime's last updates, one of each."""

from typing import Literal

import numpy as np

from gla.windows.chunks import ChunkOptions, Drawn, drawn
from gla.windows.rows import Rows


class Options(ChunkOptions):
    """Chunks of the last updates."""

    kind: Literal["last_updates"] = "last_updates"


def draw(options: Options, rows: Rows, n: int, rng: np.random.Generator) -> Drawn:
    """See gla.windows."""
    first = rows.updates - options.chunks
    update = np.tile(np.maximum(np.arange(first, rows.updates), 0), (n, 1))
    return drawn(options, rows, rng.integers(0, rows.streams, n), update, options.gaps(n, rows.updates - 1, rng), rng)
