"""Memory or learning? Final return against the number of training projections (GPICL's phase diagram).

The curves show the return over the last fifth of the episodes by the number of projections that an agent was trained with: the mean
and its 95 % interval over test seeds. An agent that has memorised its training is good with the projections that it was trained with and
bad with others. One that learns is equally good with both.
"""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pydantic import Field

from gla.figures.panels import STEADY, FigureOptions, Panel, seed_means, seeds_of
from gla.rows import read_evaluation
from gla.statistics import seeds_interval
from gla.verdicts import fifths

COLUMNS = ("panel", "evaluation", "agent", "condition", "x", "mean", "low", "high", "seeds")


class Options(FigureOptions):
    """Final returns by the number of training projections."""

    kind: Literal["scaling"]
    panels: Annotated[list[Panel], Field(min_length=1)]
    """The curves: one for each of these panels."""

    inputs: ClassVar[str] = "rollouts"


def table(
    entry: Options,
    rollouts: list[list[str]],
    optimal: list[float | None],
    tasks: list[int],
    agents: list[dict[str, dict]],
) -> pd.DataFrame:
    """Returns a table with columns panel, evaluation, agent, condition, x, mean, low, high, seeds.

    rollouts, optimal, tasks: as for figures of kind in_context. agents: the number of projections that each agent was trained
    with, by panel. Agents have a row with the mean over seeds of the last fifth of the episodes. Baselines that do not change
    have one row with x empty.
    """
    rows = []
    for number, (panel, paths, best, n, known) in enumerate(
        zip(entry.panels, rollouts, optimal, tasks, agents, strict=True)
    ):
        frame = read_evaluation(paths)
        for (agent, condition), own in frame.groupby(["agent", "condition"], sort=False):
            if condition == "agent":
                values, x = fifths(own, seeds_of(own))[1], known[agent]["projections"]
            elif condition in STEADY:
                values, x = seed_means(own), np.nan
            else:
                continue
            rows.append((number, panel.evaluation, agent, condition, x, *seeds_interval(values, n), values.size))
        if best is not None:
            rows.append((number, panel.evaluation, "baseline", "optimal", np.nan, best, best, best, 0))
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws one pair of axes with a curve for each panel, labelled by the panel's title."""
    figure, ax = plt.subplots(figsize=(3.6, 2.6), layout="constrained")
    for number, panel in enumerate(entry.panels):
        own = frame[(frame["panel"] == number) & (frame["condition"] == "agent")].sort_values("x")
        ax.plot(own["x"], own["mean"], marker="o", markersize=3, label=panel.name)
        ax.fill_between(own["x"], own["low"], own["high"], alpha=0.2, linewidth=0)
    for condition, (label, colour, style) in STEADY.items():
        own = frame[frame["condition"] == condition]
        if not own.empty:
            ax.axhline(own["mean"].iloc[0], color=colour, linestyle=style, linewidth=0.9, label=label)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("training projections")
    ax.set_ylabel("return, last fifth of the episodes")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
