"""The kinds of trainers. One line for each."""

from gla.kinds import Kinds

TRAINERS = Kinds(
    "training.kind",
    {
        "distillation": "gla.trainers.distillation",
        "rl2": "gla.trainers.rl2",
    },
)
ACTING = ("rl2",)  # that step the dataset's environments themselves, whose code then decides the weights
