"""Observations and rewards as they are, and actions in units of their bounds, for models that scale and project by themselves.

Such a model remembers steps and looks at all of them again whenever it learns, so that it can use one scale for all of them. A scale that
changes with each step would make early steps look different from late ones.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from gla.encoding.tokens import LOG_STD_MAX, LOG_STD_MIN, BaseEncoding, Frames, Sizes
from gla.environments.spaces import EnvSpec
from gla.options import Options as Base


class Options(Base):
    """Observations and rewards are kept as they are. Continuous actions are scaled so that their bounds are -1 and 1."""

    kind: Literal["scaled"] = "scaled"

    sizes: ClassVar[Sizes] = Sizes(1, 1, 2)

    def pool(self, training: bool) -> int:
        """Returns the number of frames to draw from: one, since all contexts are alike."""
        return 1

    def spanned(self, environments: Iterable[tuple[int, int, bool]]) -> Sizes:
        """Returns the sizes of tokens for contexts of these environments: observation dimensions, action dimensions and whether actions are
        discrete."""
        observation, action, discrete = (max(sizes) for sizes in zip(*environments, strict=True))
        return Sizes(observation, action, 2 * action, discrete=discrete)


class Encoding(BaseEncoding):
    """The interface is described in the package."""

    varies: ClassVar[bool] = False

    def check(self, env_id: str, spec: EnvSpec) -> None:
        """Any environment fits."""

    def frames(self, seeds: None, n: int, spec: EnvSpec) -> Frames:
        """Returns w (n, 0, 0), which is empty, and a (n, u + 1, a), the half widths of the bounds on its diagonal, and the middles in its last
        row. A side without a bound counts as one at -1 or 1, and so does one that is not known, as in histories."""
        half, middle = np.ones(spec.action_size, np.float32), np.zeros(spec.action_size, np.float32)
        if spec.low is not None and not spec.discrete:
            bounded = np.isfinite(spec.low) & np.isfinite(spec.high) & (spec.low < spec.high)
            half[bounded] = 0.5 * (spec.high - spec.low)[bounded]
            middle[bounded] = 0.5 * (spec.high + spec.low)[bounded]
        rows = np.concatenate(
            [np.diag(half), np.zeros((self.sizes.action - len(half), len(half)), np.float32), middle[None]]
        )
        return Frames(torch.empty(n, 0, 0), torch.from_numpy(rows).expand(n, -1, -1))

    def seen(self) -> None:
        return None

    def observe(self, x: Tensor, frames: Frames, seen: None) -> Tensor:
        """Pads observations (B, T, d) to (B, T, sizes.observation)."""
        return pad(x, (0, self.sizes.observation - x.shape[-1]))

    def act(self, action: Tensor, frames: Frames) -> Tensor:
        """Maps integer actions (B, T), or continuous ones (B, T, a), which are clipped to their bounds, to (B, T, sizes.action)."""
        if action.dtype == torch.long:
            return one_hot(action, self.sizes.action).float()
        half, middle = frames.a[:, :-1].sum(1), frames.a[:, -1]
        return self.pad(((action - middle.unsqueeze(1)) / half.unsqueeze(1)).clamp(-1, 1))

    def reward(self, reward: Tensor, seen: None) -> Tensor:
        return reward

    def distribution(self, output: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Maps outputs (B, T, sizes.output) to means, or logits, and log-deviations (B, T, a) in the environment's own space."""
        mean, log_std = output.chunk(2, -1)
        scale = a[:, :-1].sum(1, keepdim=True)
        log_std = log_std[..., : a.shape[-1]].clamp(LOG_STD_MIN, LOG_STD_MAX) + scale.log()
        return mean @ a[:, :-1] + a[:, -1:], log_std
