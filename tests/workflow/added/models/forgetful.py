"""A layer that sees the last token alone."""

from typing import Literal

from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.models.options import ModelOptions


class Options(ModelOptions):
    """A layer that sees the last token alone."""

    kind: Literal["forgetful"] = "forgetful"

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        return 0

    def parameters(self, sizes: Sizes) -> int:
        return self.width * (sizes.token + sizes.output)


class State:
    """Nothing."""

    def forget(self, rows: Tensor) -> None:
        pass


class SequenceModel(nn.Module):
    """See the package for the interface."""

    def __init__(self, options: Options, sizes: Sizes):
        super().__init__()
        self.embed, self.head = nn.Linear(sizes.token, options.width), nn.Linear(options.width, sizes.output)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.embed(x).tanh()
        return features, self.head(features).float()

    def initial_state(self, batch: int, length: int) -> State:
        return State()

    def step(self, x: Tensor, state: State) -> Tensor:
        return self(x)[1]
