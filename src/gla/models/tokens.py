"""What a sequence model is given: one token per step holds everything known before acting.

That is the whole last transition and the new observation, (s_{i-1}, a_{i-1}, r_{i-1}, d_{i-1}, s_i),
and what is asked of the agent, eta_i. With the transition in one token a single layer sees what an
action did.
"""

import torch
from torch import Tensor

from gla.environments import MAX_ACTION, MAX_OBSERVATION

PARTS = (MAX_OBSERVATION, MAX_ACTION, 1, 1, MAX_OBSERVATION, 1)  # numbers in s, a, r, d, s', eta
TOKEN = sum(PARTS)


def tokens(observation: Tensor, action: Tensor, reward: Tensor, end: Tensor, eta: Tensor) -> Tensor:
    """Tokens (B, T, TOKEN) of whole windows.

    observation (B, T, 64), action (B, T, 16), reward (B, T), end (B, T) and eta (B, T) belong to
    step i; token i takes step i - 1's transition. Before the first step the transition is zero and
    its end is true: an episode begins.
    """
    before = torch.cat([observation, action, reward.unsqueeze(-1), end.unsqueeze(-1).to(reward.dtype)], -1)
    first = torch.zeros_like(before[:, :1])
    first[..., -1] = 1.0
    before = torch.cat([first, before[:, :-1]], 1)
    return torch.cat([before, observation, eta.unsqueeze(-1)], -1)
