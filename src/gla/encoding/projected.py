"""Random projections of observations to 64 and of actions to 16 dimensions (Kirsch et al., 2023, Section 2).

Each context has its own matrices, so that a model can rely on no coordinate and has to learn from its context. Distributions
of actions are in the environment's own space: a Gaussian over a < 16 dimensions has a singular covariance after a projection
to 16, so that no divergence is defined there.

All vectors of a context lie in the span of its matrices' columns, which has as many dimensions as the environment's
observations and actions: often a tenth of 64 and 16. A model whose outputs rotate with its inputs (``turns``, such as the
equivariant one) gives the same actions in every basis of that span. It is therefore given only the coordinates in one basis
(``spanned``), which is the same function for a fraction of the arithmetic.
"""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gla.encoding.standardise import Standardiser
from gla.encoding.tokens import LOG_STD_MAX, LOG_STD_MIN, BaseEncoding, Frames, Sizes
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment
from gla.options import Options as Base

OBSERVATION, ACTION = 64, 16  # dimensions (Kirsch et al., 2023, Section 2)
Pool = Annotated[int, Field(ge=1, le=2**40)]


class Options(Base):
    """Observations are projected to 64 dimensions and actions to 16."""

    kind: Literal["projected"] = "projected"
    projections: Literal["gaussian", "identity"] = "gaussian"
    """gaussian: random projections that are drawn from a seed; identity: padding with zeros (for a single task)."""
    train: Pool = 16384
    """Number of projections to train with. In General-Purpose In-Context Learning, about 2^14 are needed before learning
    generalises."""
    validation: Pool = 1024
    """Number of projections for the held-out loss. No model is trained with them."""
    standardise: bool = True
    """Whether observations and rewards are standardised by their mean and deviation in the context so far."""

    sizes: ClassVar[Sizes] = Sizes(OBSERVATION, ACTION, 2 * ACTION)
    read_with: ClassVar = {"train": ("projections", "gaussian"), "validation": ("projections", "gaussian")}

    def pool(self, training: bool) -> int:
        """Returns the number of frames to draw from, in training or for the held-out loss."""
        return self.train if training else self.validation

    def spanned(self, environments: Iterable[tuple[int, int, bool]]) -> Sizes:
        """Returns the sizes of tokens that hold coordinates in the span of a frame. environments: observation and action
        dimensions of each environment that contexts may have, and whether its actions are discrete."""
        observation, action, _ = (max(sizes) for sizes in zip(*environments, strict=True))
        return Sizes(observation, action, 2 * action, (OBSERVATION, ACTION))


class Seen:
    """The state of contexts: running moments of observations and rewards."""

    def __init__(self):
        self.observation, self.reward = Standardiser(), Standardiser()

    def forget(self, rows: Tensor) -> None:
        """Starts again in the contexts for which (B,) bool is true."""
        self.observation.forget(rows)
        self.reward.forget(rows)


