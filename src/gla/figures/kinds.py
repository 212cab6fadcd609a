"""The kinds of figures. One line for each."""

from gla.kinds import Kinds

FIGURES = Kinds(
    "figure.kind",
    {
        "sources": "gla.figures.sources",
        "in_context": "gla.figures.in_context",
        "scaling": "gla.figures.scaling",
        "scores": "gla.figures.scores",
        "normalised": "gla.figures.normalised",
        "training": "gla.figures.training",
        "training_tasks": "gla.figures.training_tasks",
    },
    "gla.figures",
)
NAMING = (
    "scores",
    "normalised",
    "training_tasks",
)  # kinds whose tables, and not only their legends, hold the names of panels and agents
