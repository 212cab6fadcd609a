"""Options that all sequence models share."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import model_validator

from gla.encoding.tokens import Sizes
from gla.options import Options, Steps


class ModelOptions(Options):
    """Options of all models."""

    layers: Steps = 3
    """Number of blocks."""
    width: Steps = 64
    """Number of dimensions of a token inside the model."""

    predicts: ClassVar[bool] = True
    """Whether the next observation and the reward can be predicted from the model's features."""
    turns: ClassVar[bool] = False
    """Whether outputs rotate with observations and actions, in whatever basis these are given. Such a model is given only their
    coordinates in the span of all vectors that a context can show."""
    encodings: ClassVar[frozenset[str]] = frozenset()
    """The encodings that the model can read; none: all."""
    counts_states: ClassVar[bool] = False
    """Whether the model needs environments whose observations are Discrete."""
    shared: ClassVar[bool] = False
    """Whether all layers have the same weights."""
    selective: ClassVar[bool] = False
    """Whether ``forward`` takes positions, because an output costs much more than reading a token."""
    plans: ClassVar[bool] = False
    """Whether the model acts by plans that it samples, and learns what follows from what instead of actions. It has no ``forward``, and its
    trainer is ``prediction``."""
    carries: ClassVar[bool] = False
    """Whether ``forward`` takes a state, because one of fixed size holds all that was read."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the agent's other options."""
        yield from ()

    @property
    def told(self) -> bool:
        """Whether the model is told which steps of its context an expert took. Tokens then hold that in the place of eta."""
        return False

    @abstractmethod
    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        """Returns the bytes of the state of contexts after ``length`` tokens."""

    @abstractmethod
    def parameters(self, sizes: Sizes) -> int:
        """Returns the number of weights in its blocks, which is a lower bound of all weights."""

    def activations(self, sizes: Sizes) -> int:
        """Returns a lower bound of the bytes that the backward pass needs for each token, in bfloat16; if the model is ``selective``, for each
        token with an output."""
        return self.layers * 10 * 2 * self.width


class AttentionOptions(ModelOptions):
    """Options of all models with attention."""

    heads: Steps = 4
    """Number of attention heads; width / heads must be even."""
    window: Steps | None = None
    """Number of most recent tokens that attention can see. With 1 there is no context, which is behaviour cloning. By default it sees
    the whole context."""

    @model_validator(mode="after")
    def _even(self):
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} over heads {self.heads} is not even (expected a multiple of 2)")
        return self
