"""What is run in an evaluation: an agent as it is, its controls, and the baselines beside it.

``gla.conditions.kinds`` is the table of all of them, which evaluations, verdicts, figures and rules read, by role
(``gla.conditions.roles``). Each row names a file in this folder. The file of a condition of an agent has one function::

    observe(context, reward, done)      tell a gla.in_context.InContext what followed: reward (N,), done (N,) bool

The file of a baseline has one as well::

    run(entry, evaluation, label, files) -> list[EpisodeRows]

with the environment's entry, the evaluation's, the name of the job in progress lines, and the files that its row says it reads: pairs of
store and digest of histories, or one file of policies of the reference. It returns the rows of each independent run, all of them on the
test seeds of the evaluation.
"""
