"""What every encoding shares: the parts of a token, and how steps become tokens.

One token per step holds everything that is known before acting: the whole last transition and the new observation,
(s_{i-1}, a_{i-1}, r_{i-1}, d_{i-1}, s_i), and what is asked of the agent, eta_i. With the transition in one token, a single
layer sees what an action did.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0  # of a model's outputs, and of what is padded
NO_ACTION = -1e9  # logit of an action that an environment does not have


class Sizes(NamedTuple):
    """How many numbers a token holds of an observation and of an action, and how many a model puts out.

    spaces: dimensions of the spaces that observations and actions are vectors in; None: as many as there are numbers. There are
    fewer numbers where vectors are told by coordinates in a subspace that holds all of them (gla.encoding.projected).
    """

    observation: int
    action: int
    output: int
    spaces: tuple[int, int] | None = None

    @property
    def dimensions(self) -> tuple[int, int]:
        """Of the spaces that observations and actions are vectors in."""
        return self.spaces or (self.observation, self.action)

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers in s, a, r, d, s' and eta."""
        return (self.observation, self.action, 1, 1, self.observation, 1)

    @property
    def token(self) -> int:
        return sum(self.parts)


class Frames(NamedTuple):
    """What an encoding sees B contexts through: w (B, o, d) for observations and a (B, u, a) for actions, float32, from the
    environment's d and a dimensions to a token's o and u numbers."""

    w: Tensor
    a: Tensor


class BaseEncoding:
    """What encodings have in common, whose options say ``sizes`` and ``spanned``. See the package for the interface."""

    def __init__(self, options: Any, sizes: Sizes | None = None):
        self.options, self.sizes = options, sizes or options.sizes

    def spanned(self, environments: Iterable[tuple[int, int]]) -> Self:
        """The same for models whose outputs turn with what they see. environments: as of ``Options.spanned``."""
        return type(self)(self.options, self.options.spanned(environments))

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Something of each action, (..., a), to all actions that the tokens can hold, (..., sizes.action), so that contexts of
        several environments are one tensor."""
        return torch.nn.functional.pad(x, (0, self.sizes.action - x.shape[-1]), value=value)


class Encoded(NamedTuple):
    """Steps of B contexts as a model sees them: observation (B, T, o), action (B, T, u), reward (B, T), and end (B, T), true where
    an episode ends after the step."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    end: Tensor


def nothing(n: int, sizes: Sizes) -> Encoded:
    """What n contexts hold before their first step: there was none, and an episode begins."""
    return Encoded(
        torch.zeros(n, 1, sizes.observation), torch.zeros(n, 1, sizes.action), torch.zeros(n, 1), torch.ones(n, 1)
    )


def token(before: Encoded, observation: Tensor, eta: Tensor) -> Tensor:
    """Tokens (B, T, token). before: the steps before each, observation: (B, T, o) of each, eta: (B, T)."""
    reward = before.reward
    parts = [before.observation, before.action, reward.unsqueeze(-1), before.end.unsqueeze(-1).to(reward.dtype)]
    return torch.cat([*parts, observation, eta.unsqueeze(-1)], -1)


def tokens(steps: Encoded, eta: Tensor) -> Tensor:
    """Tokens (B, T, token) of whole windows. eta: (B, T).

    Token i takes step i - 1's transition. Before the first step the transition is zero and its end is true: an episode begins.
    """

    def later(x: Tensor, first: float) -> Tensor:
        return torch.cat([torch.full_like(x[:, :1], first), x[:, :-1]], 1)

    before = Encoded(
        later(steps.observation, 0.0), later(steps.action, 0.0), later(steps.reward, 0.0), later(steps.end, True)
    )
    return token(before, steps.observation, eta)
