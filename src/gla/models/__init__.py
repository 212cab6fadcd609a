"""Sequence models.

One file for each kind (``gla.models.kinds``). It holds ``Options``, a subclass of ``gla.models.options.ModelOptions``, and a class
``SequenceModel``, made from options and an encoding's sizes::

    forward(x) -> features, outputs           tokens (B, T, sizes.token) to (B, T, D) and, in float32, (B, T, sizes.output)
    initial_state(batch, length) -> State     state of empty contexts, each with room for the last ``length`` tokens
    step(x, state) -> outputs                 the next token of each context (B, sizes.token) to (B, sizes.output)

If the options are ``selective``, ``forward`` takes the positions (P,) of the tokens that it returns features and outputs for. If they
``carry``, it takes a state: the tokens follow those that the state holds, and the state then holds them too, without their gradients.
No output depends on later tokens. ``step`` equals ``forward``, token by token, as long as the state holds all tokens. A state
has ``forget(rows)``, which empties the contexts for which (B,) bool is true. The outputs of a new model are 0. A model can be
made on the meta device, since the shapes of weights in a file are compared with those of such a model before they are read.
"""
