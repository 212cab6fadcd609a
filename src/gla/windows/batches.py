"""Batches: encoded windows of one split of a dataset, with their labels."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gla.encoding.making import encoding_of
from gla.encoding.tokens import LOG_STD_MIN, NO_ACTION
from gla.labels.kinds import LABELS
from gla.memory import memory_limit
from gla.storage.reading import arrays_that_hold
from gla.windows.chunks import Drawn
from gla.windows.kinds import WINDOWS
from gla.windows.rows import Rows

if TYPE_CHECKING:
    from gla.config.agents import Agent


class Batch(NamedTuple):
    """The data that a model is trained on. o, u and A: an encoding's sizes of an observation and of an action, and the number
    of actions that it can hold.

    observation: (B, T, o). action: (B, T, u). reward: (B, T). end: (B, T) bool, true if an episode or a chunk ends after the
    step. eta: (B, T). target: the part of the labels that the loss needs, in the environment's own space, padded to A: means
    (or logits) and log-deviations, (B, T, A) each, or only actions. frame: (B, u, A), the matrices that map outputs to
    actions. discrete: (B,) bool.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    end: Tensor
    eta: Tensor
    target: tuple[Tensor, ...]
    frame: Tensor
    discrete: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Returns a batch with every tensor changed by a function."""
        return Batch(*(tuple(map(change, x)) if isinstance(x, tuple) else change(x) for x in self))

    def at(self, positions: Tensor | slice) -> "Batch":
        """Returns a batch with these steps alone, (P,) int or a slice."""
        changed = {
            name: getattr(self, name)[:, positions] for name in ("observation", "action", "reward", "end", "eta")
        }
        return self._replace(**changed, target=tuple(x[:, positions] for x in self.target))


def _joined(parts: list[Batch]) -> Batch:
    """Joins several batches into one."""
    if len(parts) == 1:
        return parts[0]
    return Batch(*(
        tuple(torch.cat(y) for y in zip(*x, strict=True)) if isinstance(x[0], tuple) else torch.cat(x)
        for x in zip(*parts, strict=True)
    ))  # fmt: skip


class Windows:
    """Draws batches of windows from one split of a dataset.

    agent: the agent's config. frame, summary: the manifest. split: ``train`` or ``validation``. Draws are a pure function of
    (agent.seed, index), so that there is no state to save.

    Each store is read once. Histories are kept on the device or, if they do not fit there, in memory. If they would fill more
    than ``memory`` bytes (by default half of the free memory), they are kept uncompressed in files in ``folder``, which are
    mapped into memory and are removed with the process. Batches are the same in all cases.
    """

    def __init__(
        self, agent: "Agent", frame: pd.DataFrame, summary: dict, split: str, device: str | torch.device = "cpu",
        folder: str | Path | None = None, memory: int | None = None,
    ):  # fmt: skip
        self.agent, self.split, self.device = agent, split, torch.device(device)
        self.encoding = encoding_of(summary, agent.model.turns)
        self.windows, self.labels = WINDOWS[agent.windows.kind], LABELS[agent.labels.kind]
        own, parts = frame[frame["split"] == split], []
        needs = agent.labels.needs[agent.loss.wants] | agent.windows.needs | agent.loss.needs
        for name, body in summary["sources"].items():
            parts.append((own[own["source"] == name], body, arrays_that_hold(needs, body["discrete"])))
        size = sum(Rows.size(rows, needs) for rows, _, needs in parts)
        memory = memory_limit() // 2 if memory is None else memory
        fits = self.device.type != "cuda" or size <= torch.cuda.mem_get_info(self.device)[0] // 2
        near = self.device if fits else torch.device("cpu")
        if mapped := size > memory:
            folder = Path(folder or tempfile.gettempdir())
            folder.mkdir(parents=True, exist_ok=True)
        self.sources = [Rows(rows, body, needs, near, folder if mapped else None) for rows, body, needs in parts]

    def batch(self, index: int, size: int) -> Batch:
        """Returns ``size`` windows, with equal shares of all sources."""
        stream = {"train": 0, "validation": 1}[self.split]
        rng = np.random.Generator(np.random.Philox(key=[self.agent.seed, stream], counter=[0, 0, 0, index]))
        n = len(self.sources)
        counts = np.full(n, size // n)
        counts[rng.permutation(n)[: size % n]] += 1
        return _joined([self._batch(s, int(n), rng) for s, n in zip(self.sources, counts, strict=True) if n])

    def _batch(self, rows: Rows, n: int, rng: np.random.Generator) -> Batch:
        """Returns n windows of one source."""
        encoding, device = self.encoding, self.device
        drawn = self.windows.draw(self.agent.windows, rows, n, rng)
        seeds = rng.integers(*rows.projection_range, n) if encoding.varies else None
        frames = encoding.frames(seeds, n, rows.spec)
        frames = frames._replace(w=frames.w.to(device), a=frames.a.to(device))
        rows.announce(drawn.index)
        index = torch.from_numpy(drawn.index).to(rows.done.device)  # (n, T)
        raw, action, reward = (rows.steps[name][index].to(device) for name in ("observation", "action", "reward"))
        if rows.spec.states:
            raw = torch.nn.functional.one_hot(raw, rows.spec.states).float()
        end = rows.done[index].to(device).view(n, drawn.update.shape[1], -1)
        if drawn.cut:
            end[..., -1] = True
        end[:, -1, -1] = True
        seen = encoding.seen()
        return Batch(
            observation=encoding.observe(raw, frames, seen),
            action=encoding.act(action, frames),
            reward=encoding.reward(reward, seen),
            end=end.view(n, -1),
            eta=self._eta(rows, drawn).to(device).repeat_interleave(end.shape[-1], 1),
            target=self._target(rows, drawn, raw),
            frame=encoding.pad(frames.a),
            discrete=torch.full((n,), rows.spec.discrete, device=device),
        )

    def _eta(self, rows: Rows, drawn: Drawn) -> Tensor:
        """Returns the value of eta for each chunk, (n, M)."""
        target, last = self.labels.updates(drawn, rows.updates - 1), max(rows.updates - 1, 1)
        eta = {
            "none": np.zeros(drawn.update.shape),
            "gap": np.repeat(drawn.gap[:, None] / last, drawn.update.shape[1], 1),
            "return": rows.progress[rows.stream_lifetime[drawn.stream][:, None], target],
            "position": target / last,
        }[self.agent.eta]
        return torch.from_numpy(eta.astype(np.float32))

    def _target(self, rows: Rows, drawn: Drawn, raw: Tensor) -> tuple[Tensor, ...]:
        """Returns the part of the labels that the loss needs, padded."""
        pad, options, discrete = self.encoding.pad, self.agent.labels, rows.spec.discrete
        if self.agent.loss.wants == "action":
            action = self.labels.action(options, rows, drawn).to(raw.device)
            action = torch.nn.functional.one_hot(action, rows.spec.action_size).float() if discrete else action
            return (pad(action, NO_ACTION),)
        mean, log_std = self.labels.distribution(options, rows, drawn, raw)
        return pad(mean, NO_ACTION if discrete else 0.0), pad(log_std, LOG_STD_MIN)
