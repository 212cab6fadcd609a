"""Methods side by side: the return of the last episodes.

The figure shows the return of the last episodes (as many as the entry's ``episodes``) by agent: the mean and its 95 % interval over test
seeds and networks. Each point is one task, averaged over networks, since a mean may hide tasks that always fail.
"""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pydantic import Field

from gla.figures.panels import STEADY, FigureOptions, Panel, grid, seed_means, seeds_of, shared, together
from gla.options import Count, Fraction
from gla.rows import read_evaluation
from gla.statistics import seeds_interval

COLUMNS = (
    "panel", "row", "evaluation", "agent", "method", "model", "condition", "task", "mean", "low", "high", "optimum", "failed_goals", "tasks",
    "training_seeds", "seeds",
)  # fmt: skip


class Options(FigureOptions):
    """Returns of the last episodes, by agent and task."""

    kind: Literal["scores"]
    panels: Annotated[list[Panel], Field(min_length=1)]
    """The panels, from left to right."""
    episodes: Count = 10
    """Number of last episodes whose returns are averaged."""
    failed: Fraction = 0.1
    """A network fails a task if its mean return there is below this share of the best possible return or, if that is not
    known, of the highest return in the panel. Failures are not counted if that return is not above 0."""

    inputs: ClassVar[str] = "rollouts"


def _last(frame: pd.DataFrame, episodes: int) -> np.ndarray:
    """Returns the mean return of the last episodes of each network in each seed, (R, S)."""
    last = frame.groupby(["training_seed", "seed"])["episode"].transform("max")
    return seed_means(frame[frame["episode"] > last - episodes])


def table(
    entry: Options,
    rollouts: list[list[str]],
    optimal: list[float | None],
    tasks: list[int],
    agents: list[dict[str, dict]],
) -> pd.DataFrame:
    """Returns a table with a row for the mean of all tasks of each agent, with task empty, and one for each task, without an
    interval.

    rollouts, optimal, tasks: as for figures of kind in_context. agents: the kind of each agent's model, by panel.
    failed_goals: the share of networks and tasks that failed. Baselines that do not change, and the optimum, have one row.
    """
    rows = []
    for number, (panel, paths, best, n, known) in enumerate(
        zip(entry.panels, rollouts, optimal, tasks, agents, strict=True)
    ):
        frame = read_evaluation(paths)
        learners = list(frame.loc[frame["condition"] == "agent", "agent"].unique())
        names = dict(zip(learners, panel.labels or learners, strict=True))
        size = seeds_of(frame)
        found = {}
        for (agent, condition), own in frame.groupby(["agent", "condition"], sort=False):
            if condition == "agent" or condition in STEADY:
                found[agent, condition] = seed_means(own) if condition in STEADY else _last(own, entry.episodes)
        highest = best if best is not None else max(np.nanmean(x) for x in found.values())
        for (agent, condition), values in found.items():
            task = np.arange(values.shape[1]) % n
            of_tasks = np.stack([np.nanmean(values[:, task == i], 1) for i in range(min(n, size))], 1)  # (R, tasks)
            model = known[agent]["model"] if agent in known else ""
            head = number, panel.name, panel.evaluation, agent, names.get(agent, condition), model, condition
            lost = float((of_tasks < entry.failed * highest).mean()) if highest > 0 else np.nan
            tail = best, lost, of_tasks.shape[1], len(values), values.shape[1]
            rows.append((*head, np.nan, *seeds_interval(values, n), *tail))
            rows += [
                (*head, i, x, np.nan, np.nan, *tail) for i, x in enumerate(of_tasks.mean(0)) if condition == "agent"
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws the panels. Each agent has a column of points, one for each task, and its mean with an interval."""
    groups = shared(entry.panels)
    figure, axes = grid(len(groups), 2.1, 2.4)
    for (first, numbers), ax in zip(groups.items(), axes.flat, strict=False):
        own = together(frame, numbers)
        learners = own[own["condition"] == "agent"]
        methods = learners[["panel", "agent", "method"]].drop_duplicates()
        for place, (panel, agent) in enumerate(zip(methods["panel"], methods["agent"], strict=True)):
            of_method = learners[(learners["panel"] == panel) & (learners["agent"] == agent)]
            points, whole = (
                of_method[of_method["task"].notna()]["mean"].sort_values(),
                of_method[of_method["task"].isna()].iloc[0],
            )
            ax.plot(
                place + np.linspace(-0.3, 0.3, len(points)), points, ".", color=f"C{place}", markersize=3, alpha=0.5
            )
            ax.errorbar(
                [place], [whole["mean"]], [[whole["mean"] - whole["low"]], [whole["high"] - whole["mean"]]], fmt="_", color="black",
                markersize=12, capsize=2, linewidth=1.0,
            )  # fmt: skip
        for condition, (label, colour, style) in STEADY.items():
            line = own[own["condition"] == condition]
            height = own["optimum"].iloc[0] if condition == "optimal" else line["mean"].iloc[0] if len(line) else np.nan
            if np.isfinite(height):
                ax.axhline(height, color=colour, linestyle=style, linewidth=0.9, label=label)
        ax.set_xticks(range(len(methods)), methods["method"], rotation=30, ha="right")
        ax.set_title(entry.panels[first].name)
    for ax in axes[:, 0]:
        ax.set_ylabel(f"return, last {entry.episodes} episodes")
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    return figure
