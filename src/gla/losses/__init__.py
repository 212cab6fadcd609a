"""Losses: what is minimised.

One file for each kind (``gla.losses.kinds``). It holds ``Options``, a subclass of ``gla.losses.options.LossOptions``, and::

    policy(options, encoding, output, batch) -> (B, T)     of a model's outputs (B, T, sizes.output), in nats per step

``batch`` is a gla.windows.batches.Batch, whose ``target`` is what the loss wants of the labels. A loss must be one that a constant
output can be trained with, too: that is what a model is compared with.
"""
