"""Training windows: pieces of one stream strung together, projected, as batched tensors.

A window is ``pieces`` pieces of ``piece_steps`` consecutive steps of one stream of one lifetime.
The gap g counts PPO *updates*: pieces come from updates i, i+g, i+2g, ..., held at the last one.
Pieces begin where an episode does, if one begins in that update. Two ways to label (see
docs/method.md):

- recorded (Kirsch et al., 2023): targets are the distributions that the actions were drawn from.
  ``max`` takes every piece from the last update: the best policy, and nothing before it.
- relabelled: pieces of rising, mostly poor quality; the target of every state is what the policy g
  updates later, or the last, would have done there. The context does not show the answer until a random
  piece, the switch: from there on pieces are those of the policy that was the target until then, as a rollout's are once
  the agent acts on what it found, and the target is g updates further on again. Without ``switch`` there is none.

Shapes: B windows, M pieces of P steps, T = M * P tokens, d and a dimensions of an environment.
"""

import contextlib
import math
import mmap
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor

from gla import augment, histories
from gla.config import Agent, ConfigError
from gla.distributions import LOG_STD_MIN
from gla.environments import MAX_ACTION
from gla.files import ANEW, CorruptFile, named
from gla.ppo import Policy

STANDARD_CLIP = 5.0  # deviations
EPSILON = 1e-6
NO_ACTION = -1e9  # logit of an action that the environment does not have


