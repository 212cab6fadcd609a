"""The divergence between the label's distribution and the model's (Kirsch et al., 2023, Equation 1)."""

from typing import Any, Literal

import torch
from torch import Tensor

from gla.encoding.tokens import NO_ACTION
from gla.losses.options import LossOptions


class Options(LossOptions):
    """The divergence between the label's distribution and the model's."""

    kind: Literal["divergence"] = "divergence"
    direction: Literal["forward", "reverse", "sum"] = "sum"
    """forward: KL divergence from label to model; reverse: from model to label; sum: both added (Kirsch et al., 2023, Equation 1)."""


def gaussian_kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """Returns KL(p || q) of diagonal Gaussians for each dimension. The sum over the last axis is the divergence."""
    ratio = (2 * (log_std_p - log_std_q)).exp()
    return log_std_q - log_std_p + 0.5 * (ratio + (mean_p - mean_q).square() * (-2 * log_std_q).exp() - 1)


def categorical_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Returns KL(p || q) of categoricals with these logits for each outcome. The sum over the last axis is the divergence."""
    log_p, log_q = torch.log_softmax(logits_p, -1), torch.log_softmax(logits_q, -1)
    return log_p.exp() * (log_p - log_q)


def divergence(
    direction: str, mean_p: Tensor, log_std_p: Tensor | None, mean_q: Tensor, log_std_q: Tensor | None
) -> Tensor:
    """Returns the divergence D of Equation 1 between the source p and the model q, (..., a) to (...).

    direction: forward KL(p || q), reverse KL(q || p), or their sum. If log_std_p is None, distributions are categorical and
    the means are logits.
    """
    total = torch.zeros((), dtype=mean_q.dtype, device=mean_q.device)
    for name, (p, q) in {"forward": ("p", "q"), "reverse": ("q", "p")}.items():
        if direction not in (name, "sum"):
            continue
        means, log_stds = {"p": mean_p, "q": mean_q}, {"p": log_std_p, "q": log_std_q}
        if log_std_p is None:
            total = total + categorical_kl(means[p], means[q]).sum(-1)
        else:
            total = total + gaussian_kl(means[p], log_stds[p], means[q], log_stds[q]).sum(-1)
    return total


def policy(options: Options, encoding: Any, output: Tensor, batch: Any) -> Tensor:
    """See gla.losses."""
    target_mean, target_log_std = batch.target
    mean, log_std = encoding.distribution(output, batch.frame)
    absent = target_mean <= NO_ACTION / 2
    discrete = divergence(options.direction, target_mean, None, mean.masked_fill(absent, NO_ACTION), None)
    if batch.discrete.all():
        return discrete
    continuous = divergence(options.direction, target_mean, target_log_std, mean, log_std)
    return torch.where(batch.discrete[:, None], discrete, continuous)
