"""The modules of an agent: a sequence model, and a head that only its training needs."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.losses.options import prediction_head
from gla.models.kinds import MODELS

if TYPE_CHECKING:
    from gla.config.agents import Agent


class AgentModel(nn.Module):
    """A sequence model and, only for training, a head that predicts the next observation and the reward."""

    def __init__(self, config: "Agent", sizes: Sizes):
        super().__init__()
        self.sequence = MODELS[config.model.kind].SequenceModel(config.model, sizes)
        self.auxiliary = None
        if config.loss.prediction_weight > 0:
            self.auxiliary = prediction_head(config.model.width, sizes)

    def forward(self, x: Tensor, positions: Tensor | None = None, state: Any = None) -> tuple[Tensor, Tensor]:
        """Maps tokens (B, T, sizes.token) to features (B, T, D) and policy outputs (B, T, sizes.output) in float32; if positions (P,) are
        given, only to those of these tokens, (B, P, any). If a state is given, the tokens follow those that it holds."""
        if state is not None:
            return self.sequence(x, state)
        if positions is None:
            return self.sequence(x)
        if self.sequence.options.selective:
            return self.sequence(x, positions)
        features, output = self.sequence(x)
        return features[:, positions], output[:, positions]
