"""The kinds of trainers. One line for each."""

from gla.kinds import Kinds

TRAINERS = Kinds(
    "training.kind",
    {
        "distillation": "gla.trainers.distillation",
        "rl2": "gla.trainers.rl2",
        "dagger": "gla.trainers.dagger",
        "prediction": "gla.trainers.prediction",
    },
    "gla.trainers",
)
# Kinds that step the dataset's environments, whose code then decides the weights. They read no histories: they have no windows, labels or loss.
ACTING = ("rl2", "dagger")
