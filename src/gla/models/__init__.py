"""Sequence models: one file for each kind, all with the interface below.

A model maps tokens (B, T, TOKEN), see ``gla.models.tokens``, to features (B, T, D) and policy outputs
(B, T, 32) in float32: 16 means and 16 log-deviations (``gla.distributions.pull_back``). Each depends
on no later token, and on at most the last ``window`` tokens. ``cache(batch, length)`` makes an empty
state for step-by-step decoding that remembers the last ``length`` tokens, and ``step(x, cache)`` maps
the next token of each stream (B, TOKEN) to its policy outputs (B, 32). A fresh model's outputs are 0.
"""

from torch import nn

from gla.config import Model
from gla.models.equivariant import Equivariant
from gla.models.transformer import Transformer

KINDS = {"transformer": Transformer, "equivariant": Equivariant}


def build(config: Model) -> nn.Module:
    """The model that a config describes, with fresh weights."""
    return KINDS[config.kind](config)
