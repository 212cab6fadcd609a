"""Parts that several kinds of figures share: their options, panels of one size, at most four in a row, and lines for comparison."""

from typing import Any, ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gla.conditions.kinds import CONDITIONS
from gla.conditions.roles import of_role
from gla.options import Options, Text

# Label, colour and dashes of conditions that do not change over their episodes.
STEADY = {"optimal": ("optimum", "black", (0, (1, 1)))} | {
    name: (CONDITIONS[name].label, CONDITIONS[name].colour, CONDITIONS[name].dashes)
    for name in of_role("reference", "shown", "source", "calm")[::-1]
}


class FigureOptions(Options):
    """Options of all figures. Each figure is a PDF and a PNG, with its numbers in a CSV."""

    style: dict[str, Any] = {}
    """Matplotlib's rc parameters, which are added to the project's style."""

    inputs: ClassVar[str]
    """The inputs of its table: digests, by_position or rollouts."""
    normalised: ClassVar[bool] = False
    """Whether its table takes the returns of random actions and of the best policy in each task (``bounds``)."""
    losses: ClassVar[bool] = False
    """Whether its table of returns also takes losses (``by_position``)."""


class Panel(Options):
    """One panel of a figure: a pair of axes."""

    evaluation: str
    """Name of an evaluation."""
    title: Text = ""
    """Title above the panel. Panels that follow each other with the same title share one pair of axes, so that agents of several
    evaluations, such as of different temperatures, stand side by side. Baselines are then those of the first of them that has them."""
    agents: list[str] = []
    """Names of the agents that are drawn. If empty, all agents of the evaluation."""
    labels: list[Text] = []
    """Names of these agents in the legend."""

    @property
    def name(self) -> str:
        """What the panel is called: its title or, if it has none, its evaluation."""
        return self.title or self.evaluation


def shared(entries: list[Panel]) -> dict[int, list[int]]:
    """Returns the numbers of the panels that share a pair of axes, by the first of them."""
    found: dict[int, list[int]] = {}
    first, last = 0, None
    for number, panel in enumerate(entries):
        if not panel.title or panel.title != last:
            first, last = number, panel.title
        found.setdefault(first, []).append(number)
    return found


def together(frame: pd.DataFrame, numbers: list[int]) -> pd.DataFrame:
    """Returns the rows of panels that share a pair of axes, with each baseline of the first panel that has it."""
    own = frame[frame["panel"].isin(numbers)]
    first = own.groupby("condition")["panel"].transform("min")
    return own[(own["agent"] != "baseline") | (own["panel"] == first)]


def seeds_of(frame: pd.DataFrame) -> int:
    """Returns the number of test seeds of rollouts."""
    return int(frame["seed"].max()) + 1


def seed_means(frame: pd.DataFrame) -> np.ndarray:
    """Returns the mean return of each network, or run, in each test seed, (R, S); NaN if no episode was finished."""
    wide = frame.pivot_table(index="training_seed", columns="seed", values="episode_return")
    return wide.reindex(columns=range(seeds_of(frame))).to_numpy()


def by_steps(frame: pd.DataFrame, edges: np.ndarray, column: str = "episode_return") -> np.ndarray:
    """Returns the mean of a column over the episodes that ended in each part of a rollout, by network and seed, (R, S, n); where none did, the
    mean of the part before, and NaN before the first episode ends. edges: (n + 1,), the steps between which parts lie.
    """
    n = len(edges) - 1
    pairs = pd.MultiIndex.from_product([sorted(frame["training_seed"].unique()), range(seeds_of(frame))])
    inside = frame[frame["env_steps"] <= edges[-1]]
    part = np.clip(np.searchsorted(edges, inside["env_steps"]) - 1, 0, n - 1)
    wide = inside.assign(part=part).pivot_table(index=["training_seed", "seed"], columns="part", values=column)
    wide = wide.reindex(index=pairs, columns=range(n)).ffill(axis=1)
    return wide.to_numpy().reshape(-1, seeds_of(frame), n)


def grid(
    count: int, width: float, height: float, least: float = 3.4, margin: float = 0.0
) -> tuple[plt.Figure, np.ndarray]:
    """Returns a figure of ``count`` pairs of axes of one size, at most four in a row, and its axes, (rows, columns). width, height: of a
    pair; least: of the figure's width; margin: of the figure's height; all in inches."""
    columns = min(count, 4)
    rows = -(-count // columns)
    size = (max(least, width * columns), margin + height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, axes


def panels(names: list[str], x: str, y: str) -> tuple[plt.Figure, np.ndarray]:
    """Returns a figure with a panel for each name, which is its title, and the axes, (len(names),). x, y: common labels of
    the axes.
    """
    figure, axes = grid(len(names), 1.9, 1.6, least=2.6)
    for ax, name in zip(axes.flat, names, strict=False):
        ax.set_title(name)
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)
    return figure, axes.flat[: len(names)]
