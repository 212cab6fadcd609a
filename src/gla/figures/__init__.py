"""Figures of evaluations, sources and agents.

One file for each kind (``gla.figures.kinds``). It holds ``Options``, a subclass of ``gla.figures.panels.FigureOptions``, and::

    table(entry, ...) -> DataFrame        the numbers that are drawn
    draw(entry, table) -> Figure          draws them and nothing else, so that a change of style needs no rollouts
    COLUMNS                               the names of the table's columns

The class variable ``inputs`` of the options decides the further arguments of ``table``::

    inputs = "digests"        table(entry, digests): paths of the digests of the sources that the entry names
    inputs = "by_position"    table(entry, by_position): paths of the losses by position of the agents that the entry names
    inputs = "rollouts"       table(entry, rollouts, optimal, tasks, agents), each a list with an element for every panel: the paths of
                              its rollouts, the best possible return or None, the number of tasks, and facts about its agents by name

If the class variable ``normalised`` is true, ``bounds`` takes the place of ``optimal``: the expected returns of random actions and of the best
policy in each task, (tasks,) each, or None.

The docstring at the top of the file says what such figures show, and is their caption in the report.

A table that lacks one of COLUMNS is not drawn, nor is one with text in a column that is not in ``gla.figures.drawing.NAMES``.
"""
