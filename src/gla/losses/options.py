"""What all losses share: a second term that predicts what follows."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.options import Options, Weight


class LossOptions(Options):
    """Options of all losses."""

    prediction_weight: Weight = 0.0
    """Weight of the error of predicting the next observation and the reward. With 0 the model has no heads for it."""

    wants: ClassVar[str] = "distribution"
    """The part of the label that the loss needs: its distribution, or its action."""
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def slow(self) -> float:
        """How much of the way to the model a copy of it goes in each step, whose outputs the loss is told; 0: there is none."""
        return 0.0

    def problems_of(self, agent: Any) -> Iterator[str]:
        """What is wrong with these options for an agent's other options."""
        if self.prediction_weight and not agent.model.predicts:
            yield f"prediction_weight: {self.prediction_weight} (expected 0 for a model of kind {agent.model.kind!r})"


def prediction_head(width: int, sizes: Sizes) -> nn.Module:
    """Features and the action that was taken, to the next observation and the reward."""
    return nn.Sequential(
        nn.Linear(width + sizes.action, 2 * width), nn.GELU(), nn.Linear(2 * width, sizes.observation + 1)
    )


def prediction(head: nn.Module, features: Tensor, batch: Any) -> Tensor:
    """Squared error of the next observation (mean over coordinates) and of the reward, (B, T - 1)."""
    predicted = head(torch.cat([features, batch.action], -1)).float()[:, :-1]
    error = (predicted[..., :-1] - batch.observation[:, 1:]).square().mean(-1)
    # Where an episode or a chunk ends, the next observation is not this transition's.
    return error * ~batch.end[:, :-1] + (predicted[..., -1] - batch.reward[:, :-1]).square()
