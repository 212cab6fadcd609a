"""From the model's 16-dimensional output to a distribution over the environment's actions, and the
divergences between two of those.

Everything is computed in the environment's own action space: a Gaussian over a < 16 dimensions has
a singular covariance once it is projected to 16, and no divergence there.
"""

import math

import torch
from torch import Tensor

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


def pull_back(output: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Model outputs (B, T, 32) under projections A (B, 16, a) to means and log-deviations (B, T, a).

    The mean is A' m, the inverse of the projection. The variance is the diagonal of
    A' diag(s^2) A, the marginal of the projected-back Gaussian, so that an isotropic output stays
    isotropic in every frame. For discrete actions the means are the logits: inner products of the
    output with each action's embedding.
    """
    mean, log_std = output.chunk(2, -1)
    variance = (2 * log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)).exp() @ projection.square()
    # Padded columns of A are zero; their variance is 0 and must not reach the logarithm.
    return mean @ projection, 0.5 * variance.clamp_min(math.exp(2 * LOG_STD_MIN)).log()


def gaussian_kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p || q) of diagonal Gaussians, per dimension; sum the last axis for the divergence."""
    ratio = (2 * (log_std_p - log_std_q)).exp()
    return log_std_q - log_std_p + 0.5 * (ratio + (mean_p - mean_q).square() * (-2 * log_std_q).exp() - 1)


def categorical_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p || q) of categoricals with these logits, per outcome; sum the last axis for the divergence."""
    log_p, log_q = torch.log_softmax(logits_p, -1), torch.log_softmax(logits_q, -1)
    return log_p.exp() * (log_p - log_q)


def divergence(kind: str, mean_p: Tensor, log_std_p: Tensor | None, mean_q: Tensor, log_std_q: Tensor | None) -> Tensor:
    """Equation 1's D between the source p and the model q, (..., a) to (...).

    kind: forward KL(p || q), reverse KL(q || p), or their sum. Categorical where log_std_p is None,
    with the means as logits.
    """
    total = torch.zeros((), dtype=mean_q.dtype, device=mean_q.device)
    for name, (p, q) in {"forward": ("p", "q"), "reverse": ("q", "p")}.items():
        if kind not in (name, "sum"):
            continue
        means, log_stds = {"p": mean_p, "q": mean_q}, {"p": log_std_p, "q": log_std_q}
        if log_std_p is None:
            total = total + categorical_kl(means[p], means[q]).sum(-1)
        else:
            total = total + gaussian_kl(means[p], log_stds[p], means[q], log_stds[q]).sum(-1)
    return total
