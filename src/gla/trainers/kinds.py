"""The kinds of trainers. One line for each."""

from gla.kinds import Kinds

TRAINERS = Kinds(
    "training.kind",
    {
        "distillation": "gla.trainers.distillation",
        "rl2": "gla.trainers.rl2",
    },
)
ACTING = ("rl2",)  # kinds that step the dataset's environments, so that the code of these decides the weights
