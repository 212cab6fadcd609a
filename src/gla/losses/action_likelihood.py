"""The negative log-likelihood of the label's action, as in Algorithm Distillation (Laskin et al., 2022, Equation 2)."""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gla.encoding.tokens import NO_ACTION
from gla.losses.options import LossOptions


class Options(LossOptions):
    """The negative log-likelihood of the label's action."""

    kind: Literal["action_likelihood"] = "action_likelihood"

    wants: ClassVar[str] = "action"


def policy(options: Options, encoding: Any, output: Tensor, batch: Any) -> Tensor:
    """See gla.losses. The target is the action, one-hot if it is discrete, with NO_ACTION for actions that the environment
    does not have.
    """
    (action,) = batch.target
    mean, log_std = encoding.distribution(output, batch.frame)
    absent = action <= NO_ACTION / 2
    action = action.masked_fill(absent, 0.0)
    logits = torch.log_softmax(mean.masked_fill(absent & batch.discrete[:, None, None], NO_ACTION), -1)
    discrete = -(logits * action).sum(-1)
    if batch.discrete.all():
        return discrete
    normal = 0.5 * ((action - mean) * (-log_std).exp()).square() + log_std + 0.5 * math.log(2 * math.pi)
    continuous = normal.masked_fill(absent, 0.0).sum(-1)
    return torch.where(batch.discrete[:, None], discrete, continuous)
