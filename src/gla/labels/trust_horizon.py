"""The best action, judged by the rewards soon after random actions, so that no oracle is needed (state-action distillation, Chen et
al., 2024).

In each state of a lifetime the label is the action after which the sum of the next few rewards was highest on average, no
matter which actions came in between. Under a uniform policy this is the optimal action if all rewards that matter lie within
the horizon.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gla.labels.options import LabelOptions
from gla.options import ConfigError, Count
from gla.windows.chunks import Drawn
from gla.windows.rows import Rows


class Options(LabelOptions):
    """The action after which the lifetime's random actions earned most on average, in worlds with discrete observations and
    actions.
    """

    kind: Literal["trust_horizon"] = "trust_horizon"
    horizon: Count = 10
    """Number of steps whose rewards are summed to judge an action."""

    needs: ClassVar[Mapping[str, frozenset[str]]] = {"action": frozenset()}


def updates(drawn: Drawn, last: int) -> np.ndarray:
    """See gla.labels. Labels are computed from the whole lifetime, so that they count as those of its last update."""
    return np.full_like(drawn.update, last)


def action(options: Options, rows: Rows, drawn: Drawn) -> Tensor:
    """See gla.labels."""
    best = rows.derived(options, lambda: torch.from_numpy(_best(options.horizon, rows)).to(rows.done.device))
    return best[torch.from_numpy(drawn.index).to(best.device)]


def soon(reward: np.ndarray, done: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each step, the sum of the next ``horizon`` rewards of its episode, and whether these, or all up to the
    episode's end, are known. Both are (streams, steps), like rewards and ends of episodes.
    """
    total, alive = np.zeros(reward.shape), np.ones(reward.shape, bool)
    for k in range(horizon):
        later = np.zeros(reward.shape)
        later[:, : reward.shape[1] - k] = reward[:, k:]
        total += later * alive
        ends = np.zeros(reward.shape, bool)
        ends[:, : reward.shape[1] - k] = done[:, k:]
        alive &= ~ends
    known = ~alive
    known[:, : max(0, reward.shape[1] - horizon + 1)] = True
    return total, known


def _best(horizon: int, rows: Rows) -> np.ndarray:
    """Returns the label of every step, (streams * steps,)."""
    observation, taken = rows.steps["observation"].cpu().numpy(), rows.steps["action"].cpu().numpy()
    if not rows.spec.states or not rows.spec.discrete:
        raise ConfigError(
            "labels.kind: 'trust_horizon' for observations or actions that are not counted (expected sources in tabular worlds)"
        )
    shape = rows.streams, rows.length
    total, known = soon(
        rows.steps["reward"].cpu().numpy().reshape(shape), rows.done.cpu().numpy().reshape(shape), horizon
    )
    lifetime = np.repeat(rows.stream_lifetime, rows.length)
    size = (int(lifetime.max()) + 1, rows.spec.states, rows.spec.action_size)
    cell, known = np.ravel_multi_index((lifetime, observation, taken), size), known.ravel()
    counts = np.bincount(cell[known], minlength=np.prod(size)).reshape(size)
    sums = np.bincount(cell[known], total.ravel()[known], minlength=np.prod(size)).reshape(size)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
    return mean.argmax(-1)[lifetime, observation]
