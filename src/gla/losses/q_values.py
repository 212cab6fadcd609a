"""In-context Q-learning (Tarasov et al., 2025) with a conservative term (Kumar et al., 2020), instead of imitation.

At every token the model outputs the values Q of all actions. The target for the value of the action that was taken is
r + gamma max Q(next token), where the next values are those of a copy of the model that follows it slowly (Mnih et al., 2015). The
conservative term lowers the values of all actions, through their log-sum-exp, and raises the value of the action that was taken.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gla.encoding.tokens import NO_ACTION
from gla.losses.options import LossOptions
from gla.options import ConfigError, Fraction, Weight


class Options(LossOptions):
    """Q-learning: the squared error of the values of recorded discrete actions."""

    kind: Literal["q_values"] = "q_values"
    gamma: Fraction = 0.7
    """Discount per step (Tarasov et al., 2025: 0.7 for small rooms, 0.8 for larger ones)."""
    conservative: Weight = 0.3
    """Weight of the conservative term. 0 is plain Q-learning."""
    temperature: Annotated[float, Field(gt=0, le=1e3)] = 0.05
    """Factor from outputs to values. An agent that acts at temperature 1 thus draws its actions from softmax(Q / this factor)."""
    follows: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of the distance to the model that its slow copy (the target network) moves in each step."""

    wants: ClassVar[str] = "action"
    follows_steps: ClassVar[bool] = True

    @property
    def slow(self) -> float:
        return self.follows

    def problems_of(self, agent: Any) -> Iterator[str]:
        yield from super().problems_of(agent)
        if agent.labels.kind != "recorded":
            yield f"kind: 'q_values' with labels {agent.labels.kind!r} (expected recorded: rewards are those of the actions taken)"


def policy(options: Options, encoding: Any, output: Tensor, batch: Any, slow: Tensor | None = None) -> Tensor:
    """See gla.losses. slow: outputs of the slow copy, (B, T, sizes.output); those of the model itself if there is no copy."""
    if not batch.discrete.all():
        raise ConfigError("loss.kind: 'q_values' for continuous actions (expected sources whose actions are discrete)")
    (action,) = batch.target
    absent = action <= NO_ACTION / 2

    def values(x: Tensor) -> Tensor:
        return (options.temperature * encoding.distribution(x, batch.frame)[0]).masked_fill(absent, NO_ACTION)

    own = values(output)
    taken = (own.masked_fill(absent, 0.0) * action.masked_fill(absent, 0.0)).sum(-1)
    with torch.no_grad():
        best = values(output if slow is None else slow).max(-1).values
        # The step after the last token is not known. The last token is treated as the end of an episode, and is left out below.
        following = torch.cat([best[:, 1:], torch.zeros_like(best[:, :1])], 1)
        target = batch.reward + options.gamma * following * ~batch.end
        known = torch.ones_like(target)
        known[:, -1] = 0.0
    return known * (taken - target).square() + options.conservative * (torch.logsumexp(own, -1) - taken)
