"""Learning curves of the source agents: mean return by environment steps, with a 95 % interval over lifetimes."""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter
from pydantic import Field

from gla.figures.panels import FigureOptions, panels
from gla.statistics import mean_interval
from gla.storage.layout import read_digest

COLUMNS = ("source", "env_steps", "mean", "low", "high", "lifetimes")


class Options(FigureOptions):
    """Learning curves of sources, by environment steps."""

    kind: Literal["sources"]
    sources: Annotated[list[str], Field(min_length=1)]
    """Names of sources."""

    inputs: ClassVar[str] = "digests"


def table(entry: Options, digests: list[str]) -> pd.DataFrame:
    """Returns a table with columns source, env_steps, mean, low, high, lifetimes. digests: those of all blocks that are drawn."""
    bodies, rows = [read_digest(d) for d in digests], []
    for name in entry.sources:
        own = [b for b in bodies if b["source"] == name]
        tasks = own[0]["tasks"]
        returns = np.array([row for b in own for row in b["mean_return"]], dtype=float)  # (K, U), NaN for None
        per_update = own[0]["num_envs"] * own[0]["steps_per_update"]
        for u in range(returns.shape[1]):
            count = int(np.isfinite(returns[:, u]).sum())
            if count:
                rows.append((name, (u + 1) * per_update, *mean_interval(returns[:, u], tasks), count))
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws a panel for each source."""
    figure, axes = panels(entry.sources, "environment steps of a lifetime", "mean return")
    for ax, name in zip(axes, entry.sources, strict=True):
        own = frame[frame["source"] == name]
        ax.plot(own["env_steps"], own["mean"])
        ax.fill_between(own["env_steps"], own["low"], own["high"], alpha=0.25, linewidth=0)
        ax.set_title(f"{name} ({own['lifetimes'].max()} lifetimes)")
        ax.xaxis.set_major_locator(plt.MaxNLocator(4))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure
