"""Figures: what is drawn from evaluations, sources and agents.

One file for each kind (``gla.figures.kinds``). It holds ``Options``, a subclass of ``gla.figures.panels.FigureOptions``, and::

    table(entry, inputs) -> DataFrame     the numbers that are drawn
    draw(entry, table) -> Figure          draws them and nothing else, so that a change of style needs no rollouts
    COLUMNS                               of the table

Which inputs a table is made from, the class variable ``inputs`` of the options says: ``digests`` of the sources that it names,
``by_position`` of the agents, or ``rollouts``, ``optimal``, ``tasks`` and ``agents`` of the panels. A table that lacks one of
COLUMNS, or holds something else than numbers in one that is not in ``NAMES``, is not drawn.
"""
