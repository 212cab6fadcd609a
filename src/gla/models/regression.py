"""Bayesian linear regression on random or learned features, in closed form, for many contexts at once.

Features of x (N, T, D) are 1, x, two squared norms, and F rectified projections, relu(x W + b). Weights have independent Gaussian priors.
How much noise targets have, and how far they are from linear, is chosen for each context and target by the evidence (MacKay, 1992), from a
fixed grid. What matters for the targets is found in closed form too: the average outer product of the prediction's gradients is a metric of
x, in which the features are made anew (Radhakrishnan et al., 2024).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

OBSERVATION, ACTION = 64, 16  # dimensions that contexts of any environment are projected to
NOISES = (0.02, 0.1, 0.4)  # standard deviations of targets, whose own is about 1
NONLINEAR = (0.3, 3.0)  # factors on the prior deviations of the rectified features' weights
SHARPEST = 0.9  # weight of the metric that was found; the rest is the identity
LOG_TAU = math.log(2 * math.pi)
AT_ONCE = 8  # contexts that are in memory in double precision at a time
POINTS = 300  # most steps that a metric is found from


class Basis(nn.Module):
    """The features and their prior. The weights are of projected inputs, so that they fit environments of all sizes. Their initial
    distribution is isotropic."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(1.5 * torch.randn(OBSERVATION + ACTION, width))
        self.bias = nn.Parameter(torch.randn(width))
        # Logarithms of the prior deviations of the weights of: a constant and x; both squared norms; the rectified features.
        self.linear = nn.Parameter(torch.zeros(1))
        self.squares = nn.Parameter(torch.full((2,), math.log(0.3)))
        self.rectified = nn.Parameter(torch.full((width,), -0.5 * math.log(width)))

    def turned(self, n: int, observation: int, action: int, generator: torch.Generator) -> Tensor:
        """Returns the weights in the coordinates of n contexts, (n, D, F), under a random projection each."""
        parts = []
        for size, space, own in zip(
            (observation, action), (OBSERVATION, ACTION), self.weight.split((OBSERVATION, ACTION)), strict=True
        ):
            projection = torch.randn(n, space, size, generator=generator).to(own.device)
            # Columns are orthonormal if there is room for that.
            projection = torch.linalg.qr(projection).Q if size <= space else projection / math.sqrt(space)
            parts.append(projection.transpose(1, 2) @ own)
        return torch.cat(parts, 1) / math.sqrt(observation + action)

    def deviations(self, inputs: int) -> Tensor:
        """Returns the prior deviations of all weights, (len(NONLINEAR), 1 + D + 2 + F), of inputs of D dimensions."""
        return torch.stack([
            torch.cat([self.linear.expand(1 + inputs), self.squares, self.rectified + math.log(scale)]).exp() for scale in NONLINEAR
        ])  # fmt: skip

    def features(self, x: Tensor, weight: Tensor, actions: int) -> Tensor:
        """Returns the features of x (N, T, D), (N, T, 1 + D + 2 + F). weight: (N, D, F). actions: how many of the last dimensions of x are
        those of an action."""
        rectified = torch.relu(torch.baddbmm(self.bias.expand(len(x), 1, -1), x, weight))
        observation, action = x[..., :-actions], x[..., -actions:]
        squares = action.square().sum(-1, keepdim=True), observation.square().mean(-1, keepdim=True)
        return torch.cat([torch.ones_like(squares[0]), x, *squares, rectified], -1)

    @torch.no_grad()
    def metric(self, x: Tensor, weight: Tensor, mean: Tensor, actions: int) -> Tensor:
        """Returns the square root of the average outer product of gradients of the prediction, mixed with the identity, (N, D, D), with a
        mean square of 1. x: (N, T, D). mean: (N, 1 + D + 2 + F, o), the weights of the prediction."""
        n, t, d = x.shape
        x = x[:, :: -(-t // POINTS)]
        on = (torch.baddbmm(self.bias.expand(n, 1, -1), x, weight) > 0).to(x.dtype)
        linear, squares, rectified = mean[:, 1 : 1 + d], mean[:, 1 + d : 3 + d], mean[:, 3 + d :]
        # The gradient is linear + W diag(on) rectified, and that of the squares.
        gradient = (weight.unsqueeze(1) * on.unsqueeze(2)).flatten(1, 2) @ rectified
        gradient = gradient.unflatten(1, (-1, d)) + linear.unsqueeze(1)
        of_action = torch.cat([x.new_zeros(d - actions), x.new_full((actions,), 2.0)])
        of_observation = torch.cat([x.new_full((d - actions,), 2.0 / max(1, d - actions)), x.new_zeros(actions)])
        for i, factor in enumerate((of_action, of_observation)):
            gradient = gradient + (x * factor).unsqueeze(-1) * squares[:, None, i : i + 1]
        flat = gradient.transpose(1, 2).flatten(2)  # (N, D, T o)
        found = flat @ flat.transpose(1, 2)
        found = found / found.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-9).view(-1, 1, 1)
        found = SHARPEST * found + (1 - SHARPEST) * torch.eye(d, device=x.device)
        values, vectors = torch.linalg.eigh(found)
        values = values.clamp_min(1e-6)
        values = (values / values.mean(1, keepdim=True)).sqrt()
        return vectors * values.unsqueeze(1) @ vectors.transpose(1, 2)


def _sums(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the sums over steps of products of features, of features and targets, and of squares of targets, in double precision."""
    x, y = features.double(), targets.double()
    return x.transpose(1, 2) @ x, x.transpose(1, 2) @ y, y.square().sum(1)


class Posterior(NamedTuple):
    """What is known of the weights. mean: (N, F, o). draw: (N, F, o), a draw from the posterior minus its mean; None if none was asked for.
    evidence: (N, o), the logarithm of the density of all targets under the prior, averaged over the grid."""

    mean: Tensor
    draw: Tensor | None
    evidence: Tensor


def posterior(features: Tensor, targets: Tensor, deviations: Tensor, noise: Tensor | None = None) -> Posterior:
    """Returns the posterior under that noise and that prior of the grid which have the highest evidence in each context and for each target.

    features: (N, T, F), of which the first is 1; zero for steps that do not count. targets: (N, T, o), zero there too. deviations: (S, F), of
    S priors. noise: (N, F, o), standard normal numbers that the draw is made from. In double precision, since noise may be a thousandth of
    what it is added to. The evidence alone has a gradient. It is found from the mean as if that were fixed, since the mean is where the density
    is highest, and from the inverse of the precision, which is faster than the gradient of a decomposition.
    """
    square, product, total = (
        torch.cat(x) for x in zip(*map(_sums, features.split(AT_ONCE), targets.split(AT_ONCE)), strict=True)
    )
    steps, one = features[..., 0].detach().double().sum(1, keepdim=True), torch.eye(features.shape[2]).to(square)
    evidences, best = [], None
    for spread in deviations.double().unsqueeze(-1):  # (F, 1); weights are found in units of their prior deviation
        scaled, own = square * (spread * spread.T), product * spread
        for deviation in NOISES:
            with torch.no_grad():
                factor = torch.linalg.cholesky(torch.add(one, scaled, alpha=1 / deviation**2))
                mean = torch.cholesky_solve(own / deviation**2, factor)
                volume = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)
            misfit = (total + (mean * (scaled @ mean - 2 * own)).sum(1)) / deviation**2 + mean.square().sum(1)
            if torch.is_grad_enabled():
                change = (torch.cholesky_inverse(factor.detach()) * (scaled - scaled.detach())).sum(
                    (1, 2)
                ) / deviation**2
                volume = volume + change.unsqueeze(1)
            evidence = -0.5 * (misfit + volume + steps * (2 * math.log(deviation) + LOG_TAU))
            evidences.append(evidence)
            found = [spread * mean]
            if noise is not None:
                found.append(spread * torch.linalg.solve_triangular(factor.transpose(1, 2), noise.double(), upper=True))
            if best is None:
                best, highest = found, evidence
                continue
            better = (evidence > highest).unsqueeze(1)
            best = [torch.where(better, a, b) for a, b in zip(found, best, strict=True)]
            highest = torch.maximum(evidence, highest)
    mixed = torch.logsumexp(torch.stack(evidences), 0) - math.log(len(evidences))
    mean, draw = (*best, None)[:2]
    return Posterior(mean.float(), None if draw is None else draw.float(), mixed)
