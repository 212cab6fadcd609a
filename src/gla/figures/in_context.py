"""Learning in context: return by episode (or step) of agents, their controls and baselines.

The curves show the return of agents that start from an empty context and take no gradient step: the mean and its 95 % interval over
test seeds, and over networks where an agent has several. The best of three learners that start from scratch is drawn too, at as many
steps. Horizontal lines are policies that do not learn. A curve that rises shows that something improves, but not why: an agent *learns
from reward* only if it ends above the same agent with its rewards hidden, and above it with its rewards shuffled. One network says
nothing about others. An agent that ends at or below zero action does no better than standing still.
"""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pydantic import Field

from gla.conditions.kinds import CONDITIONS
from gla.conditions.roles import IN_CONTEXT, of_role
from gla.figures.panels import STEADY, FigureOptions, Panel, by_steps, grid, seed_means, seeds_of, shared, together
from gla.rows import read_evaluation
from gla.statistics import seeds_interval
from gla.verdicts import fifths

COLUMNS = ("panel", "evaluation", "environment", "agent", "condition", "x", "mean", "low", "high", "seeds")
ONLINE, HISTORY, TAKEN = of_role("online"), of_role("history"), of_role("control", "ablation")
CURVES = (*IN_CONTEXT, *ONLINE, *HISTORY)  # conditions that change over their episodes
BINS = 25  # points of a curve over env_steps


class Options(FigureOptions):
    """Returns by episode, or by step, of agents, their controls and baselines."""

    kind: Literal["in_context"]
    panels: Annotated[list[Panel], Field(min_length=1)]
    """The panels, from left to right."""
    x: Literal["episode", "env_steps"] = "episode"
    """Unit of the horizontal axis."""

    inputs: ClassVar[str] = "rollouts"


