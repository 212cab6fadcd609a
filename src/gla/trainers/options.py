"""Options that all trainers share: those of an optimiser."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from gla.options import Count, Limit, Options, Rate, Steps


class TrainerOptions(Options):
    """Options of all trainers."""

    steps: Steps = 1000
    """Number of optimiser steps."""
    batch_size: Count = 64
    """Number of windows in a step."""
    learning_rate: Rate = 3.0e-3
    """AdamW's step size after the warm-up. From there it falls along a cosine to a tenth."""
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 100
    """Number of steps in which the step size rises linearly."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.01
    """AdamW's weight decay."""
    max_grad_norm: Limit = 1.0
    """Largest norm of the gradient. A larger gradient is scaled down."""
    evaluate_every: Steps = 200
    """Number of steps between two measurements of the held-out loss, each with a checkpoint."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the agent's other options."""
        yield from ()

    def unread(self, agent: Any, nouns: Iterable[str], why: str) -> Iterator[str]:
        """Yields a line for each noun of the agent that is configured, although this kind of trainer reads none."""
        for noun in nouns:
            if getattr(agent, noun) != type(agent).model_fields[noun].default:
                own = getattr(agent, noun).kind
                yield f"kind: {agent.training.kind!r} with {noun} of kind {own!r} (expected no {noun}: {why})"

    def problems_in(self, name: str, facts: Mapping[str, Any]) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the environment ``name``. facts: see gla.preflight.all_facts."""
        yield from ()

    def length(self, agent: Any) -> int:
        """Returns the number of tokens in a training context."""
        return agent.windows.length

    def outputs(self, agent: Any) -> int:
        """Returns the number of tokens of a training context whose outputs are computed."""
        return self.length(agent)

    @property
    def at_once(self) -> int:
        """Number of contexts in one computation of gradients."""
        return self.batch_size


def learning_rate(options: TrainerOptions, step: int) -> float:
    """Returns the learning rate of a step: a linear warm-up, then a cosine from the full rate to a tenth of it.

    A function of the step has no state to save. PyTorch's schedulers compute each rate from the one before, which rounds otherwise.
    """
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    done = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))
