"""Sequence models: one file for each kind, named as the kind and found by its name.

A file has a class ``SequenceModel``, made from ``gla.config.Model``. It maps tokens (B, T, TOKEN), see
``gla.models.tokens``, to features (B, T, D) and policy outputs (B, T, 32) in float32: 16 means and 16
log-deviations (``gla.distributions.pull_back``). Each depends on no later token, and on at most the
last ``window`` tokens. ``cache(batch, length)`` makes an empty state for step-by-step decoding that
remembers the last ``length`` tokens and has ``forget(streams)``, which empties the context of the
streams (B,) bool that are true; ``step(x, cache)`` maps the next token of each stream (B, TOKEN) to
its policy outputs (B, 32). A fresh model's outputs are 0. It can be made on the meta device: before weights are read, their
shapes are compared with those of a model that has no more than shapes.
"""

from importlib import import_module

from torch import nn

from gla.config import ConfigError, Model, model_kinds


def build(config: Model) -> nn.Module:
    """The model that a config describes, with fresh weights. Raises ConfigError for a kind that there is not."""
    if config.kind not in model_kinds():
        raise ConfigError(f"model.kind: {config.kind!r} (expected one of {', '.join(model_kinds())})")
    return import_module(f"gla.models.{config.kind}").SequenceModel(config)
