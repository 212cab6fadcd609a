"""Chunks from random places in a lifetime, in random order: contexts that show a task, but no learning (Lee et al., 2023)."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from gla.options import Count
from gla.options import Options as Base
from gla.windows.chunks import Drawn
from gla.windows.rows import Rows


class Options(Base):
    """Chunks of consecutive steps from random places in one lifetime. Each chunk lies inside of one update."""

    kind: Literal["shuffled"] = "shuffled"
    chunks: Count = 100
    """Number of chunks in a window. The context has chunks * chunk_steps tokens."""
    chunk_steps: Count = 1
    """Number of steps in a chunk. With 1, every step is drawn separately, as for decision-pretrained transformers."""

    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def length(self) -> int:
        """Number of tokens in a window."""
        return self.chunks * self.chunk_steps

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each fault of these options alone."""
        yield from ()

    def problems_with(self, agent: Any, name: str, source: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit a source. name: the name of the source."""
        if self.chunk_steps > source.steps:
            yield f"chunk_steps: {self.chunk_steps} is longer than an update of {name!r}, {source.steps} steps (expected at most that)"


def draw(options: Options, rows: Rows, n: int, rng: np.random.Generator) -> Drawn:
    """See gla.windows."""
    stream = rng.integers(0, rows.streams, n)
    update = rng.integers(0, rows.updates, (n, options.chunks))
    start = update * rows.per_update + rng.integers(
        0, rows.per_update - options.chunk_steps, update.shape, endpoint=True
    )
    index = (stream[:, None] * rows.length + start)[..., None] + np.arange(options.chunk_steps)
    return Drawn(stream, index.reshape(n, -1), update, np.zeros(n, int))
