"""What an agent is made of: a sequence model, and what only its training needs."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.losses.options import prediction_head
from gla.models.kinds import MODELS

if TYPE_CHECKING:
    from gla.config.agents import Agent


class AgentModel(nn.Module):
    """A sequence model and, for training alone, a head that predicts what follows."""

    def __init__(self, config: "Agent", sizes: Sizes):
        super().__init__()
        self.sequence = MODELS[config.model.kind].SequenceModel(config.model, sizes)
        self.auxiliary = None
        if config.loss.prediction_weight > 0:
            self.auxiliary = prediction_head(config.model.width, sizes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, sizes.token) to features (B, T, D) and policy outputs (B, T, sizes.output) in float32."""
        return self.sequence(x)
