"""Trainers: how the weights of an agent's model are found.

One file for each kind (``gla.trainers.kinds``). It holds ``Options``, a subclass of ``gla.trainers.options.TrainerOptions``, and a class
``Trainer``, a subclass of ``gla.trainers.base.BaseTrainer``, which knows one step and nothing of files: ``gla.train`` calls it until its
steps are done, keeps its checkpoints and writes what it has learned.
"""
