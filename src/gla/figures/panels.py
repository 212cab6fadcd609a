"""What figures of several kinds share: panels of one size, at most four in a row, and lines to compare with."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

# Of conditions that do not change in their context: label, colour, dashes.
REFERENCES = {
    "optimal": ("optimum", "black", (0, (1, 1))),
    "reference": ("PPO, trained for long", "black", (0, (5, 2))),
    "ppo_final": ("its source's end", "0.3", (0, (3, 1))),
    "zero_action": ("zero action", "0.45", (0, (3, 1, 1, 1))),
    "random": ("random", "0.45", (0, (1, 2))),
}


def seeds_of(frame: pd.DataFrame) -> int:
    """How many test seeds rollouts have."""
    return int(frame["seed"].max()) + 1


def seed_means(frame: pd.DataFrame) -> np.ndarray:
    """The mean return of each network, or run, in each test seed, (R, S); NaN where none finished an episode."""
    wide = frame.pivot_table(index="training_seed", columns="seed", values="episode_return")
    return wide.reindex(columns=range(seeds_of(frame))).to_numpy()


def panels(names: list[str], x: str, y: str) -> tuple[plt.Figure, np.ndarray]:
    """A figure with a panel for each name, titled with it, and the axes, (len(names),). x, y: their common labels."""
    n, columns = len(names), min(len(names), 4)
    rows = -(-n // columns)
    size = (max(2.6, 1.9 * columns), 1.6 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax, name in zip(axes.flat, names, strict=False):
        ax.set_title(name)
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)
    return figure, axes.flat[:n]
