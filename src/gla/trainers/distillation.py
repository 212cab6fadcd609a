"""Meta-training on recorded histories (Kirsch et al., 2023, Algorithm 1 and Equation 1).

The loss is the divergence between the source's action distribution and the model's, averaged over every token, plus,
optionally, the error of predicting the next observation and reward. A constant predictor is trained along with the model, on
the same batches with the same loss. It shows how good the policy head can be without seeing anything. A model that is not
better has learned nothing.
"""

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from gla.devices import threads
from gla.encoding.making import encoding_of
from gla.encoding.tokens import Encoded, tokens
from gla.losses.kinds import LOSSES
from gla.losses.options import prediction
from gla.models.building import AgentModel
from gla.options import Count
from gla.processes import Processes
from gla.trainers.base import BaseTrainer
from gla.trainers.options import TrainerOptions
from gla.windows.batches import Batch, Windows

if TYPE_CHECKING:
    from gla.config.agents import Agent
    from gla.config.environments import Environment

VALIDATION_BATCHES = 4
BFLOAT16_SPEED, PRODUCTS = 1.5, 20  # lowest relative speed at which bfloat16 is used; products that are timed of each


class Options(TrainerOptions):
    """The model learns to predict the labels in windows of recorded histories."""

    kind: Literal["distillation"] = "distillation"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type of matrix products. auto: bfloat16 if the hardware multiplies matrices much faster in it, else float32."""
    positions: Count | None = None
    """Number of steps of each window that are drawn for their labels to be learned, closer together near the beginning. A step that is drawn
    twice counts once. By default all labels are learned.
    """
    segment: Count | None = None
    """Number of steps that a window is read in at a time. The model's state is carried over from each part to the next, without its
    gradients, so that windows of any length need the memory of a part. By default windows are read at once.
    """

    def problems_of(self, agent: Any) -> Iterator[str]:
        if self.segment is not None:
            if not agent.model.carries:
                yield f"segment: {self.segment} with a model of kind {agent.model.kind!r} (expected none: its state grows with what it read)"
            for name, other in (("positions", self.positions), ("loss", agent.loss.follows_steps and agent.loss.kind)):
                if other:
                    yield f"segment: {self.segment} with {name} {other!r} (expected none: it needs whole windows)"
        if self.positions is None:
            return
        if self.positions > (most := agent.windows.length):
            yield f"positions: {self.positions} of windows of {most} steps (expected at most that)"
        if agent.loss.follows_steps:
            yield f"positions: {self.positions} with loss {agent.loss.kind!r} (expected none: it needs each step's successor)"
        if agent.loss.prediction_weight:
            yield f"positions: {self.positions} with prediction_weight {agent.loss.prediction_weight} (expected none: each step's successor is predicted)"

    def outputs(self, agent: Any) -> int:
        return (agent.model.selective and self.positions) or self.segment or self.length(agent)


def bfloat16_speed(device: torch.device) -> float:
    """Measures how many times as fast as in float32 a product of matrices is in bfloat16.

    It takes the best of many short products on one thread, with types in turns, so that other jobs on the machine change little.
    """
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    with threads(1):
        for _ in range(PRODUCTS):
            for dtype, measured in seconds.items():
                a = torch.ones(512, 512, dtype=dtype, device=device)
                start = time.perf_counter()
                (a @ a)[0, 0].item()  # waits until the device is done
                measured.append(time.perf_counter() - start)
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])


def precision_for(options: Options, own: Processes) -> torch.dtype:
    """Returns the number type of matrix products: the configured one, or bfloat16 if it is measured to be much faster.

    With hardware units for it a product takes half the time or less; without them it takes longer than in float32. The same
    machine therefore chooses the same type each time, and a checkpoint stays valid.
    """
    if options.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[options.precision]
    speed = own.mean(torch.tensor(bfloat16_speed(own.device), device=own.device))
    return torch.bfloat16 if speed >= BFLOAT16_SPEED else torch.float32


class Losses(nn.Module):
    """The model and the constant predictor, which map a batch to their losses."""

    def __init__(self, config: "Agent", encoding: Any, dtype: torch.dtype):
        super().__init__()
        self.options, self.encoding, self.dtype, self.policy = (
            config.loss,
            encoding,
            dtype,
            LOSSES[config.loss.kind].policy,
        )
        self.model = AgentModel(config, encoding.sizes)
        self.slow = copy.deepcopy(self.model).requires_grad_(False) if config.loss.slow else None
        self.constant = nn.Parameter(torch.zeros(encoding.sizes.output))

    def forward(
        self, x: Tensor, batch: Batch, positions: Tensor | None = None, state: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the policy losses (B, T) of the model and of the constant predictor, and the error of predicting the next step, (), given
        the tokens of a batch (B, T, token). If positions (P,) are given, losses are those at these steps, (B, P). If a state is given, the
        tokens follow those that it holds.
        """
        device = batch.reward.device
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            features, output = self.model(x, positions, state)
        if positions is not None:
            batch = batch.at(positions)
        auxiliary = torch.zeros((), device=device)
        if self.model.auxiliary is not None:
            auxiliary = prediction(self.model.auxiliary, features.float(), batch).mean()
        constant = self.policy(self.options, self.encoding, self.constant.expand_as(output), batch)
        slow = [] if self.slow is None else [self._slow(x)]
        return self.policy(self.options, self.encoding, output, batch, *slow), constant, auxiliary

    @torch.no_grad()
    def _slow(self, x: Tensor) -> Tensor:
        """Returns the outputs of the slow copy, (B, T, sizes.output)."""
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.slow(x)[1]

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the slow copy a part of the way to the model."""
        if self.slow is not None:
            for own, other in zip(self.slow.parameters(), self.model.parameters(), strict=True):
                own.lerp_(other, self.options.slow)


class Trainer(BaseTrainer):
    """The model, the constant predictor, their optimisers, and the windows that they are trained on."""

    def __init__(
        self, config: "Agent", frame: pd.DataFrame, summary: dict, environments: "list[Environment]",
        own: Processes, scratch: Path | None,
    ):  # fmt: skip
        self.dtype = precision_for(config.training, own)
        torch.manual_seed(config.seed)
        self.whole = Losses(config, encoding_of(summary, config.model.turns), self.dtype).to(own.device)
        self.model = self.module = self.whole.model
        self.constant, self.parallel = self.whole.constant, own.parallel(self.whole)
        self.constant_optimizer = torch.optim.Adam([self.constant], lr=0.02)
        self.prepare(config, own)
        self.histories = frame, summary, scratch

    def open(self) -> None:
        frame, summary, scratch = self.histories
        self.seen, self.held_out = (
            Windows(self.config, frame, summary, split, self.own.device, scratch) for split in ("train", "validation")
        )

    def state(self) -> dict[str, Any]:
        own = {"constant": self.constant.data, "constant_optimizer": self.constant_optimizer.state_dict()}
        return super().state() | own | {"slow": self.whole.slow.state_dict() if self.whole.slow else {}}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.constant.data.copy_(state["constant"])
        self.constant_optimizer.load_state_dict(state["constant_optimizer"])
        if self.whole.slow:
            self.whole.slow.load_state_dict(state["slow"])

    def batch(self, windows: Windows, index: int) -> Batch:
        """Returns this process's share of a batch: every n-th window, so that each process has its part of every environment."""
        whole = windows.batch(index, self.options.batch_size)
        return whole.each(lambda x: x[self.own.rank :: self.own.count].to(self.own.device))

    def advance(self) -> None:
        self.train(self.batch(self.seen, self.step))

    def positions(self, index: int | None = None) -> Tensor | None:
        """Returns the steps of windows whose labels are learned in a batch, (P,), ascending; None: all. They are distributed as the square of
        a uniform number is. Those of the held-out loss have no index, and are the same each time.
        """
        o = self.options
        if o.positions is None:
            return None
        offset = np.full(o.positions, 0.5)
        if index is not None:
            rng = np.random.Generator(np.random.Philox(key=[self.config.seed, 2], counter=[0, 0, 0, index]))
            offset = rng.random(o.positions)
        drawn = o.length(self.config) * ((np.arange(o.positions) + offset) / o.positions) ** 2
        return torch.from_numpy(np.unique(drawn.astype(np.int64))).to(self.own.device)

    def read(self, batch: Batch, positions: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
        """Yields the losses of each part of the windows that is read at a time, and its share of their steps."""
        x, size = tokens(Encoded(*batch[:4]), batch.eta), self.options.segment
        n, t = x.shape[:2]
        if size is None:
            yield *self.parallel(x, batch, positions), 1.0
            return
        state = self.model.sequence.initial_state(n, t)
        for part in (slice(first, min(first + size, t)) for first in range(0, t, size)):
            yield *self.parallel(x[:, part], batch.at(part), None, state), (part.stop - part.start) / t

    def train(self, batch: Batch) -> None:
        """Makes one optimiser step."""
        rate = self.set_rate()
        self.optimizer.zero_grad(set_to_none=True)
        self.constant_optimizer.zero_grad(set_to_none=True)
        found = torch.zeros(3, device=self.own.device)
        for policy, constant, auxiliary, share in self.read(batch, self.positions(self.step)):
            losses = torch.stack([policy.mean(), constant.mean(), auxiliary])
            (share * (losses[0] + losses[1] + self.config.loss.prediction_weight * losses[2])).backward()
            found += share * losses.detach()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        names = ("train_loss", "constant_loss", "auxiliary_loss", "gradient_norm")
        means = self.own.mean(torch.cat([found, norm.detach().view(1)]))
        row = dict(zip(names, means.tolist(), strict=True)) | {"learning_rate": rate}
        self.check(row)
        self.optimizer.step()
        self.constant_optimizer.step()
        self.whole.follow()
        self.note(row)

    @torch.no_grad()
    def evaluated(self, windows: Windows) -> dict[str, Tensor]:
        """Returns losses by position in the context, each (T,) or (P,), averaged over the first batches of a split."""
        self.model.eval()
        total: dict[str, Tensor] = {}
        for index in range(VALIDATION_BATCHES):
            parts = [
                (policy.mean(0), constant.mean(0), (share * auxiliary).view(1))
                for policy, constant, auxiliary, share in self.read(self.batch(windows, index), self.positions())
            ]
            policy, constant, auxiliary = (torch.cat(x) for x in zip(*parts, strict=True))
            for name, value in (("loss", policy), ("constant", constant), ("auxiliary", auxiliary.sum())):
                total[name] = total.get(name, 0) + value / VALIDATION_BATCHES
        self.model.train()
        return {name: self.own.mean(value).cpu() for name, value in total.items()}

    def losses(self) -> dict[str, float]:
        found = self.evaluated(self.held_out)
        return {
            "validation_loss": found["loss"].mean().item(),
            "validation_constant_loss": found["constant"].mean().item(),
        }

    def by_position(self) -> pd.DataFrame:
        seen, held_out, positions = self.evaluated(self.seen), self.evaluated(self.held_out), self.positions()
        found = {"train_loss": seen["loss"], "validation_loss": held_out["loss"], "constant_loss": held_out["constant"]}
        return pd.DataFrame(found, index=None if positions is None else positions.tolist())
