"""A stack of LSTMs (Hochreiter and Schmidhuber, 1997): a state of fixed size, whatever the length of the context.

The baseline of Algorithm Distillation (Laskin et al., 2022) and the model of RL^2 (Duan et al., 2016).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.models.options import ModelOptions


class Options(ModelOptions):
    """A stack of LSTMs."""

    kind: Literal["lstm"] = "lstm"

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        return batch * self.layers * 2 * self.width * 4

    def parameters(self, sizes: Sizes) -> int:
        return self.layers * 8 * self.width**2


class State:
    """Hidden states and cells, (layers, B, width) each."""

    def __init__(self, layers: int, batch: int, width: int, like: Tensor):
        self.hidden, self.cell = like.new_zeros(2, layers, batch, width).unbind()

    def forget(self, rows: Tensor) -> None:
        """Empty the contexts (B,) bool that are true."""
        keep = ~rows.to(self.hidden.device).view(1, -1, 1)
        self.hidden, self.cell = self.hidden * keep, self.cell * keep


class SequenceModel(nn.Module):
    """See the package for the interface."""

    def __init__(self, options: Options, sizes: Sizes):
        super().__init__()
        self.options = options
        self.embed = nn.Linear(sizes.token, options.width)
        self.lstm = nn.LSTM(options.width, options.width, options.layers, batch_first=True)
        self.norm = nn.RMSNorm(options.width)
        for name, p in self.lstm.named_parameters():
            if name.startswith("bias_ih") and not p.is_meta:
                nn.init.zeros_(p)
                with torch.no_grad():  # gates begin open, so that gradients reach far back (Jozefowicz et al., 2015)
                    p[options.width : 2 * options.width] = 1.0
        self.head = nn.Linear(options.width, sizes.output)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _through(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Features and outputs (B, T, ...), and the state after them."""
        with torch.autocast(x.device.type, enabled=False):  # a recurrence adds its rounding up
            h, state = self.lstm(self.embed(x.float()), state)
            features = self.norm(h)
            return features, self.head(features), state

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, outputs, _ = self._through(x, None)
        return features, outputs

    def initial_state(self, batch: int, length: int) -> State:
        return State(self.options.layers, batch, self.options.width, self.head.weight)

    def step(self, x: Tensor, state: State) -> Tensor:
        _, outputs, (state.hidden, state.cell) = self._through(x.unsqueeze(1), (state.hidden, state.cell))
        return outputs.squeeze(1)
