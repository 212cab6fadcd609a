"""Sequence models: one file for each kind, all with the interface below.

A model maps tokens (B, T, D) to features (B, T, D), each of which depends on no later token.
``cache(batch, length)`` makes an empty state for step-by-step decoding that remembers the last
``length`` tokens, and ``step(x, cache)`` maps the next token (B, D) to its feature (B, D).
"""

from torch import nn

from gla.config import Model
from gla.models.transformer import Transformer

KINDS = {"transformer": Transformer}


def build(config: Model) -> nn.Module:
    """The model that a config describes, with fresh weights."""
    return KINDS[config.kind](layers=config.layers, width=config.width, heads=config.heads)
