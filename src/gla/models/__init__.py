"""Sequence models.

One file for each kind (``gla.models.kinds``). It holds ``Options``, a subclass of ``gla.models.options.ModelOptions``, and a class
``SequenceModel``, made from options and an encoding's sizes::

    forward(x) -> features, outputs           tokens (B, T, sizes.token) to (B, T, D) and, in float32, (B, T, sizes.output)
    initial_state(batch, length) -> State     of contexts that are empty and will be shown ``length`` tokens at most at a time
    step(x, state) -> outputs                 the next token of each context (B, sizes.token) to (B, sizes.output)

Each output depends on no later token. ``step`` equals ``forward``, token by token, as long as the state holds all tokens. A state has
``forget(rows)``, which empties the contexts (B,) bool that are true. A fresh model's outputs are 0. A model can be made on the meta
device: before weights are read, their shapes are compared with those of a model that has no more than shapes.
"""
