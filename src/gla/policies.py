"""Policies as functions of observations, and the sampling of actions."""

from typing import NamedTuple

import torch
from torch import Tensor

OBSERVATION_CLIP = 10.0  # deviations


class NumericalError(RuntimeError):
    """A number is not finite. The error names the stage, the environment, the lifetime or seed, and the step."""


def tanh_(x: Tensor) -> Tensor:
    """Computes tanh in place with an error of at most 2e-7, several times as fast on a CPU as PyTorch's tanh."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


class Policy(NamedTuple):
    """K policies as functions of the raw observation. A snapshot in a store has these fields.

    w0, w1, w2: (K, d, h), (K, h, h), (K, h, a). b0, b1, b2: (K, 1, h), (K, 1, h), (K, 1, a).
    log_std: (K, a), zero and unused for discrete actions.
    observation_mean, observation_std: (K, d), the normaliser; 0 and 1 where there is none.
    """

    w0: Tensor
    b0: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    log_std: Tensor
    observation_mean: Tensor
    observation_std: Tensor

    def normalise(self, observation: Tensor) -> Tensor:
        """Normalises raw observations (K, B, d) for the networks."""
        x = (observation - self.observation_mean.unsqueeze(1)) / self.observation_std.unsqueeze(1)
        return x.clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)

    def __call__(self, observation: Tensor) -> Tensor:
        """Maps raw observations (K, B, d) to means, or to logits of discrete actions, (K, B, a)."""
        h = tanh_(torch.baddbmm(self.b0, self.normalise(observation), self.w0))
        h = tanh_(torch.baddbmm(self.b1, h, self.w1))
        return torch.baddbmm(self.b2, h, self.w2)


def sizes(d: int, h: int, a: int) -> Policy:
    """Returns the sizes of each field of one policy with d observation dimensions, h hidden units and a action dimensions."""
    return Policy((d, h), (1, h), (h, h), (1, h), (h, a), (1, a), (a,), (d,), (d,))


def sample_action(mean: Tensor, log_std: Tensor | None, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
    """Draws actions (..., a) from means and log-deviations, or integers (...) from logits if log_std is None."""
    if log_std is None:  # Gumbel-max
        uniform = torch.rand(mean.shape, generator=generator).clamp_min(1e-20)
        return (mean - temperature * (-uniform.log()).log()).argmax(-1)
    return mean + temperature * log_std.exp() * torch.randn(mean.shape, generator=generator)
