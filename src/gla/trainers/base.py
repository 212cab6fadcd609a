"""The base of all trainers: the state of an optimiser, and the interface of a trainer."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch
from torch import nn

from gla.options import ConfigError
from gla.policies import NumericalError
from gla.processes import Processes
from gla.trainers.options import learning_rate

if TYPE_CHECKING:
    from gla.config.agents import Agent
    from gla.config.environments import Environment


class BaseTrainer:
    """A model and its optimiser, which are the whole state of training.

    ``model``: an ``AgentModel``. ``module``: the module that is optimised, which holds the model and parts that only training
    needs. ``step``: number of finished steps. ``rows``: metrics of each step since the last held-out loss. ``metrics``: a row
    for each held-out loss. ``count``: how many of ``unit`` a step processes. A kind is made from an agent's config, its
    manifest (``frame``, ``summary``), the environments of the dataset's sources in their order, and a folder for temporary
    files. It sets ``model`` and ``module`` and then calls ``prepare``.
    """

    unit: ClassVar[str] = "tokens"

    model: Any
    module: nn.Module
    dtype: torch.dtype = torch.float32

    def __init__(
        self, config: "Agent", frame: pd.DataFrame, summary: dict, environments: "list[Environment]",
        own: Processes, scratch: Path | None,
    ):  # fmt: skip
        raise NotImplementedError

    def prepare(self, config: "Agent", own: Processes) -> None:
        """Prepares the module for the first step."""
        self.config, self.options, self.own = config, config.training, own
        self.count = self.options.batch_size * self.options.length(config)
        decay = [p for p in self.module.parameters() if p.requires_grad and p.dim() >= 2]
        others = [p for p in self.module.parameters() if p.requires_grad and p.dim() < 2]
        groups = [
            {"params": decay, "weight_decay": self.options.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.options.learning_rate, betas=(0.9, 0.95), fused=True)
        self.step, self.rows, self.metrics = 0, [], []

    def alone(self, config: "Agent", own: Processes) -> None:
        """Raises ConfigError if there are several processes, for kinds that cannot share a batch."""
        if own.count > 1:
            raise ConfigError(f"training.kind: {config.training.kind!r} in {own.count} processes (expected one)")

    def open(self) -> None:
        """Called before the first step, to read data that take long to read."""

    def advance(self) -> None:
        """Makes one step. Raises NumericalError."""
        raise NotImplementedError

    def losses(self) -> dict[str, float]:
        """Returns the current ``validation_loss`` of the model, and ``validation_constant_loss`` of an output that does not
        depend on the context.
        """
        raise NotImplementedError

    def by_position(self) -> pd.DataFrame:
        """Returns ``train_loss``, ``validation_loss`` and ``constant_loss`` at the end, with a row for each position in the context."""
        raise NotImplementedError

    def set_rate(self) -> float:
        """Sets the learning rate of this step in the optimiser, and returns it."""
        rate = learning_rate(self.options, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def note(self, row: dict[str, float]) -> None:
        """Counts a step, and adds the row of its metrics."""
        self.step += 1
        self.rows.append(row)

    def check(self, row: dict[str, float]) -> None:
        """Raises NumericalError if a number is not finite."""
        if not all(math.isfinite(v) for v in row.values()):
            raise NumericalError(f"step {self.step}: {row} holds a number that is not finite")

    def evaluate(self) -> dict[str, float]:
        """Adds the held-out loss, and the means of all steps since the previous one, to ``metrics``."""
        row = {"step": self.step, **pd.DataFrame(self.rows).mean().to_dict(), **self.losses()}
        self.check(row)
        self.metrics.append(row)
        self.rows = []
        return row

    def state(self) -> dict[str, Any]:
        names = ("step", "rows", "metrics")
        return {"module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()} | {
            name: getattr(self, name) for name in names
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.rows, self.metrics = state["step"], state["rows"], state["metrics"]
