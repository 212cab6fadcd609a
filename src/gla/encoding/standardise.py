"""Standardises values by their mean and deviation in a context so far."""

import torch
from torch import Tensor

CLIP = 5.0  # deviations
EPSILON = 1e-6


class Standardiser:
    """Standardises each step of B contexts by the mean and deviation of all steps up to it. The result is the same for steps
    that come one at a time and for steps that come all at once."""

    def __init__(self):
        self.n = None

    def __call__(self, x: Tensor) -> Tensor:
        """Standardises x (B, T, d), the next steps of each context."""
        raw = x.double()
        if self.n is None:
            self.n = torch.zeros(len(x), 1, 1, dtype=torch.float64, device=x.device)
            self.first = raw[:, :1].clone()
            self.total, self.squares = torch.zeros_like(self.first), torch.zeros_like(self.first)
        self.first = torch.where(self.n == 0, raw[:, :1], self.first)
        shifted = raw - self.first  # relative to the first step, to avoid cancellation
        n = self.n + torch.arange(1, x.shape[1] + 1, dtype=torch.float64, device=x.device).view(1, -1, 1)
        total, squares = self.total + shifted.cumsum(1), self.squares + shifted.square().cumsum(1)
        mean = total / n
        variance = (squares / n - mean.square()).clamp_min(0)
        self.n, self.total, self.squares = n[:, -1:], total[:, -1:], squares[:, -1:]
        return ((shifted - mean) / (variance + EPSILON).sqrt()).clamp(-CLIP, CLIP).to(x.dtype)

    def forget(self, rows: Tensor) -> None:
        """Starts again in the contexts for which (B,) bool is true."""
        if self.n is not None:
            keep = ~rows.view(-1, 1, 1)
            self.n, self.total, self.squares = self.n * keep, self.total * keep, self.squares * keep
