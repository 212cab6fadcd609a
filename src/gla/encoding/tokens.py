"""The parts of all encodings that are the same: the parts of a token, and how steps become tokens.

One token per step holds everything that is known before acting: the whole last transition and the new observation, (s_{i-1},
a_{i-1}, r_{i-1}, d_{i-1}, s_i), and the improvement that is expected of the agent, eta_i, or, for models that are told so, whether an expert
takes action i. With the whole transition in one
token, a single layer can see the effect of an action.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0  # bounds of a model's outputs; padding has the lower one
NO_ACTION = -1e9  # logit of an action that an environment does not have


class Sizes(NamedTuple):
    """How many numbers a token holds for an observation and for an action, and how many a model outputs.

    spaces: dimensions of the vector spaces of observations and actions; None: the same as the numbers in a token. A token holds fewer
    numbers if vectors are given as coordinates in a subspace that contains all of them (gla.encoding.projected). discrete: whether actions
    are one-hot, for models that have to choose among all actions before they have seen any.
    """

    observation: int
    action: int
    output: int
    spaces: tuple[int, int] | None = None
    discrete: bool = False

    @property
    def dimensions(self) -> tuple[int, int]:
        """Dimensions of the vector spaces of observations and actions."""
        return self.spaces or (self.observation, self.action)

    @property
    def parts(self) -> tuple[int, ...]:
        """How many numbers s, a, r, d, s' and eta have."""
        return (self.observation, self.action, 1, 1, self.observation, 1)

    @property
    def token(self) -> int:
        return sum(self.parts)


class Frames(NamedTuple):
    """The matrices through which an encoding maps B contexts: w (B, o, d) for observations and a (B, u, a) for actions,
    float32, from the environment's d and a dimensions to the o and u numbers of a token."""

    w: Tensor
    a: Tensor


class BaseEncoding:
    """The base of all encodings. Their options have ``sizes`` and ``spanned``. The interface is described in the package."""

    def __init__(self, options: Any, sizes: Sizes | None = None):
        self.options, self.sizes = options, sizes or options.sizes

    def spanned(self, environments: Iterable[tuple[int, int, bool]]) -> Self:
        """Returns the encoding for models whose outputs rotate with their inputs. environments: as in ``Options.spanned``."""
        return type(self)(self.options, self.options.spanned(environments))

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Pads values of each action, (..., a), to all actions that tokens can hold, (..., sizes.action), so that contexts of several
        environments fit into one tensor."""
        return torch.nn.functional.pad(x, (0, self.sizes.action - x.shape[-1]), value=value)


class Encoded(NamedTuple):
    """Encoded steps of B contexts: observation (B, T, o), action (B, T, u), reward (B, T), and end (B, T), which is true if
    an episode ends after the step."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    end: Tensor


def nothing(n: int, sizes: Sizes) -> Encoded:
    """Returns the previous step of n contexts before their first step: an empty one, after which an episode begins."""
    return Encoded(
        torch.zeros(n, 1, sizes.observation), torch.zeros(n, 1, sizes.action), torch.zeros(n, 1), torch.ones(n, 1)
    )


def token(before: Encoded, observation: Tensor, eta: Tensor) -> Tensor:
    """Returns tokens (B, T, token). before: the step before each token; observation: (B, T, o); eta: (B, T)."""
    reward = before.reward
    parts = [before.observation, before.action, reward.unsqueeze(-1), before.end.unsqueeze(-1).to(reward.dtype)]
    return torch.cat([*parts, observation, eta.unsqueeze(-1)], -1)


def tokens(steps: Encoded, eta: Tensor) -> Tensor:
    """Returns the tokens (B, T, token) of whole windows. eta: (B, T).

    Token i has the transition of step i - 1. Before the first step the transition is zero and its end is true, since an
    episode begins.
    """

    def later(x: Tensor, first: float) -> Tensor:
        return torch.cat([torch.full_like(x[:, :1], first), x[:, :-1]], 1)

    before = Encoded(
        later(steps.observation, 0.0), later(steps.action, 0.0), later(steps.reward, 0.0), later(steps.end, True)
    )
    return token(before, steps.observation, eta)
