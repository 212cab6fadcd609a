"""How near to the best policy? Scores of agents and learners from scratch between random actions (0) and the best policy (1) of each task.

The figure shows the score over the last fifth of the steps: the mean and its 95 % interval over test seeds and networks. Both ends of the
scale are computed, not run, so that they have no noise. The table also says how soon each method gets there.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pydantic import Field

from gla.conditions.kinds import CONDITIONS
from gla.figures.panels import FigureOptions, Panel, by_steps, shared, together
from gla.options import ConfigError, Count
from gla.rows import read_evaluation
from gla.statistics import seeds_interval

BUDGETS = (500, 2000, 10000)  # steps
COLUMNS = (
    "panel", "row", "evaluation", "environment", "agent", "method", "model", "condition", "score", "low", "high", "median",
    "first_episodes", "steps_to_90_oracle", "episodes_to_90_oracle", "steps_to_99_own", *(f"score_{steps}" for steps in BUDGETS), "tasks",
    "training_seeds", "seeds",
)  # fmt: skip
NEAR, OWN = 0.9, 0.99
LOWEST = -1.0  # score that is drawn as it is


class Options(FigureOptions):
    """Scores between random actions and the best policy of each task, by world and method, and how soon they are reached. It needs evaluations
    with env_steps, in tabular worlds of gla."""

    kind: Literal["normalised"]
    panels: Annotated[list[Panel], Field(min_length=1)]
    """The worlds, from left to right."""
    points: Count = 50
    """Number of equal parts of a rollout. A score is reached at the end of the first part whose mean reaches it."""
    first: Count = 10
    """Number of first episodes whose mean score is in the table."""

    inputs: ClassVar[str] = "rollouts"
    normalised: ClassVar[bool] = True


def _mean(values: np.ndarray) -> float:
    """Returns the mean of values (R, S), or NaN if one is missing: seeds that finish episodes early are not like the others."""
    return float(values.mean()) if np.isfinite(values).all() else np.nan


def _reached(ends: np.ndarray, means: np.ndarray, level: float) -> float:
    """Returns the end of the first part whose mean is at least ``level``; NaN if there is none."""
    found = np.flatnonzero(means >= level)
    return float(ends[found[0]]) if len(found) else np.nan


def scored(frame: pd.DataFrame, ends: tuple[np.ndarray, np.ndarray] | None, where: str) -> pd.DataFrame:
    """Returns rollouts with a column ``score``. ends: the expected returns of random actions and of the best policy, (tasks,) each. Raises
    ConfigError if these are not known, or do not differ in a task."""
    if ends is None:
        raise ConfigError(f"{where} (expected one in a tabular world of gla, whose best policy can be computed)")
    random, best = ends
    if len(equal := np.flatnonzero(~(best > random))):
        said = f"{best[equal[0]]:g} in task {equal[0]}, as much as random actions have (expected more)"
        raise ConfigError(f"{where}: the best return is {said}")
    task = frame["seed"].to_numpy() % len(random)
    return frame.assign(score=(frame["episode_return"].to_numpy() - random[task]) / (best - random)[task])


def panels(
    entry: Any, rollouts: list[list[str]], bounds: list[tuple[np.ndarray, np.ndarray] | None], *others: list
) -> Iterator[tuple]:
    """Yields, for each panel, its number, the panel, its rollouts with scores, and its part of the others. Raises ConfigError as ``scored``
    does."""
    for number, (panel, paths, ends, *own) in enumerate(zip(entry.panels, rollouts, bounds, *others, strict=True)):
        yield (
            number,
            panel,
            scored(read_evaluation(paths), ends, f"panels[{number}].evaluation: {panel.evaluation!r}"),
            *own,
        )


def last_fifth(frame: pd.DataFrame, total: int) -> np.ndarray:
    """Returns the mean score of the episodes that ended in the last fifth of ``total`` steps, by network and seed, (R, S)."""
    return by_steps(frame, np.array([0, 0.8 * total, total]), "score")[..., 1]


def table(
    entry: Options,
    rollouts: list[list[str]],
    bounds: list[tuple[np.ndarray, np.ndarray] | None],
    tasks: list[int],
    agents: list[dict[str, dict]],
) -> pd.DataFrame:
    """Returns a table with a row for each agent and condition, and for each baseline.

    rollouts, tasks: as for figures of kind in_context. bounds: the expected returns of random actions and of the best policy in each task.
    agents: the kind of each agent's model, by panel. score, low, high: over the episodes that ended in the last fifth of the steps. median:
    that of test seeds, over networks. A task in which the best policy earns little more than random actions do may decide on the mean, but
    not on the median.
    first_episodes: the mean score of the first episodes. score_N: over the episodes that ended in the last fifth of the first N steps, empty if
    a rollout is shorter. Where a seed has no such episode, its last one before counts. steps_to_90_oracle, steps_to_99_own: the steps after
    which the mean over seeds and networks is first at 0.9, and within a hundredth of the method's own highest mean. Raises ConfigError for a
    world without bounds, and for one in which the best policy earns no more than random actions do.
    """
    rows = []
    for number, panel, frame, n, known in panels(entry, rollouts, bounds, tasks, agents):
        learners = list(frame.loc[frame["condition"] == "agent", "agent"].unique())
        names = dict(zip(learners, panel.labels or learners, strict=True))
        total, longest = (int(frame[c].max()) if len(frame) else 0 for c in ("env_steps", "episode_length"))
        cuts = np.linspace(0, total, entry.points + 1)
        for (agent, condition), own in frame.groupby(["agent", "condition"], sort=False):
            curve = np.array([_mean(x) for x in np.moveaxis(by_steps(own, cuts, "score"), -1, 0)])
            near, best = _reached(cuts[1:], curve, NEAR), np.nanmax(curve, initial=-np.inf)
            before = (own["env_steps"] <= near).groupby([own["training_seed"], own["seed"]]).sum().mean()
            first = own[own["episode"] < entry.first].groupby(["training_seed", "seed"])["score"].mean().mean()
            last = last_fifth(own, total)
            budgets = [_mean(last_fifth(own, b)) if b < total + longest else np.nan for b in BUDGETS]
            name = names[agent] if condition == "agent" else CONDITIONS[condition].label
            if agent in names and condition != "agent":
                name = f"{names[agent]}, {name}"
            rows.append((
                number, panel.name, panel.evaluation, own["environment"].iloc[0], agent, name,
                known[agent]["model"] if agent in known else "", condition, *seeds_interval(last, n), np.median(last.mean(0)), first,
                near, before if np.isfinite(near) else np.nan, _reached(cuts[1:], curve, best - (1 - OWN) * abs(best)), *budgets,
                n, *last.shape,
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws one pair of axes. Each world is a column, in which every method has a point with an interval. What lies below -1 is drawn at -1,
    as a triangle."""
    hidden = [c for c, x in CONDITIONS.items() if x.role in ("calm", "control", "ablation")]
    shown = frame[~frame["condition"].isin(hidden)]
    groups, methods = shared(entry.panels), list(dict.fromkeys(shown["method"]))
    figure, ax = plt.subplots(figsize=(max(3.4, 0.8 * len(groups)), 2.9), layout="constrained")
    placed = pd.concat([together(shown, numbers).assign(place=i) for i, numbers in enumerate(groups.values())])
    colours = len(plt.rcParams["axes.prop_cycle"])  # those beyond have another marker
    for k, method in enumerate(methods):
        own = placed[placed["method"] == method]
        x, height = own["place"] + 0.7 * ((k + 0.5) / len(methods) - 0.5), own["score"].clip(lower=LOWEST)
        error = np.abs(own[["low", "high"]].clip(lower=LOWEST).to_numpy().T - height.to_numpy())
        ax.errorbar(
            x, height, error, fmt="osD"[k // colours % 3], markersize=3, linewidth=0.9, color=f"C{k}", label=method
        )
        cut = (own["score"] < LOWEST).to_numpy()
        ax.plot(x[cut], height[cut], "v", markersize=5, color=f"C{k}")
    for height, style in ((0.0, (0, (1, 2))), (1.0, (0, (1, 1)))):
        ax.axhline(height, color="0.4", linestyle=style, linewidth=0.9)
    ax.set_xticks(range(len(groups)), [entry.panels[first].name for first in groups], rotation=30, ha="right")
    ax.set_ylabel("score: random actions 0, best policy 1")
    figure.legend(loc="outside lower center", ncols=min(max(1, len(methods)), 4))
    return figure
