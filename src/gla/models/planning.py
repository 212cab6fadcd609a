"""Plans in imagination: sampled sequences of actions on top of a linear feedback policy, improved by their imagined returns.

This is model predictive path integral control (Williams et al., 2017) around a policy that is searched for at the same time, as random
search does in real environments (Mania et al., 2018). A sequence alone would have to balance what is unstable blindly.

Candidates come last in all shapes, since products of matrices with few rows and many columns are several times as fast as their transposes.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

DEVIATION, LEAST = 0.7, 0.05  # of sampled actions, whose bounds are -1 and 1: at first, and the least
SHARPNESS = 13.0  # weight of a sequence: exp(SHARPNESS * return), in standard deviations of all returns
RATE = 0.3  # share of the way that the policy moves
FARTHEST = 5.0  # observations beyond so many deviations look the same to the policy
HOLDS = (1, 4, 12)  # steps for which thirds of the sampled sequences hold their noise


def held_noise(shape: tuple[int, int, int, int], generator: torch.Generator) -> Tensor:
    """Returns standard normal numbers (N, H, a, K) that are held for some of the H steps, since few systems answer to white noise."""
    noise = torch.randn(shape, generator=generator)
    _, steps, _, candidates = shape
    third = candidates // len(HOLDS)
    for i, hold in enumerate(HOLDS):
        own = slice(i * third, (i + 1) * third)
        noise[..., own] = noise[..., own][:, torch.arange(steps) // hold * hold]
    return noise


def chosen(scores: Tensor, discrete: bool) -> Tensor:
    """Returns actions (N, a, ...) for scores: one-hot ones of the highest score, or continuous ones within -1 and 1."""
    if not discrete:
        return scores.clamp(-1, 1)
    return one_hot(scores.argmax(1), scores.shape[1]).movedim(-1, 1).to(scores.dtype)


def answers(policy: Tensor, turns: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns what policies answer to observations, a function of (N, o, K) to (N, a, K). policy: (N, a, o + 1), linear in the observation
    and 1. turns: (N, a, o + 1, k), what is added to the policies of the first k candidates."""
    bias, weight, k = policy[..., -1:], policy[..., :-1], turns.shape[3]
    own_weight, own_bias = turns[:, :, :-1], turns[:, :, -1]

    def answer(observation: Tensor) -> Tensor:
        seen = observation.clamp(-FARTHEST, FARTHEST)
        found = torch.baddbmm(bias, weight, seen)
        # Products of many small matrices take longer than their sums.
        found[..., :k] += (own_weight * seen[:, None, :, :k]).sum(2) + own_bias
        return found

    return answer


def improve(
    sequence: Tensor, policy: Tensor, imagine: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    rounds: int, candidates: int, feedback: float, generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns an improved plan, and the first action that it leads to, (N, a).

    sequence: (N, H, a), what is added to the actions of the policy (N, a, o + 1), a linear function of the observation and 1. imagine: maps
    sequences (N, H, a, K), a policy and its turns (``answers``) to returns (N, K) and first actions (N, a, K). feedback: deviation of sampled
    policies. The first half of the candidates has policies of their own, half of these alone. The plan itself is among them, and so are its
    sequence without any policy, and doing nothing.
    """
    n, steps, actions = sequence.shape
    deviation, first = torch.full_like(sequence, DEVIATION), sequence[:, 0]
    for _ in range(rounds):
        changes = deviation.unsqueeze(-1) * held_noise((n, steps, actions, candidates), generator).to(sequence)
        changes[..., : candidates // 4] = 0
        turns = torch.randn(n, *policy.shape[1:], candidates // 2, generator=generator).to(policy)
        turns = turns * (feedback / math.sqrt(policy.shape[-1]))
        turns[..., 0], turns[..., 1], turns[..., 2] = 0, -policy, -policy
        changes[..., 2] = -sequence
        returns, firsts = imagine(sequence.unsqueeze(-1) + changes, policy, turns)
        better = (returns - returns.amax(1, keepdim=True)) / (returns.std(1, keepdim=True) + 1e-6)
        weight = torch.softmax(SHARPNESS * better, 1)[:, None, None]
        change = (weight * changes).sum(-1)
        deviation = (weight * (changes - change.unsqueeze(-1)).square()).sum(-1).sqrt().clamp(LEAST, 1.0)
        sequence = sequence + change
        policy = policy + RATE * (weight[..., : candidates // 2] * turns).sum(-1)
        first = (weight[:, 0] * firsts).sum(-1)
    return sequence, policy, first
