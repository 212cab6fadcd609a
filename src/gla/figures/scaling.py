"""Memory or learning? Final return against the number of training projections (GPICL's phase diagram).

An agent that remembers is good under the projections that it was trained with and bad under others;
one that learns is as good under either.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gla.config import Figure
from gla.evaluate import read_evaluation
from gla.figures.panels import REFERENCES, seed_means, seeds_of
from gla.statistics import seeds_interval
from gla.verdicts import fifths

COLUMNS = ("panel", "evaluation", "agent", "condition", "x", "mean", "low", "high", "seeds")


def table(
    entry: Figure, rollouts: list[list[str]], optimal: list[float | None], tasks: list[int], projections: list[dict[str, int]]
) -> pd.DataFrame:
    """Columns panel, evaluation, agent, condition, x, mean, low, high, seeds.

    rollouts, optimal, tasks: as for figures of kind in_context. projections: each agent's training projections, by
    panel. Agents have a row with the mean over seeds of the last fifth of the episodes; references that do not
    change have one with x empty.
    """
    rows = []
    for number, (panel, paths, best, n, size) in enumerate(
        zip(entry.panels, rollouts, optimal, tasks, projections, strict=True)
    ):
        frame = read_evaluation(paths)
        for (agent, condition), own in frame.groupby(["agent", "condition"], sort=False):
            if condition == "agent":
                values, x = fifths(own, seeds_of(own))[1], size[agent]
            elif condition in REFERENCES:
                values, x = seed_means(own), np.nan
            else:
                continue
            rows.append((number, panel.evaluation, agent, condition, x, *seeds_interval(values, n), values.size))
        if best is not None:
            rows.append((number, panel.evaluation, "baseline", "optimal", np.nan, best, best, best, 0))
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Figure, frame: pd.DataFrame) -> plt.Figure:
    """One axes; a curve for each panel, under its title."""
    figure, ax = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
    for number, panel in enumerate(entry.panels):
        own = frame[(frame["panel"] == number) & (frame["condition"] == "agent")].sort_values("x")
        ax.plot(own["x"], own["mean"], marker="o", markersize=3, label=panel.title or panel.evaluation)
        ax.fill_between(own["x"], own["low"], own["high"], alpha=0.2, linewidth=0)
    for condition, (label, colour, style) in REFERENCES.items():
        own = frame[frame["condition"] == condition]
        if not own.empty:
            ax.axhline(own["mean"].iloc[0], color=colour, linestyle=style, linewidth=0.9, label=label)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("training projections")
    ax.set_ylabel("return, last fifth of the episodes")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
