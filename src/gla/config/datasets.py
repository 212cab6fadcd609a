"""Datasets: which histories are learned from, and how tokens encode them."""

from typing import Annotated

from pydantic import Field

from gla.encoding.kinds import ENCODINGS
from gla.kinds import one_of
from gla.options import Options


class Dataset(Options):
    """Which histories are learned from, and how they are encoded."""

    sources: Annotated[list[str], Field(min_length=1)]
    """Names of the sources whose histories are learned from."""
    encoding: one_of(ENCODINGS, "projected") = ENCODINGS.options("projected")()
    """How steps are encoded as tokens, and how a model's output becomes a distribution over actions."""
    held_out_lifetimes: Annotated[float, Field(ge=1e-6, lt=1)] = 0.125
    """Share of each source's lifetimes that is kept for validation, rounded up."""
