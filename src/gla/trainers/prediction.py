"""Meta-training of a model that plans: the likelihood of what follows from what, in windows of recorded histories.

The evidence of a Bayesian regression is the product of its predictions of each step, made with all steps before it (Dawid, 1984). Its
features and priors are therefore trained for learning in context: by how well a new history is predicted while it is being learned, as in
ALPaCA (Harrison et al., 2018). Actions are given, and not learned. The constant predictor says the same of all steps: normal numbers with
the mean and the deviation of the window.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from gla.encoding.making import encoding_of
from gla.models.building import AgentModel
from gla.models.predictive_control import known
from gla.options import Count
from gla.processes import Processes
from gla.trainers.base import BaseTrainer
from gla.trainers.options import TrainerOptions
from gla.windows.batches import Batch, Windows

if TYPE_CHECKING:
    from gla.config.agents import Agent
    from gla.config.environments import Environment

VALIDATION_BATCHES = 4
PARTS = 8  # a window's losses are reported after each of so many parts of it
PROJECTIONS = {"train": 0, "validation": 2**40}  # first seeds of projections


class Options(TrainerOptions):
    """A model that plans learns the features and priors by which it predicts what follows, from windows of recorded histories."""

    kind: Literal["prediction"] = "prediction"
    batch_size: Count = 16
    """Number of windows in a step."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        if not agent.model.plans:
            yield f"kind: 'prediction' with a model of kind {agent.model.kind!r} (expected predictive_control)"
        yield from self.unread(agent, ("labels", "loss"), "it learns what follows")


def alike(batch: Batch) -> Iterator[tuple[Batch, int, int]]:
    """Yields the parts of a batch whose windows have as many observation and action dimensions, without padding, and these numbers."""
    sizes = torch.stack([_used(batch.observation), _used(batch.action)], 1)
    for d, a in sizes.unique(dim=0).tolist():
        rows = (sizes == sizes.new_tensor([d, a])).all(1)
        own = batch.each(partial(_some, rows))
        yield own._replace(observation=own.observation[..., :d], action=own.action[..., :a]), d, a


def _some(rows: Tensor, x: Tensor) -> Tensor:
    return x[rows]


def _used(x: Tensor) -> Tensor:
    """Returns the number of dimensions of each of x (B, T, d) up to the last one that is not always 0, (B,)."""
    index = torch.arange(1, x.shape[-1] + 1, device=x.device)
    return ((x != 0).any(1) * index).amax(1).clamp_min(1)


class Trainer(BaseTrainer):
    """The features, their priors, and the windows that they are trained on."""

    def __init__(
        self, config: "Agent", frame: pd.DataFrame, summary: dict, environments: "list[Environment]",
        own: Processes, scratch: Path | None,
    ):  # fmt: skip
        """Raises ConfigError if there are several processes."""
        self.alone(config, own)
        torch.manual_seed(config.seed)
        self.model = self.module = AgentModel(config, encoding_of(summary, True).sizes).to(own.device)
        self.prepare(config, own)
        self.histories = frame, summary, scratch

    def open(self) -> None:
        frame, summary, scratch = self.histories
        self.windows = {
            split: Windows(self.config, frame, summary, split, self.own.device, scratch)
            for split in ("train", "validation")
        }

    def found(self, split: str, index: int, steps: int) -> tuple[Tensor, Tensor]:
        """Returns the mean loss per step of the first ``steps`` steps of each window of a batch, and that of the constant predictor."""
        batch, sequence = self.windows[split].batch(index, self.options.batch_size), self.model.sequence
        generator = torch.Generator().manual_seed(PROJECTIONS[split] + index)
        losses = []
        for part, d, a in alike(batch):
            before, reward, end = part.observation[:, :steps], part.reward[:, :steps], part.end[:, :steps]
            after = torch.cat([before[:, 1:], before[:, -1:]], 1)
            end = end.clone()
            end[:, -1] = True  # what follows the last step is not in the window
            facts = known(before, part.action[:, :steps], after, reward, end.float(), torch.ones_like(reward))
            losses.append(sequence.losses(facts, sequence.basis.turned(len(before), d, a, generator), a))
        own, constant = (torch.cat(x) for x in zip(*losses, strict=True))
        return own, constant

    def advance(self) -> None:
        rate = self.set_rate()
        self.optimizer.zero_grad(set_to_none=True)
        own, constant = self.found("train", self.step, self.options.length(self.config))
        own.mean().backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        row = {
            "train_loss": own.mean().item(), "constant_loss": constant.mean().item(), "gradient_norm": norm.item(), "learning_rate": rate,
        }  # fmt: skip
        self.check(row)
        self.optimizer.step()
        self.note(row)

    @torch.no_grad()
    def evaluated(self, split: str, steps: int) -> tuple[float, float]:
        """Returns the mean losses of the model and of the constant predictor in batches that are the same each time."""
        batches = [self.found(split, 10**9 + i, steps) for i in range(VALIDATION_BATCHES)]
        own, constant = (torch.cat(x).mean().item() for x in zip(*batches, strict=True))
        return own, constant

    def losses(self) -> dict[str, float]:
        own, constant = self.evaluated("validation", self.options.length(self.config))
        return {"validation_loss": own, "validation_constant_loss": constant}

    def by_position(self) -> pd.DataFrame:
        length = self.options.length(self.config)
        rows = {}
        for steps in sorted({max(2, length * (i + 1) // PARTS) for i in range(PARTS)}):
            own, constant = self.evaluated("validation", steps)
            rows[steps] = {
                "train_loss": self.evaluated("train", steps)[0],
                "validation_loss": own,
                "constant_loss": constant,
            }
        return pd.DataFrame.from_dict(rows, orient="index")
