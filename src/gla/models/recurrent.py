"""Parts that recurrent models share: a stack of PyTorch's cells, and a state whose size does not depend on the length of the
context.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.models.options import ModelOptions


class RecurrentOptions(ModelOptions):
    """Options of all recurrent models."""

    gates: ClassVar[int]
    """Number of vectors of its width that a cell computes in a step."""
    kept: ClassVar[int]
    """Number of vectors of its width that a cell keeps."""
    carries: ClassVar[bool] = True

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        return batch * self.layers * self.kept * self.width * 4

    def parameters(self, sizes: Sizes) -> int:
        return self.layers * 2 * self.gates * self.width**2


class State:
    """The state of a stack of cells, (kept, layers, B, width)."""

    def __init__(self, kept: Tensor):
        self.kept = kept

    def forget(self, rows: Tensor) -> None:
        """Empties the contexts for which (B,) bool is true."""
        self.kept = self.kept * ~rows.to(self.kept.device).view(1, 1, -1, 1)


class RecurrentModel(nn.Module):
    """The interface is described in the package. cells: PyTorch's stack of cells, such as ``nn.LSTM``."""

    cells: Callable[..., nn.RNNBase]

    def __init__(self, options: Any, sizes: Sizes):
        super().__init__()
        self.options = options
        self.embed = nn.Linear(sizes.token, options.width)
        self.stack = self.cells(options.width, options.width, options.layers, batch_first=True)
        self.norm = nn.RMSNorm(options.width)
        for name, p in self.stack.named_parameters():
            if name.startswith("bias_ih") and not p.is_meta:
                nn.init.zeros_(p)
                # The second gate of both kinds decides how much is kept. At first this is much, so that gradients reach far back
                # (Jozefowicz et al., 2015).
                with torch.no_grad():
                    p[options.width : 2 * options.width] = 1.0
        self.head = nn.Linear(options.width, sizes.output)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):  # rounding errors add up in a recurrence
            kept = None if state is None else tuple(state.kept)  # a tuple if several states are kept
            before = kept[0] if kept is not None and len(kept) == 1 else kept
            h, after = self.stack(self.embed(x.float()), before)
            features = self.norm(h)
            outputs = self.head(features)
        if state is not None:
            state.kept = (torch.stack(after) if isinstance(after, tuple) else after.unsqueeze(0)).detach()
        return features, outputs

    def initial_state(self, batch: int, length: int) -> State:
        sizes = self.options.kept, self.options.layers, batch, self.options.width
        return State(self.head.weight.new_zeros(sizes))

    def step(self, x: Tensor, state: State) -> Tensor:
        return self(x.unsqueeze(1), state)[1].squeeze(1)
