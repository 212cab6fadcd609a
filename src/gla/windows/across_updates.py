"""Chunks of updates i, i + g, i + 2g, ... up to the last, which shows a lifetime's improvement at a chosen pace (Kirsch et al., 2023,
Algorithm 1).
"""

from typing import Literal

import numpy as np

from gla.options import Fraction
from gla.windows.chunks import ChunkOptions, Drawn, drawn
from gla.windows.rows import Rows


class Options(ChunkOptions):
    """Chunks of later and later updates. With the gap max all of them are of the last update, so that only the best policy is
    shown.
    """

    kind: Literal["across_updates"] = "across_updates"
    from_start: Fraction = 0.5
    """Share of windows whose first chunk is from the lifetime's first policy. The others start at a random update."""


def draw(options: Options, rows: Rows, n: int, rng: np.random.Generator) -> Drawn:
    """See gla.windows."""
    stream, last = rng.integers(0, rows.streams, n), rows.updates - 1
    gap = options.gaps(n, last, rng)
    if options.bounds is None:
        update = np.full((n, options.chunks), last)
    else:
        first = np.where(rng.random(n) < options.from_start, 0, rng.integers(0, last, n, endpoint=True))
        update = np.minimum(first[:, None] + gap[:, None] * np.arange(options.chunks), last)
    return drawn(options, rows, stream, update, gap, rng)
