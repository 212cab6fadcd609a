"""Trainers: how the weights of an agent's model are found.

One file for each kind (``gla.trainers.kinds``). It holds ``Options``, a subclass of ``gla.trainers.options.TrainerOptions``,
and a class ``Trainer``, a subclass of ``gla.trainers.base.BaseTrainer``, which makes single steps and knows no files.
``gla.train`` calls it for all steps, saves checkpoints and writes the results. A kind that steps environments instead of reading
histories is also named in ``gla.trainers.kinds.ACTING``.
"""
