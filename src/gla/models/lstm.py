"""A stack of LSTMs (Hochreiter and Schmidhuber, 1997): the baseline of Algorithm Distillation (Laskin et al., 2022)."""

from typing import ClassVar, Literal

from torch import nn

from gla.models.recurrent import RecurrentModel, RecurrentOptions


class Options(RecurrentOptions):
    """A stack of LSTMs."""

    kind: Literal["lstm"] = "lstm"

    gates: ClassVar[int] = 4
    kept: ClassVar[int] = 2


class SequenceModel(RecurrentModel):
    """The interface is described in the package."""

    cells = nn.LSTM
