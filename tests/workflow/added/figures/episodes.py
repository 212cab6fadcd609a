"""How many episodes each agent and baseline finished."""

from typing import Annotated, ClassVar, Literal

import matplotlib.pyplot as plt
import pandas as pd
from pydantic import Field

from gla.figures.panels import FigureOptions, Panel
from gla.rows import read_evaluation

COLUMNS = ("evaluation", "agent", "condition", "episodes")


class Options(FigureOptions):
    """Episodes of each agent and baseline."""

    kind: Literal["episodes"]
    panels: Annotated[list[Panel], Field(min_length=1)]
    """All of them in one."""

    inputs: ClassVar[str] = "rollouts"


def table(entry: Options, rollouts, optimal, tasks, agents) -> pd.DataFrame:
    """COLUMNS."""
    frames = [
        read_evaluation(paths).assign(evaluation=p.evaluation) for p, paths in zip(entry.panels, rollouts, strict=True)
    ]
    groups = pd.concat(frames).groupby(list(COLUMNS[:3]), sort=False)
    return groups.size().rename("episodes").reset_index()


def draw(entry: Options, frame: pd.DataFrame) -> plt.Figure:
    """A bar for each."""
    figure, ax = plt.subplots(layout="constrained")
    ax.barh(frame["agent"] + ", " + frame["condition"], frame["episodes"])
    return figure
