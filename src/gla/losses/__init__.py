"""Losses: the functions that training minimises.

One file for each kind (``gla.losses.kinds``). It holds ``Options``, a subclass of ``gla.losses.options.LossOptions``, and::

    policy(options, encoding, output, batch) -> (B, T)     loss of a model's outputs (B, T, sizes.output), in nats per step

If the options of a loss have ``slow``, its fifth argument is the outputs of a copy of the model that follows it at this rate.

``batch`` is a gla.windows.batches.Batch. Its ``target`` is the part of the labels that the loss needs. A constant output is
trained with the same loss, for comparison with the model.
"""
