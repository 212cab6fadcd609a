"""Agents: sequence models that are trained on a dataset."""

from typing import Annotated, Literal

from pydantic import Field

from gla.kinds import one_of
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.options import Count, Limit, Options, Rate, Seed, Steps
from gla.windows.kinds import WINDOWS


class Training(Options):
    """How a model is optimised."""

    steps: Steps = 1000
    """Optimiser steps."""
    batch_size: Count = 64
    """Windows in a step."""
    learning_rate: Rate = 3.0e-3
    """AdamW's step size after the warm-up. It falls along a cosine to a tenth."""
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 100
    """Steps of linear warm-up."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.01
    """AdamW's weight decay."""
    max_grad_norm: Limit = 1.0
    """Gradient norm above which the gradient is scaled down."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the hardware multiplies matrices in it."""
    evaluate_every: Steps = 200
    """Steps between two held-out losses, and between two checkpoints."""


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
    training: Training = Training()
    """How the model is optimised."""
    seed: Seed = 0
    """Seed of the weights and of the order of the data."""
    seeds: Count = 1
    """Networks that are trained, with seeds seed, seed + 1, ...: NAME, NAME.1, ... One network is one sample."""