def projection(seed: int, observation_size: int, action_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the matrices of one projection: W (64, d) for observations and A (16, a) for actions, float32.

    W has entries N(0, 1/d), so that observations of unit variance have unit variance in every coordinate for all d. A has
    orthonormal columns (uniform on the Stiefel manifold), so that its transpose takes a projected action back exactly. For
    discrete actions column i is action i.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    w = rng.standard_normal((OBSERVATION, observation_size)) / np.sqrt(observation_size)
    q, r = np.linalg.qr(rng.standard_normal((ACTION, action_size)))
    return w.astype(np.float32), (q * np.sign(np.diagonal(r))).astype(np.float32)


def identity(observation_size: int, action_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the projection that pads with zeros."""
    return np.eye(OBSERVATION, observation_size, dtype=np.float32), np.eye(ACTION, action_size, dtype=np.float32)


def _in_span(w: Tensor, a: Tensor, sizes: Sizes) -> Frames:
    """Returns frames w (B, 64, d) and a (B, 16, a) as coordinates in orthonormal bases of their spans, padded with zeros to
    ``sizes``.

    With W = QR these are the coordinates in R, and inner products of observations do not change. Actions keep a random basis,
    from the first rows of A, so that tokens do not reveal more about the environment's own coordinates than before.
    """
    basis, r = torch.linalg.qr(a[:, : a.shape[2]])
    basis = basis * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)
    rows = torch.linalg.qr(w, mode="r").R
    return Frames(
        *(
            torch.nn.functional.pad(x, (0, 0, 0, n - x.shape[1]))
            for x, n in ((rows, sizes.observation), (basis, sizes.action))
        )
    )


class Encoding(BaseEncoding):
    """The interface is described in the package. The methods below do the same arithmetic for whole windows and for single
    steps (T = 1).
    """

    @property
    def varies(self) -> bool:
        """Returns whether contexts have different frames, which are then drawn from seeds."""
        return self.options.projections == "gaussian"

    def check(self, env_id: str, spec: EnvSpec) -> None:
        """Raises UnsupportedEnvironment if the environment does not fit, in one line that names the limit."""
        for what, size, most in (
            ("observation dimensions", spec.observation_size, OBSERVATION),
            ("action dimensions", spec.action_size, ACTION),
        ):
            if size > most:
                raise UnsupportedEnvironment(
                    f"environment {env_id!r}: {size} {what} (expected at most {most} for the encoding 'projected')"
                )

    def frames(self, seeds: np.ndarray | None, n: int, spec: EnvSpec) -> Frames:
        """Returns the frames of n contexts, drawn from seeds (n,) if contexts differ."""
        d, a = spec.observation_size, spec.action_size
        drawn = [projection(int(s), d, a) for s in seeds] if self.varies else [identity(d, a)]
        frames = Frames(*(torch.from_numpy(np.stack(x)) for x in zip(*drawn, strict=True)))
        frames = frames if self.sizes.spaces is None else _in_span(*frames, self.sizes)
        return frames if self.varies else Frames(*(x.expand(n, -1, -1) for x in frames))

    def seen(self) -> Seen:
        """Returns the state of empty contexts."""
        return Seen()

    def observe(self, x: Tensor, frames: Frames, seen: Seen) -> Tensor:
        """Projects raw observations (B, T, d) to (B, T, sizes.observation)."""
        x = seen.observation(x) if self.options.standardise else x
        return (frames.w @ x.transpose(1, 2)).transpose(1, 2)

    def act(self, action: Tensor, frames: Frames) -> Tensor:
        """Projects actions (B, T, a), or integers (B, T), to (B, T, sizes.action)."""
        if action.dtype == torch.long:
            return frames.a.transpose(1, 2)[torch.arange(len(action), device=action.device)[:, None], action]
        return (frames.a @ action.transpose(1, 2)).transpose(1, 2)

    def reward(self, reward: Tensor, seen: Seen) -> Tensor:
        """Standardises rewards (B, T) to (B, T), if the options say so."""
        return seen.reward(reward.unsqueeze(-1)).squeeze(-1) if self.options.standardise else reward

    def distribution(self, output: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Maps outputs (B, T, sizes.output) to means and log-deviations (B, T, a) in the environment's own space. a: the
        frames' matrices for actions.

        The mean is A' m, the inverse of the projection. The variance is the diagonal of A' diag(s^2) A, the marginal of the
        projected-back Gaussian, so that an isotropic output stays isotropic in every frame. For discrete actions the means are
        the logits: inner products of the output with each action's embedding.
        """
        mean, log_std = output.chunk(2, -1)
        variance = (2 * log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)).exp() @ a.square()
        # Padded columns of A are zero. Their variance is 0, and must not reach the logarithm.
        return mean @ a, 0.5 * variance.clamp_min(math.exp(2 * LOG_STD_MIN)).log()
