"""Consecutive steps of a learning history, as it was lived or with episodes left out (Laskin et al., 2022)."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from gla.options import ConfigError, Count, Fraction
from gla.options import Options as Base
from gla.windows.chunks import Drawn
from gla.windows.rows import Rows


class Options(Base):
    """A stretch of a learning history, which begins where an episode does."""

    kind: Literal["consecutive"] = "consecutive"
    steps: Count = 200
    """Steps of a window: the context has as many tokens."""
    every: Count = 1
    """Of so many episodes one is kept, so that a window shows faster learning than the source's."""
    part: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """Of each lifetime, the part that windows are cut from: [0.9, 1.0] shows no more than what it ended with."""

    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def length(self) -> int:
        """Tokens of a window."""
        return self.steps

    def problems_of(self, agent: Any) -> Iterator[str]:
        """What is wrong with these options alone."""
        if self.part[0] >= self.part[1]:
            yield f"part: {self.part} (expected [low, high] with low < high)"

    def problems_with(self, agent: Any, name: str, source: Any) -> Iterator[str]:
        """What is wrong with these options for windows of a source. name: the source's."""
        first, last = self.rows_of(source.updates * source.steps)
        if first < last and self.steps > (most := (last - first) // self.every):
            yield f"steps: {self.steps} is longer than what is kept of the history of {name!r}, {most} steps (expected at most that)"

    def rows_of(self, length: int) -> tuple[int, int]:
        """The steps of a lifetime that are cut from, as a range."""
        return int(self.part[0] * length), max(1, round(self.part[1] * length))


def draw(options: Options, rows: Rows, n: int, rng: np.random.Generator) -> Drawn:
    """See gla.windows."""
    stream, first, last = rng.integers(0, rows.streams, n), *options.rows_of(rows.length)
    index = np.stack([_window(options, rows, int(s), first, last, rng) for s in stream])
    return Drawn(stream, stream[:, None] * rows.length + index, index // rows.per_update, np.zeros(n, int), cut=False)


def _window(options: Options, rows: Rows, stream: int, first: int, last: int, rng: np.random.Generator) -> np.ndarray:
    """Steps of one window in its stream, (T,)."""
    begins = rows.episode_start[stream, first:last] == np.arange(first, last)
    number, every = np.cumsum(begins), options.every
    # Which of the episodes are kept is drawn for each window; steps before the first whole one are of none.
    drawn = rng.integers(every)
    for one in ((drawn + i) % every for i in range(every)):
        kept = np.flatnonzero((number > 0) & (number % every == one))
        most = len(kept) - options.steps
        if most >= 0:
            starts = np.flatnonzero(begins[kept[: most + 1]])
            # Where no episode begins early enough, the window begins inside of one.
            start = int(rng.choice(starts)) if len(starts) else most
            return first + kept[start : start + options.steps]
    raise ConfigError(
        f"windows.steps: {options.steps}, but one of every {every} episodes leaves {len(kept)} steps of a lifetime's {last - first} "
        "(expected fewer steps or a smaller every, or longer lifetimes of the source)"
    )
