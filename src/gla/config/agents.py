"""Agents: sequence models that are trained on a dataset."""

from typing import Literal

from gla.kinds import one_of
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.options import Count, Options, Seed
from gla.trainers.kinds import TRAINERS
from gla.windows.kinds import WINDOWS


class Agent(Options):
    """A sequence model that is trained on a dataset."""

    dataset: str
    """Name of a dataset."""
    windows: one_of(WINDOWS, "across_updates") = WINDOWS.options("across_updates")()
    """How a training window is cut from a lifetime."""
    labels: one_of(LABELS, "recorded") = LABELS.options("recorded")()
    """Whose actions the model learns to predict."""
    loss: one_of(LOSSES, "divergence") = LOSSES.options("divergence")()
    """What is minimised."""
    model: one_of(MODELS, "transformer") = MODELS.options("transformer")()
    """The sequence model."""
    eta: Literal["none", "gap", "return", "position"] = "none"
    """What the model is told about the improvement that is expected of it (Kirsch et al., 2023, Section 2)."""
    training: one_of(TRAINERS, "distillation") = TRAINERS.options("distillation")()
    """How the model is optimised."""
    seed: Seed = 0
    """Seed of the weights and of the order of the data."""
    seeds: Count = 1
    """Networks that are trained, with seeds seed, seed + 1, ...: NAME, NAME.1, ... One network is one sample."""
