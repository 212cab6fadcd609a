"""Learning curves of the source agents: mean return by environment steps, over lifetimes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gla.config import Figure
from gla.histories import read_digest
from gla.statistics import mean_interval


def table(entry: Figure, digests: list[str]) -> pd.DataFrame:
    """Columns environment, env_steps, mean, low, high, lifetimes. digests: of all blocks that are drawn."""
    bodies, rows = [read_digest(d) for d in digests], []
    for name in entry.environments:
        own = [b for b in bodies if b["environment"] == name]
        returns = np.array([row for b in own for row in b["mean_return"]], dtype=float)  # (K, U), NaN for None
        per_update = own[0]["streams"] * own[0]["steps_per_update"]
        for u in range(returns.shape[1]):
            count = int(np.isfinite(returns[:, u]).sum())
            if count:
                rows.append((name, (u + 1) * per_update, *mean_interval(returns[:, u]), count))
    return pd.DataFrame(rows, columns=("environment", "env_steps", "mean", "low", "high", "lifetimes"))


def draw(entry: Figure, frame: pd.DataFrame) -> plt.Figure:
    """A panel for each environment."""
    n = len(entry.environments)
    columns = min(n, 4)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(max(2.6, 1.9 * columns), 1.6 * rows), squeeze=False, layout="constrained")
    for ax, name in zip(axes.flat, entry.environments, strict=False):
        own = frame[frame["environment"] == name]
        ax.plot(own["env_steps"], own["mean"])
        ax.fill_between(own["env_steps"], own["low"], own["high"], alpha=0.25, linewidth=0)
        ax.set_title(f"{name} ({own['lifetimes'].max()} lifetimes)")
        ax.xaxis.set_major_locator(plt.MaxNLocator(4))
        ax.xaxis.set_major_formatter(plt.matplotlib.ticker.EngFormatter(sep=""))
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    figure.supxlabel("environment steps of a lifetime", fontsize=8)
    figure.supylabel("mean return", fontsize=8)
    return figure
