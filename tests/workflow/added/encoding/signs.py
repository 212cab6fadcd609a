"""Like projected, but with only the signs of observations."""

from typing import Literal

from gla.encoding import projected


class Options(projected.Options):
    """The signs of observations."""

    kind: Literal["signs"] = "signs"


class Encoding(projected.Encoding):
    """See the package for the interface."""

    def observe(self, x, frames, seen):
        return super().observe(x.sign(), frames, seen)
