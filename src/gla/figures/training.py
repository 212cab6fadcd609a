"""Did training learn anything? The loss by position in the context, compared with that of a constant predictor.

The curves show the loss of the agent's predictions by position in the context, next to that of the best constant output. An agent that
is no better than that on held-out lifetimes predicts nothing about learners that it was not trained on; it may have memorised what it
does well. A lower loss does not mean a better learner.
"""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import pandas as pd
from pydantic import Field

from gla.figures.panels import FigureOptions, panels
from gla.files import read_csv

LOSSES = ("position", "train_loss", "validation_loss", "constant_loss")
COLUMNS = ("agent", *LOSSES)


class Options(FigureOptions):
    """Training and held-out losses by position in the context."""

    kind: Literal["training"]
    agents: Annotated[list[str], Field(min_length=1)]
    """Names of agents."""

    inputs: ClassVar[str] = "by_position"


def table(entry: Options, by_position: list[str]) -> pd.DataFrame:
    """Returns a table with COLUMNS. by_position: the CSV of each agent, in order."""
    frames = [read_csv(p, numbers=LOSSES).assign(agent=a) for a, p in zip(entry.agents, by_position, strict=True)]
    frame = pd.concat(frames, ignore_index=True)
    return frame[list(COLUMNS)]


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """Draws a panel for each agent."""
    figure, axes = panels(entry.agents, "position in the context (steps)", "loss (per step)")
    for ax, name in zip(axes, entry.agents, strict=True):
        own = frame[frame["agent"] == name]
        # Single positions are noisy, so a running mean over a fiftieth of the context is drawn.
        width = max(1, len(own) // 50)
        for column, label, style in (
            ("validation_loss", "held-out", "-"),
            ("train_loss", "training", "--"),
            ("constant_loss", "constant predictor", ":"),
        ):
            values = own[column].rolling(width, min_periods=1, center=True).mean()
            ax.plot(own["position"], values, style, label=label)
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))  # densities may be above 1, and their losses below 0
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
