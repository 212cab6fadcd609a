"""Consecutive steps of a learning history, all of them or with episodes left out (Laskin et al., 2022)."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from gla.options import ConfigError, Count, Fraction, Weight
from gla.options import Options as Base
from gla.windows.chunks import Drawn
from gla.windows.rows import Rows


class Options(Base):
    """A stretch of consecutive steps of a learning history. It begins with an episode."""

    kind: Literal["consecutive"] = "consecutive"
    steps: Count = 200
    """Number of steps in a window. The context has as many tokens."""
    every: Count = 1
    """One of this many episodes is kept, so that a window shows faster learning than that of the source."""
    part: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """The part of each lifetime that windows are cut from. [0.9, 1.0] shows only the end of a lifetime."""

    by_improvement: bool = False
    """Whether histories that improve more, and more steadily, are drawn more often (Chen et al., 2025)."""
    stability: Weight = 1.0
    """Weight of steadiness relative to improvement."""

    needs: ClassVar[frozenset[str]] = frozenset()
    read_with: ClassVar = {"stability": ("by_improvement", True)}

    @property
    def length(self) -> int:
        """Number of tokens in a window."""
        return self.steps

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each fault of these options alone."""
        if self.part[0] >= self.part[1]:
            yield f"part: {self.part} (expected [low, high] with low < high)"

    def problems_with(self, agent: Any, name: str, source: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit a source. name: the name of the source."""
        first, last = self.rows_of(source.updates * source.steps)
        if first < last and self.steps > (most := (last - first) // self.every):
            yield f"steps: {self.steps} is longer than what is kept of the history of {name!r}, {most} steps (expected at most that)"

    def rows_of(self, length: int) -> tuple[int, int]:
        """Returns the range of a lifetime's steps that windows are cut from."""
        return int(self.part[0] * length), max(1, round(self.part[1] * length))


def draw(options: Options, rows: Rows, n: int, rng: np.random.Generator) -> Drawn:
    """See gla.windows."""
    first, last = options.rows_of(rows.length)
    if options.by_improvement:
        weights = rows.derived(("improvement", options.stability), lambda: improvement(rows, options.stability))
        stream = rng.choice(rows.streams, n, p=weights)
    else:
        stream = rng.integers(0, rows.streams, n)
    index = np.stack([_window(options, rows, int(s), first, last, rng) for s in stream])
    return Drawn(stream, stream[:, None] * rows.length + index, index // rows.per_update, np.zeros(n, int), cut=False)


def improvement(rows: Rows, stability: float) -> np.ndarray:
    """Returns the probabilities of histories, (streams,). They are linear in improvement + ``stability`` * steadiness, and 0
    for the lowest value in each task (filtered learning histories, Chen et al., 2025).

    R is the highest episode return of all histories. The improvement of a history is (mean + highest - lowest) / 2R of its
    episode returns, and its steadiness is 1 + c / R, where c is the mean of the changes from one episode to the next, with
    rises counted as 0.
    """
    reward, done = (x.cpu().numpy().reshape(rows.streams, rows.length) for x in (rows.steps["reward"], rows.done))
    returns = [
        np.diff(np.cumsum(r)[d], prepend=0.0) if d.any() else np.zeros(1) for r, d in zip(reward, done, strict=True)
    ]
    best = max(1e-9, max(float(r.max()) for r in returns))
    change = [np.minimum(np.diff(r), 0) for r in returns]
    value = np.array([
        (r.mean() + r.max() - r.min()) / (2 * best) + stability * (1 + (c.mean() if len(c) else 0.0) / best)
        for r, c in zip(returns, change, strict=True)
    ])  # fmt: skip
    for task in np.unique(rows.stream_task):
        own = rows.stream_task == task
        low, high = value[own].min(), value[own].max()
        value[own] = (value[own] - low) / (high - low) if high > low else 1.0
    return value / value.sum()


def _window(options: Options, rows: Rows, stream: int, first: int, last: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the steps of one window in its stream, (T,)."""
    begins = rows.episode_start[stream, first:last] == np.arange(first, last)
    number, every = np.cumsum(begins), options.every
    # The episodes that are kept are drawn for each window. Steps before the first whole episode belong to none.
    drawn = rng.integers(every)
    for one in ((drawn + i) % every for i in range(every)):
        kept = np.flatnonzero((number > 0) & (number % every == one))
        most = len(kept) - options.steps
        if most >= 0:
            starts = np.flatnonzero(begins[kept[: most + 1]])
            # If no episode begins early enough, the window begins inside of one.
            start = int(rng.choice(starts)) if len(starts) else most
            return first + kept[start : start + options.steps]
    raise ConfigError(
        f"windows.steps: {options.steps}, but one of every {every} episodes leaves {len(kept)} steps of a lifetime's {last - first} "
        "(expected fewer steps or a smaller every, or longer lifetimes of the source)"
    )
