"""Agents: sequence models that are trained on a dataset."""

from typing import Annotated, Literal

from pydantic import Field

from gla.config.evaluations import Cooling
from gla.kinds import one_of
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.options import Count, Options, Seed, Steps
from gla.trainers.kinds import TRAINERS
from gla.windows.kinds import WINDOWS


class Acting(Options):
    """Settings with which an agent acts where nothing else is asked for."""

    temperature: Annotated[float, Field(ge=0, le=1e3)] = 1.0
    """Factor on the action noise, as in an evaluation."""
    cooling: Cooling | None = None
    """How the temperature changes from the first step on."""
    context_length: Steps = 4000
    """How many of the last transitions attention can see."""


class Agent(Options):
    """A sequence model that is trained on a dataset."""

    dataset: str
    """Name of a dataset."""
    windows: one_of(WINDOWS, "across_updates") = WINDOWS.options("across_updates")()
    """How a training window is cut from a lifetime."""
    labels: one_of(LABELS, "recorded") = LABELS.options("recorded")()
    """Whose actions the model learns to predict."""
    loss: one_of(LOSSES, "divergence") = LOSSES.options("divergence")()
    """The loss that is minimised."""
    model: one_of(MODELS, "transformer") = MODELS.options("transformer")()
    """The sequence model."""
    eta: Literal["none", "gap", "return", "position"] = "none"
    """The number that tells the model how much it is expected to improve (Kirsch et al., 2023, Section 2)."""
    training: one_of(TRAINERS, "distillation") = TRAINERS.options("distillation")()
    """How the model is optimised."""
    seed: Seed = 0
    """Random seed of the initial weights and of the order of the data."""
    acting: Acting = Acting()
    """Settings of those who let the agent act by hand, with `gla learn` or in Python, as evaluations have found them to be good.
    Evaluations have their own."""
    seeds: Count = 1
    """Number of networks that are trained, with the random seeds seed, seed + 1, ... They are called NAME, NAME.1, ... Each
    network is one sample of the training."""
