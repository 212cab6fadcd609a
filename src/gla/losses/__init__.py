"""Losses: what is minimised.

One file for each kind (``gla.losses.kinds``). It holds ``Options``, a subclass of ``gla.losses.options.LossOptions``, and::

    policy(options, encoding, output, batch) -> (B, T)     of a model's outputs (B, T, sizes.output), in nats per step

A loss whose options say ``slow`` is told, as a fifth argument, the outputs of a copy of the model that follows it at that rate.

``batch`` is a gla.windows.batches.Batch, whose ``target`` is what the loss wants of the labels. A loss must be one that a constant
output can be trained with, too: that is what a model is compared with.
"""
