"""How many tasks does it take? Scores and losses in tasks of training and in others, by the number of training tasks (as in Table 4 of Wang
et al., 2025).

An agent that has memorised its tasks is good in them and bad in others. One that learns is equally good in both.
"""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pydantic import Field

from gla.figures.normalised import last_fifth, panels
from gla.figures.panels import FigureOptions, Panel
from gla.figures.training import LOSSES
from gla.files import read_csv
from gla.statistics import seeds_interval

COLUMNS = (
    "panel", "evaluation", "agent", "model", "split", "training_tasks", "loss_ratio", "score", "low", "high", "seeds", "training_seeds",
)  # fmt: skip


class Options(FigureOptions):
    """Scores and losses by the number of training tasks. It needs evaluations with env_steps, in tabular worlds of gla."""

    kind: Literal["training_tasks"]
    panels: Annotated[list[Panel], Field(min_length=1)]
    """The curves: a line for each kind of model in each of these panels. In evaluations with the split training, losses are those of training,
    and otherwise those that are held out."""
    agents: Annotated[list[str], Field(min_length=1)]
    """Names of the agents whose losses are read."""

    inputs: ClassVar[str] = "rollouts"
    normalised: ClassVar[bool] = True
    losses: ClassVar[bool] = True


def loss_ratio(path: str, seen: bool) -> float:
    """Returns how much of the loss of the best constant output the context takes away, where in the context this is most: max over positions
    t of 1 - L_t / L. path: a network's by_position.csv. seen: whether losses are those of training."""
    frame = read_csv(path, numbers=LOSSES)
    return float((1 - frame["train_loss" if seen else "validation_loss"] / frame["constant_loss"]).max())


def table(
    entry: Options,
    rollouts: list[list[str]],
    bounds: list[tuple[np.ndarray, np.ndarray] | None],
    tasks: list[int],
    agents: list[dict[str, dict]],
    by_position: list[str],
) -> pd.DataFrame:
    """Returns a table with a row for each panel and agent. All but by_position is as for figures of kind normalised. agents: the kind of each
    agent's model and the number of its training tasks, by panel. by_position: the losses of each of the entry's agents, those of the first
    network. score, low, high: over the episodes that ended in the last fifth of the steps.
    """
    losses, rows = dict(zip(entry.agents, by_position, strict=True)), []
    for number, panel, frame, n, known in panels(entry, rollouts, bounds, tasks, agents):
        for agent, own in frame[frame["condition"] == "agent"].groupby("agent", sort=False):
            last, facts = last_fifth(own, int(frame["env_steps"].max())), known[agent]
            ratio = loss_ratio(losses[agent], facts["split"] == "training") if agent in losses else np.nan
            rows.append((
                number, panel.evaluation, agent, facts["model"], panel.name, facts["tasks"], ratio, *seeds_interval(last, n), *last.shape[::-1],
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws scores and loss ratios side by side. A kind of model has a colour, and a panel has dashes."""
    figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.6), layout="constrained")
    models, styles = list(dict.fromkeys(frame["model"])), ("-", "--", ":", "-.")
    for (model, panel), own in frame.groupby(["model", "panel"], sort=False):
        own = own.sort_values("training_tasks")
        look = {
            "color": f"C{models.index(model)}",
            "linestyle": styles[panel % len(styles)],
            "marker": "o",
            "markersize": 3,
        }
        axes[0].plot(own["training_tasks"], own["score"], label=f"{model}, {entry.panels[panel].name}", **look)
        axes[0].fill_between(
            own["training_tasks"], own["low"], own["high"], alpha=0.15, linewidth=0, color=look["color"]
        )
        axes[1].plot(own["training_tasks"], own["loss_ratio"], **look)
    for ax, label in zip(
        axes, ("score: random actions 0, best policy 1", "loss that the context takes away"), strict=True
    ):
        ax.set_xscale("log")
        ax.set_xlabel("training tasks")
        ax.set_ylabel(label)
    figure.legend(loc="outside lower center", ncols=2, handlelength=3)
    return figure
