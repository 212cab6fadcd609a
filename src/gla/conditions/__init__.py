"""The conditions of an evaluation: an agent as it is, its controls, and baselines.

``gla.conditions.kinds`` is the table of all conditions. Evaluations, verdicts, figures and rules select from it by role
(``gla.conditions.roles``). Each row names a file in this folder. The file of a condition of an agent has one function::

    observe(context, reward, done)      tells a gla.in_context.InContext the outcome: reward (N,), done (N,) bool

The file of a baseline has one function too::

    run(entry, evaluation, label, files) -> list[EpisodeRows]

Its arguments are the entries of the environment and of the evaluation, the name of the job in progress lines, and the files
that its row in the table asks for: pairs of store and digest of histories, or one file of reference policies. It returns the
rows of each independent run. All runs use the test seeds of the evaluation.
"""
