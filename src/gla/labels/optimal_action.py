"""The best action in each state, which an oracle recorded along with the action that was taken (Lee et al., 2023)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gla.labels.options import LabelOptions
from gla.windows.chunks import Drawn
from gla.windows.rows import Rows


class Options(LabelOptions):
    """The optimal action in each state, for sources that record it."""

    kind: Literal["optimal_action"] = "optimal_action"

    needs: ClassVar[Mapping[str, frozenset[str]]] = {"action": frozenset({"optimal_action"})}


def updates(drawn: Drawn, last: int) -> np.ndarray:
    """See gla.labels. Labels of an oracle count as those of the last update."""
    return np.full_like(drawn.update, last)


def action(options: Options, rows: Rows, drawn: Drawn) -> Tensor:
    """See gla.labels."""
    best = rows.steps["optimal_action"]
    return best[torch.from_numpy(drawn.index).to(best.device)]
