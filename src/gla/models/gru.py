"""A stack of gated recurrent units (Cho et al., 2014): the model of RL^2 (Duan et al., 2016)."""

from typing import ClassVar, Literal

from torch import nn

from gla.models.recurrent import RecurrentModel, RecurrentOptions


class Options(RecurrentOptions):
    """A stack of gated recurrent units."""

    kind: Literal["gru"] = "gru"

    gates: ClassVar[int] = 3
    kept: ClassVar[int] = 1


class SequenceModel(RecurrentModel):
    """The interface is described in the package."""

    cells = nn.GRU
