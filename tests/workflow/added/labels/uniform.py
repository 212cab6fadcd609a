"""Distributions that are the same for all actions."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gla.labels.options import LabelOptions
from gla.windows.chunks import Drawn
from gla.windows.rows import Rows


class Options(LabelOptions):
    """Uniform over discrete actions, and a standard Gaussian over others."""

    kind: Literal["uniform"] = "uniform"


def updates(drawn: Drawn, last: int) -> np.ndarray:
    """See gla.labels."""
    return drawn.update


def distribution(options: Options, rows: Rows, drawn: Drawn, raw: Tensor) -> tuple[Tensor, Tensor]:
    """See gla.labels."""
    zeros = torch.zeros(*raw.shape[:2], rows.spec.action_size, device=raw.device)
    return zeros, zeros
