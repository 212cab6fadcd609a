"""How near to the best policy? Scores of agents and learners from scratch between random actions (0) and the best policy (1) of each task.

The figure shows the score over the last fifth of the steps: the mean and its 95 % interval over test seeds and networks. Both ends of the
scale are computed, not run, so that they have no noise. The table also says how soon each method gets there.
"""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pydantic import Field

from gla.conditions.kinds import CONDITIONS
from gla.figures.panels import FigureOptions, Panel, seeds_of
from gla.options import ConfigError, Count
from gla.rows import read_evaluation
from gla.statistics import seeds_interval

BUDGETS = (500, 2000, 10000)  # steps
COLUMNS = (
    "panel", "row", "evaluation", "environment", "agent", "method", "model", "condition", "score", "low", "high", "first_episodes",
    "steps_to_90_oracle", "episodes_to_90_oracle", "steps_to_99_own", *(f"score_{steps}" for steps in BUDGETS), "tasks", "training_seeds",
    "seeds",
)  # fmt: skip
NEAR, OWN = 0.9, 0.99


class Options(FigureOptions):
    """Scores between random actions and the best policy of each task, by world and method, and how soon they are reached. It needs tabular
    worlds of gla."""

    kind: Literal["normalised"]
    panels: Annotated[list[Panel], Field(min_length=1)]
    """The worlds, from left to right."""
    points: Count = 50
    """Number of equal parts of a rollout. A score is reached at the end of the first part whose mean reaches it."""
    first: Count = 10
    """Number of first episodes whose mean score is in the table."""

    inputs: ClassVar[str] = "rollouts"
    normalised: ClassVar[bool] = True


def _between(frame: pd.DataFrame, low: float, high: float, score: np.ndarray) -> np.ndarray:
    """Returns the mean score of the episodes that ended after ``low`` and until ``high`` steps, by network and seed, (R, S); NaN if there is
    none. score: that of each row of frame."""
    own = frame["env_steps"].between(low, high, inclusive="right").to_numpy()
    return _by_seed(frame[own], score[own], frame)


def _by_seed(rows: pd.DataFrame, score: np.ndarray, whole: pd.DataFrame) -> np.ndarray:
    """Returns the means of scores by network and seed, (R, S), for the networks and seeds of ``whole``."""
    found = np.full((int(whole["training_seed"].max()) + 1, seeds_of(whole)), np.nan)
    means = rows.assign(score=score).groupby(["training_seed", "seed"])["score"].mean()
    places = means.index.to_frame().to_numpy().T
    found[places[0], places[1]] = means
    return found


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _reached(ends: np.ndarray, means: np.ndarray, level: float) -> float:
    """Returns the end of the first part whose mean is at least ``level``; NaN if there is none."""
    found = np.flatnonzero(means >= level)
    return float(ends[found[0]]) if len(found) else np.nan


def table(
    entry: Options,
    rollouts: list[list[str]],
    bounds: list[tuple[np.ndarray, np.ndarray] | None],
    tasks: list[int],
    agents: list[dict[str, dict]],
) -> pd.DataFrame:
    """Returns a table with a row for each agent and condition, and for each baseline.

    rollouts, tasks: as for figures of kind in_context. bounds: the expected returns of random actions and of the best policy in each task.
    agents: the kind of each agent's model, by panel. score, low, high: over the episodes of the last fifth of the steps. first_episodes: the
    mean score of the first episodes. score_N: that of the episodes in the last fifth of the first N steps, empty if a rollout is shorter.
    steps_to_90_oracle, steps_to_99_own: the steps after which the mean over seeds and networks is first at 0.9, and at 0.99 of the method's
    own highest mean. Raises ConfigError for an evaluation without bounds.
    """
    rows = []
    for number, (panel, paths, ends, n, known) in enumerate(
        zip(entry.panels, rollouts, bounds, tasks, agents, strict=True)
    ):
        if ends is None:
            said = f"{panel.evaluation!r} (expected one in a tabular world of gla, whose best policy can be computed)"
            raise ConfigError(f"panels[{number}].evaluation: {said}")
        frame = read_evaluation(paths)
        learners = list(frame.loc[frame["condition"] == "agent", "agent"].unique())
        names = dict(zip(learners, panel.labels or learners, strict=True))
        total = int(frame["env_steps"].max())
        cuts = np.linspace(0, total, entry.points + 1)
        for (agent, condition), own in frame.groupby(["agent", "condition"], sort=False):
            random, best = (x[own["seed"].to_numpy() % n] for x in ends)
            score = (own["episode_return"].to_numpy() - random) / (best - random)
            curve = np.array([_mean(_between(own, low, high, score)) for low, high in zip(cuts, cuts[1:], strict=False)])
            near = _reached(cuts[1:], curve, NEAR)
            before = own[own["env_steps"] <= near].groupby(["training_seed", "seed"]).size().mean()
            first = own["episode"].to_numpy() < entry.first
            last, count = _between(own, 0.8 * total, total, score), known[agent]["model"] if agent in known else ""
            name = names[agent] if condition == "agent" else CONDITIONS[condition].label
            if agent in names and condition != "agent":
                name = f"{names[agent]}, {name}"
            rows.append((
                number, panel.name, panel.evaluation, own["environment"].iloc[0], agent, name, count, condition,
                *seeds_interval(last, n), _mean(_by_seed(own[first], score[first], own)),
                near, before if np.isfinite(near) else np.nan, _reached(cuts[1:], curve, OWN * np.nanmax(curve)),
                *(_mean(_between(own, 0.8 * b, b, score)) if b <= total else np.nan for b in BUDGETS),
                n, *last.shape,
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws one pair of axes. Each world is a column, in which every method has a point with an interval."""
    shown = frame[~frame["condition"].isin([c for c, x in CONDITIONS.items() if x.role in ("calm", "control")])]
    worlds, methods = list(dict.fromkeys(shown["row"])), list(dict.fromkeys(shown["method"]))
    figure, ax = plt.subplots(figsize=(max(3.4, 0.8 * len(worlds)), 2.9), layout="constrained")
    for k, method in enumerate(methods):
        own = shown[shown["method"] == method].drop_duplicates("row")
        x = np.array([worlds.index(row) for row in own["row"]]) + 0.7 * ((k + 0.5) / len(methods) - 0.5)
        error = np.abs(own[["low", "high"]].to_numpy().T - own["score"].to_numpy())
        ax.errorbar(x, own["score"], error, fmt="o", markersize=3, linewidth=0.9, color=f"C{k}", label=method)
    for height, style in ((0.0, (0, (1, 2))), (1.0, (0, (1, 1)))):
        ax.axhline(height, color="0.4", linestyle=style, linewidth=0.9)
    lowest = float(np.nanmin(shown["score"])) if len(shown) else 0.0
    ax.set_ylim(min(-0.1, max(lowest - 0.1, -1.0)), 1.1)
    ax.set_xticks(range(len(worlds)), worlds, rotation=30, ha="right")
    ax.set_ylabel("score: random actions 0, best policy 1")
    figure.legend(loc="outside lower center", ncols=min(len(methods), 4))
    return figure
