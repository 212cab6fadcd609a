"""Windows that consist of chunks: a few consecutive steps of one stream, from one update after another."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from gla.options import Count, Options, Steps
from gla.windows.rows import Rows

Gap = Steps | Annotated[list[Steps], Field(min_length=2, max_length=2)] | Literal["max"]


class Drawn(NamedTuple):
    """n windows of one source: their rows, and the policies that acted there.

    stream: (n,). index: (n, T), rows of the source's step arrays. update: (n, M), the update of each of M chunks of T / M
    steps. gap: (n,), see ``ChunkOptions``. cut: whether a chunk's last step is followed by another chunk, and not by the next
    step.
    """

    stream: np.ndarray
    index: np.ndarray
    update: np.ndarray
    gap: np.ndarray
    cut: bool = True


class ChunkOptions(Options):
    """Options of all windows that consist of chunks. The context has chunks * chunk_steps tokens."""

    gap: Gap = 1
    """Number of the source's updates from one chunk to the next (windows across updates), or from a chunk to the policy that
    gives its labels (labels by later policies). [low, high] draws a gap for each window; max always leads to the last
    update."""
    chunks: Count = 20
    """Number of chunks in a window."""
    chunk_steps: Count = 10
    """Number of steps in a chunk. Chunks begin with an episode, if one begins in that update."""

    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def length(self) -> int:
        """Number of tokens in a window."""
        return self.chunks * self.chunk_steps

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The smallest and the largest gap; None if it is max."""
        if self.gap == "max":
            return None
        return (self.gap[0], self.gap[1]) if isinstance(self.gap, list) else (self.gap, self.gap)

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each fault of these options alone."""
        if self.bounds and self.bounds[0] > self.bounds[1]:
            yield f"gap: {self.gap} (expected [low, high] with low <= high)"

    def problems_with(self, agent: Any, name: str, source: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit a source. name: the name of the source."""
        if self.bounds and self.bounds[1] >= source.updates:
            yield (
                f"gap: {self.gap} is longer than the history of {name!r}, {source.updates} updates "
                f"(expected at most {source.updates - 1}, or max)"
            )
        if self.chunk_steps > source.steps:
            yield f"chunk_steps: {self.chunk_steps} is longer than an update of {name!r}, {source.steps} steps (expected at most that)"

    def gaps(self, n: int, last: int, rng: np.random.Generator) -> np.ndarray:
        """Returns a gap for each of n windows, (n,). last: the source's last update."""
        if self.bounds is None:
            return np.full(n, last)
        if isinstance(self.gap, list):
            return rng.integers(*self.bounds, n, endpoint=True)
        return np.full(n, self.gap)


def starts(rows: Rows, stream: np.ndarray, update: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the first steps of chunks (n, M) in their updates: the start of an episode, or any step if there is no such start."""
    low, high = update * rows.per_update, (update + 1) * rows.per_update - steps
    any_step = low + rng.integers(0, rows.per_update, update.shape)
    start = rows.episode_start[stream[:, None], any_step]
    start = np.where(start > high, rows.episode_start[stream[:, None], high], start)
    first = rows.next_episode_start[stream[:, None], low]
    return np.where(start >= low, start, np.where(first <= high, first, np.minimum(any_step, high)))


def drawn(
    options: ChunkOptions, rows: Rows, stream: np.ndarray, update: np.ndarray, gap: np.ndarray, rng: np.random.Generator
) -> Drawn:
    """Returns windows whose chunks (n, M) are of these updates."""
    start = starts(rows, stream, update, options.chunk_steps, rng)
    row = (stream[:, None] * rows.length + start)[..., None] + np.arange(options.chunk_steps)
    return Drawn(stream, row.reshape(len(stream), -1), update, gap)