def _by_x(frame: pd.DataFrame, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns points (n,) and the return of each network in each seed there, (R, S, n).

    Over steps, the return at a point is the mean of the seed's episodes that ended since the previous point or, if none did,
    the return at the previous point.
    """
    if x == "env_steps":
        edges = np.linspace(0, frame["env_steps"].max(), BINS + 1)
        return edges[1:], by_steps(frame, edges)
    seeds = range(seeds_of(frame))
    pairs = pd.MultiIndex.from_product([sorted(frame["training_seed"].unique()), seeds])
    wide = frame.pivot(index=["training_seed", "seed"], columns="episode", values="episode_return").reindex(index=pairs)
    return wide.columns.to_numpy() + 1, wide.to_numpy().reshape(-1, len(seeds), wide.shape[1])


def _online(frame: pd.DataFrame) -> str | None:
    """Returns the online learner with the best last fifth of its episodes. Only this one is drawn."""
    means = {c: np.nanmean(fifths(own, seeds_of(own))[1]) for c, own in frame.groupby("condition") if c in ONLINE}
    return max(means, key=lambda c: means[c], default=None)


def table(
    entry: Options,
    rollouts: list[list[str]],
    optimal: list[float | None],
    tasks: list[int],
    agents: list | None = None,
) -> pd.DataFrame:
    """Returns a table with columns panel, evaluation, environment, agent, condition, x, mean, low, high, seeds. It has only
    the best online learner.

    rollouts: Parquet files of each panel. optimal: the best possible return in each panel, if it is known. tasks: the number
    of tasks in each panel, where seed s has task s % tasks. agents: facts about agents, which are not used here. A baseline
    that does not change over its episodes (random, zero action, policies that were trained before, the optimum) has one row,
    with x empty: the mean over each seed's episodes, averaged over seeds.
    """
    rows = []
    for number, (panel, paths, best, n) in enumerate(zip(entry.panels, rollouts, optimal, tasks, strict=True)):
        frame = read_evaluation(paths)
        environment = next(iter(frame["environment"]), "")
        frame = frame[~frame["condition"].isin(set(ONLINE) - {_online(frame)})]
        for (agent, condition), own in frame.groupby(["agent", "condition"], sort=False):
            head = (number, panel.evaluation, environment, agent, condition)
            if condition not in CURVES:
                values = seed_means(own)
                rows.append((*head, np.nan, *seeds_interval(values, n), values.shape[1]))
                continue
            points, values = _by_x(own, entry.x)
            for i, x in enumerate(points):
                count = int(np.isfinite(values[..., i]).all(0).sum())
                if count:
                    rows.append((*head, x, *seeds_interval(values[..., i], n), count))
        if best is not None:
            rows.append((number, panel.evaluation, environment, "baseline", "optimal", np.nan, best, best, best, 0))
    return pd.DataFrame(rows, columns=COLUMNS)


def _draw_panel(ax: plt.Axes, frame: pd.DataFrame, labels: dict[tuple[int, str], str], known: dict[str, str]) -> None:
    """known: the colours of labels of other panels, to which those of this one are added."""
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    learner = colours.pop(5 % len(colours)) if len(colours) > 1 else colours[0]
    for label in labels.values():
        if label not in known:
            used = [set(known.values()), {known.get(other) for other in labels.values()}, set()]
            known[label] = next(colour for taken in used for colour in colours if colour not in taken)
    for (panel, agent), label in labels.items():
        for condition in IN_CONTEXT:
            style = CONDITIONS[condition].dashes
            own = frame[(frame["panel"] == panel) & (frame["agent"] == agent) & (frame["condition"] == condition)]
            if own.empty:
                continue
            name = label if condition == "agent" else (CONDITIONS[condition].label if len(labels) == 1 else "_")
            ax.plot(
                own["x"],
                own["mean"],
                style,
                color=known[label],
                label=name,
                linewidth=1.3 if style == "-" else 0.9,
            )
            ax.fill_between(own["x"], own["low"], own["high"], color=known[label], alpha=0.2, linewidth=0)
    for condition in TAKEN:
        style, name = CONDITIONS[condition].dashes, CONDITIONS[condition].label
        if len(labels) > 1 and (frame["condition"] == condition).any():
            ax.plot([], [], style, color="0.3", linewidth=0.9, label=f"same, {name}")
    for condition in (*ONLINE, *HISTORY):
        own = frame[frame["condition"] == condition]
        if not own.empty:
            kind = CONDITIONS[condition]
            colour, label = kind.colour or learner, kind.label if kind.colour else f"best from scratch: {kind.label}"
            ax.plot(own["x"], own["mean"], linestyle=kind.dashes, color=colour, label=label)
            ax.fill_between(own["x"], own["low"], own["high"], color=colour, alpha=0.2, linewidth=0)
    for condition, (label, colour, style) in STEADY.items():
        own = frame[frame["condition"] == condition]
        if not own.empty:
            ax.axhline(own["mean"].iloc[0], color=colour, linestyle=style, linewidth=0.9, label=label)


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws the panels, at most four in a row, and one legend."""
    groups = shared(entry.panels)
    figure, axes = grid(len(groups), 2.3, 1.9, margin=0.4)
    n = axes.shape[1]
    known: dict[str, str] = {}
    for place, (ax, (first, numbers)) in enumerate(zip(axes.flat, groups.items(), strict=False)):
        labels = {}
        for number in numbers:
            acting = frame[(frame["panel"] == number) & frame["condition"].isin(IN_CONTEXT)]
            learners = [(number, agent) for agent in acting["agent"].unique()]
            labels |= zip(learners, entry.panels[number].labels or [agent for _, agent in learners], strict=True)
        _draw_panel(ax, together(frame, numbers), labels, known)
        ax.set_title(entry.panels[first].name)
        if place + n >= len(groups):  # nothing is below it
            ax.set_xlabel("episode in context" if entry.x == "episode" else "environment steps in context")
        ax.xaxis.set_major_locator(plt.MaxNLocator(5, integer=True))
    for ax in axes[:, 0]:
        ax.set_ylabel("return (mean, 95 % interval)")
    handles: dict[str, plt.Artist] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 2 + n))
    return figure