class Batch(NamedTuple):
    """What the model is trained on.

    observation: (B, T, 64) projected. action: (B, T, 16) projected. reward: (B, T).
    end: (B, T) bool, true where an episode or a piece ends after the step.
    eta: (B, T). target_mean, target_log_std: (B, T, 16), means or logits in the environment's own
    space, padded; the log-deviation is unused for discrete actions. projection: (B, 16, 16), A with
    padded columns zero. discrete: (B,) bool.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    end: Tensor
    eta: Tensor
    target_mean: Tensor
    target_log_std: Tensor
    projection: Tensor
    discrete: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(*(x.to(device) for x in self))


def standardise(x: Tensor) -> Tensor:
    """Each step of (B, T, d) by the mean and deviation of the steps up to and including it.

    The same arithmetic as ``RunningStandardiser`` does step by step in a rollout.
    """
    shifted = x.double() - x[:, :1].double()  # relative to the first step: no cancellation
    n = torch.arange(1, x.shape[1] + 1, dtype=torch.float64, device=x.device).view(1, -1, 1)
    mean = shifted.cumsum(1) / n
    variance = (shifted.square().cumsum(1) / n - mean.square()).clamp_min(0)
    return ((shifted - mean) / (variance + EPSILON).sqrt()).clamp(-STANDARD_CLIP, STANDARD_CLIP).to(x.dtype)


class RunningStandardiser:
    """``standardise``, one step at a time."""

    def __init__(self):
        self.n = None

    def __call__(self, x: Tensor) -> Tensor:
        """x: (B, d), the next step of each of B contexts."""
        x = x.double()
        if self.n is None:
            self.n, self.first = torch.zeros(len(x), 1, dtype=torch.float64), x.clone()
            self.total, self.squares = torch.zeros_like(x), torch.zeros_like(x)
        self.first = torch.where(self.n == 0, x, self.first)
        self.n += 1
        shifted = x - self.first
        self.total += shifted
        self.squares += shifted.square()
        mean = self.total / self.n
        variance = (self.squares / self.n - mean.square()).clamp_min(0)
        return ((shifted - mean) / (variance + EPSILON).sqrt()).clamp(-STANDARD_CLIP, STANDARD_CLIP).float()

    def forget(self, rows: Tensor) -> None:
        """Begin anew in the contexts (B,) bool that are true."""
        for x in (self.n, self.total, self.squares):
            x[rows] = 0


def _extend(descriptor: int, _offset: int, size: int) -> None:
    """What comes closest where no blocks can be taken beforehand."""
    os.truncate(descriptor, size)


def memory_limit() -> int:
    """Bytes that this process may still fill: what the machine has left, or its control group if that is less."""
    left, groups = psutil.virtual_memory().available, []
    with contextlib.suppress(OSError):  # Linux alone has them
        groups = [line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for controllers, path in groups:
        if controllers not in ("", "memory"):  # version 2, or 1
            continue
        root, name = Path("/sys/fs/cgroup", controllers), "memory.limit_in_bytes" if controllers else "memory.max"
        for group in (root / path.lstrip("/"), *(root / path.lstrip("/")).parents):
            with contextlib.suppress(OSError, ValueError):  # none there, or "max"
                left = min(left, int((group / name).read_text()))
    return left


def _alike(history: histories.History) -> tuple:
    """What the stores of one environment have in common: steps, sizes and snapshots."""
    rows = history.observation.shape[2:], history.mean.shape[2:], history.discrete, history.steps_per_update
    return *rows[0], *rows[1:], *history.snapshot_update, *(field.shape[1:] for field in history.policy)


class _Source:
    """The streams of one environment that belong to a split, rows flattened over lifetimes and streams.

    folder: where the files are that its rows are mapped from, see ``Windows``; None: they are in memory.
    """

    def __init__(self, rows: pd.DataFrame, summary: dict, device: torch.device, folder: Path | None):
        store, filled = [rows["store"].iloc[0], rows["digest"].iloc[0]], 0
        first, history = histories.read_digest(store[1]), histories.read(*store)  # before memory is taken for what they claim
        self.discrete, self.t, self.updates = first["discrete"], first["steps_per_update"], first["updates"]
        self.streams, self.steps, a = len(rows), self.updates * self.t, first["action_size"]
        self.projection_range = int(rows["projection_low"].iloc[0]), int(rows["projection_high"].iloc[0])
        self.folder = folder
        observation = self._array(np.float32, first["observation_size"])
        action = self._array(np.int64) if self.discrete else self._array(np.float32, a)
        mean, reward, done = self._array(np.float32, a), self._array(np.float32), self._array(bool)
        # Steps at which the episode that step s belongs to began, and at which the first at or after s begins.
        self.episode_start, self.next_episode_start = self._array(np.int32), self._array(np.int32)
        policies, log_std, returns, self.stream_lifetime = [], [], [], []
        alike = _alike(history)
        for number, ((*paths, k), group) in enumerate(rows.groupby(["store", "digest", "lifetime"], sort=False)):
            if paths != store:
                history = None  # one at a time in memory
                store, history = paths, histories.read(*paths)
            streams = group["stream"].to_numpy()
            if k >= len(history.reward) or streams.max() >= history.reward.shape[1] or _alike(history) != alike:
                raise CorruptFile(
                    f"{paths[1]}: no lifetime {k} with stream {streams.max()} of {alike[0]} steps (expected what the manifest says "
                    f"of it, and stores of one environment alike); {ANEW}"
                )
            part = slice(filled, filled + len(streams))
            for array, values in zip((observation, action, mean, reward), (history.observation, history.action, history.mean, history.reward), strict=True):
                array[part] = values[k, streams]
            done[part] = (history.terminated | history.truncated)[k, streams]
            begins = np.concatenate([np.ones((len(streams), 1), bool), done[part, :-1]], 1)
            self.episode_start[part] = np.maximum.accumulate(np.where(begins, np.arange(self.steps), 0), 1)
            later = np.where(begins, np.arange(self.steps), self.steps)[:, ::-1]
            self.next_episode_start[part] = np.minimum.accumulate(later, 1)[:, ::-1]
            policies.append([p[k] for p in history.policy])
            log_std.append(np.zeros((self.updates, a), np.float32) if history.log_std is None else history.log_std[k])
            returns.append(history.mean_return[k])
            self.stream_lifetime += [number] * len(streams)
            filled += len(streams)
        self.snapshot_update, self.stream_lifetime = history.snapshot_update, np.array(self.stream_lifetime)

        def flat(x: np.ndarray) -> Tensor:
            return torch.from_numpy(x.reshape(-1, *x.shape[2:])).to(device)

        self.observation, self.action, self.mean, self.reward, self.done = map(flat, (observation, action, mean, reward, done))
        self.policy = Policy(*(torch.stack(p).to(device) for p in zip(*policies, strict=True)))  # (K, N, ...)
        self.log_std = torch.from_numpy(np.stack(log_std)).to(device)  # (K, U, a)
        # Returns from 0 (the start of these histories) to 1 (their end), gaps filled from before.
        filled = pd.DataFrame(np.array(returns)).ffill(axis=1).bfill(axis=1).fillna(0.0).to_numpy()
        span = summary["return_last"] - summary["return_first"]
        self.progress = (filled - summary["return_first"]) / (span if abs(span) > 1e-9 else 1.0)  # (K, U)

    @staticmethod
    def size(rows: pd.DataFrame) -> int:
        """Bytes of its rows."""
        body = histories.read_digest(rows["digest"].iloc[0])
        action = 8 if body["discrete"] else 4 * body["action_size"]
        step = 4 * (body["observation_size"] + body["action_size"]) + action + 4 + 1 + 4 + 4
        return len(rows) * body["updates"] * body["steps_per_update"] * step

    def _array(self, dtype: type, *size: int) -> np.ndarray:
        """Room for one value of every step, (streams, steps, *size)."""
        shape = self.streams, self.steps, *size
        if self.folder is None:
            return np.empty(shape, dtype)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        # It has no name, so that it goes with the process; its blocks are taken now, so that a full disk is an OSError.
        with tempfile.TemporaryFile(dir=self.folder) as file:
            with named(self.folder):
                getattr(os, "posix_fallocate", _extend)(file.fileno(), 0, size)
            mapped = mmap.mmap(file.fileno(), size)
        mapped.madvise(mmap.MADV_RANDOM)  # or the disk reads megabytes around each window
        return np.frombuffer(mapped, dtype).reshape(shape)


class Windows:
    """Draws batches of windows from one split of a dataset.

    agent: its config. frame, summary: the manifest. split: ``train`` or ``validation``. Draws are a
    pure function of (agent.seed, index), so that a loader has no state to lose.

    Each store is read once. Histories lie on the device, in memory where it has no room for them, or, where they
    would fill more than ``memory`` bytes (half of what there is), uncompressed in files in ``folder`` that are mapped
    into memory and vanish with the process. Batches are the same wherever they lie.
    """

    def __init__(
        self, agent: Agent, frame: pd.DataFrame, summary: dict, split: str, device: str | torch.device = "cpu",
        folder: str | Path | None = None, memory: int | None = None,
    ):  # fmt: skip
        self.agent, self.split, self.device = agent, split, torch.device(device)
        self.identity = summary["projections"]["kind"] == "identity"
        own = frame[frame["split"] == split]
        parts = [(own[own["environment"] == name], body) for name, body in summary["environments"].items()]
        size, memory = sum(_Source.size(rows) for rows, _ in parts), memory_limit() // 2 if memory is None else memory
        fits = self.device.type != "cuda" or size <= torch.cuda.mem_get_info(self.device)[0] // 2
        near = self.device if fits else torch.device("cpu")
        if mapped := size > memory:
            folder = Path(folder or tempfile.gettempdir())
            folder.mkdir(parents=True, exist_ok=True)
        self.sources = [_Source(rows, body, near, folder if mapped else None) for rows, body in parts]

    def batch(self, index: int, size: int, curriculum: bool = True) -> Batch:
        """``size`` windows, environments in equal shares. curriculum: whether a share is under the fixed projection, in training."""
        stream = {"train": 0, "validation": 1}[self.split]
        rng = np.random.Generator(np.random.Philox(key=[self.agent.seed, stream], counter=[0, 0, 0, index]))
        n = len(self.sources)
        counts = np.full(n, size // n)
        counts[rng.permutation(n)[: size % n]] += 1
        fixed = self.agent.fixed_projection * max(0.0, 1 - 2 * index / self.agent.steps)
        fixed = fixed if curriculum and self.split == "train" else 0.0
        parts = [self._draw(s, int(n), rng, fixed) for s, n in zip(self.sources, counts, strict=True) if n]
        return Batch(*(torch.cat(x) if len(x) > 1 else x[0] for x in zip(*parts, strict=True)))

    def piece_updates(self, source: _Source, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Updates of the pieces (n, M), updates whose policies are their targets (n, M), gaps (n,)."""
        agent, last = self.agent, source.updates - 1
        m = np.arange(agent.pieces)
        if agent.gap == "max":
            gap = np.full(n, last)
        elif isinstance(agent.gap, list):
            gap = rng.integers(agent.gap[0], agent.gap[1], n, endpoint=True)
        else:
            gap = np.full(n, agent.gap)
        if agent.sampling == "relabelled":
            ceiling = rng.integers(0, last, (n, 1), endpoint=True)
            piece = np.sort(rng.integers(0, ceiling, (n, agent.pieces), endpoint=True), 1)
            switch = rng.integers(0, agent.pieces, (n, 1), endpoint=True) if agent.switch else agent.pieces
            piece = np.where(m < switch, piece, np.minimum(piece + gap[:, None], last))
            return piece, np.minimum(piece + gap[:, None], last), gap
        if agent.gap == "max":
            piece = np.full((n, agent.pieces), last)
        else:
            first = np.where(rng.random(n) < agent.from_start, 0, rng.integers(0, last, n, endpoint=True))
            piece = np.minimum(first[:, None] + gap[:, None] * m, last)
        return piece, piece, gap

    def piece_starts(self, source: _Source, stream: np.ndarray, update: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """First steps of pieces (n, M) inside their updates: an episode's start, or any step if none fits."""
        low, high = update * source.t, (update + 1) * source.t - self.agent.piece_steps
        any_step = low + rng.integers(0, source.t, update.shape)
        start = source.episode_start[stream[:, None], any_step]
        start = np.where(start > high, source.episode_start[stream[:, None], high], start)
        first = source.next_episode_start[stream[:, None], low]
        return np.where(start >= low, start, np.where(first <= high, first, np.minimum(any_step, high)))

    def _draw(self, source: _Source, n: int, rng: np.random.Generator, fixed: float) -> Batch:
        agent = self.agent
        stream = rng.integers(0, source.streams, n)
        update, target_update, gap = self.piece_updates(source, n, rng)
        start = self.piece_starts(source, stream, update, rng)
        row = (stream[:, None] * source.steps + start)[..., None] + np.arange(agent.piece_steps)
        index = torch.from_numpy(row.reshape(n, -1)).to(source.observation.device)  # (n, T)
        lifetime = source.stream_lifetime[stream]

        seeds = None if self.identity else rng.integers(*source.projection_range, n)
        if fixed and not self.identity:
            seeds[rng.random(n) < fixed] = source.projection_range[0]
        raw = source.observation[index].to(self.device)
        d, a = raw.shape[-1], source.mean.shape[-1]
        w, projection = (x.to(self.device) for x in augment.projections(seeds, n, d, a))
        reward = source.reward[index].to(self.device)
        if agent.normalize:
            observation, reward = standardise(raw), standardise(reward.unsqueeze(-1)).squeeze(-1)
        else:
            observation = raw
        action = source.action[index].to(self.device)
        if source.discrete:
            action = projection.transpose(1, 2)[torch.arange(n, device=self.device)[:, None], action]
        else:
            action = action @ projection.transpose(1, 2)
        end = source.done[index].to(self.device).view(n, agent.pieces, -1)
        end[..., -1] = True

        mean, log_std = self._targets(source, raw, index, lifetime, target_update)
        pad = (0, MAX_ACTION - a)
        eta = {
            "none": np.zeros((n, agent.pieces)),
            "gap": np.repeat(gap[:, None] / max(source.updates - 1, 1), agent.pieces, 1),
            "return": source.progress[lifetime[:, None], target_update],
            "position": target_update / max(source.updates - 1, 1),
        }[agent.eta]
        return Batch(
            observation=observation @ w.transpose(1, 2),
            action=action,
            reward=reward,
            end=end.view(n, -1),
            eta=torch.from_numpy(eta.astype(np.float32)).to(self.device).repeat_interleave(agent.piece_steps, 1),
            target_mean=torch.nn.functional.pad(mean, pad, value=NO_ACTION if source.discrete else 0.0),
            target_log_std=torch.nn.functional.pad(log_std, pad, value=LOG_STD_MIN),
            projection=torch.nn.functional.pad(projection, pad),
            discrete=torch.full((n,), source.discrete, device=self.device),
        )

    def _targets(self, source: _Source, raw: Tensor, index: Tensor, lifetime: np.ndarray, update: np.ndarray) -> tuple[Tensor, Tensor]:
        """Means (or logits) and floored log-deviations, (n, T, a)."""
        agent, (n, m) = self.agent, update.shape
        # Of relabelled targets' updates each has one: the config is refused otherwise. Recorded targets need none.
        snapshot = np.searchsorted(source.snapshot_update, update)
        if agent.sampling == "relabelled" and (source.snapshot_update[snapshot] != update).any():
            raise ConfigError(f"windows: no snapshot of the policy of update {update[source.snapshot_update[snapshot] != update][0]} (expected ppo.snapshot_every 1)")
        k, s = (torch.from_numpy(x.reshape(-1)).to(source.log_std.device) for x in (np.repeat(lifetime[:, None], m, 1), snapshot))
        if agent.sampling == "recorded":
            mean = source.mean[index].to(self.device)
            log_std = source.log_std[k, torch.from_numpy(update.reshape(-1)).to(k.device)].to(self.device)
        else:
            policy = Policy(*(x[k, s].to(self.device) for x in source.policy))  # n * M policies
            mean = policy(raw.view(n * m, agent.piece_steps, -1)).view(n, m * agent.piece_steps, -1)
            log_std = policy.log_std
        log_std = log_std.clamp_min(agent.log_std_floor).view(n, m, -1)
        return mean, log_std.repeat_interleave(agent.piece_steps, 1)
