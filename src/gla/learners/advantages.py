"""Generalised advantage estimation (Schulman et al., 2016)."""

import torch
from torch import Tensor


def advantages(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, lam: float
) -> Tensor:
    """Advantages along the last axis, (..., T).

    next_value: value of the observation that followed, which is the *final* one where an episode
    ended. A terminated step has no future value; a truncated one has, but no later advantage.
    """
    delta = reward + gamma * next_value * (~terminated) - value
    keep = gamma * lam * (~(terminated | truncated)).to(reward.dtype)
    result = torch.empty_like(reward)
    running = torch.zeros_like(reward[..., 0])
    for t in reversed(range(reward.shape[-1])):
        running = delta[..., t] + keep[..., t] * running
        result[..., t] = running
    return result
