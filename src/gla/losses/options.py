"""Options that all losses share, and an optional second term for the prediction of the next observation and the reward."""

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
    follows_steps: ClassVar[bool] = False
    """Whether the loss of a step depends on the outputs of the step after it."""

    @property
    def slow(self) -> float:
        """Share of the distance to the model that its slow copy moves in each step; 0 if the loss needs no slow copy."""
        return 0.0

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the agent's other options."""
        if self.prediction_weight and not agent.model.predicts:
            yield f"prediction_weight: {self.prediction_weight} (expected 0 for a model of kind {agent.model.kind!r})"


def prediction_head(width: int, sizes: Sizes) -> nn.Module:
    """Makes a head that predicts the next observation and the reward from features and the action."""
    return nn.Sequential(
        nn.Linear(width + sizes.action, 2 * width), nn.GELU(), nn.Linear(2 * width, sizes.observation + 1)
    )


def prediction(head: nn.Module, features: Tensor, batch: Any) -> Tensor:
    """Returns the squared error of the next observation (mean over coordinates) plus that of the reward, (B, T - 1)."""
    predicted = head(torch.cat([features, batch.action], -1)).float()[:, :-1]
    error = (predicted[..., :-1] - batch.observation[:, 1:]).square().mean(-1)
    # After the end of an episode or a chunk, the next observation does not belong to this transition.
    return error * ~batch.end[:, :-1] + (predicted[..., -1] - batch.reward[:, :-1]).square()
