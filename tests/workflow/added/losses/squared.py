"""The squared distance of means, or of logits."""

from typing import Any, Literal

from torch import Tensor

from gla.encoding.tokens import NO_ACTION
from gla.losses.options import LossOptions


class Options(LossOptions):
    """The squared distance of means."""

    kind: Literal["squared"] = "squared"


def policy(options: Options, encoding: Any, output: Tensor, batch: Any) -> Tensor:
    """See gla.losses."""
    mean, _ = encoding.distribution(output, batch.frame)
    return (mean - batch.target[0]).square().masked_fill(batch.target[0] <= NO_ACTION / 2, 0.0).sum(-1)
