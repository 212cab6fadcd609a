"""Learning curves of the source agents: mean return by environment steps, over lifetimes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter

from gla.config import Figure
from gla.figures.panels import panels
from gla.histories import read_digest
from gla.statistics import mean_interval

COLUMNS = ("environment", "env_steps", "mean", "low", "high", "lifetimes")


def table(entry: Figure, digests: list[str]) -> pd.DataFrame:
    """Columns environment, env_steps, mean, low, high, lifetimes. digests: of all blocks that are drawn."""
    bodies, rows = [read_digest(d) for d in digests], []
    for name in entry.environments:
        own = [b for b in bodies if b["environment"] == name]
        tasks = len(own[0]["config"]["tasks"]) or 1
        returns = np.array([row for b in own for row in b["mean_return"]], dtype=float)  # (K, U), NaN for None
        per_update = own[0]["streams"] * own[0]["steps_per_update"]
        for u in range(returns.shape[1]):
            count = int(np.isfinite(returns[:, u]).sum())
            if count:
                rows.append((name, (u + 1) * per_update, *mean_interval(returns[:, u], tasks), count))
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Figure, frame: pd.DataFrame) -> plt.Figure:
    """A panel for each environment."""
    figure, axes = panels(entry.environments, "environment steps of a lifetime", "mean return")
    for ax, name in zip(axes, entry.environments, strict=True):
        own = frame[frame["environment"] == name]
        ax.plot(own["env_steps"], own["mean"])
        ax.fill_between(own["env_steps"], own["low"], own["high"], alpha=0.25, linewidth=0)
        ax.set_title(f"{name} ({own['lifetimes'].max()} lifetimes)")
        ax.xaxis.set_major_locator(plt.MaxNLocator(4))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure
