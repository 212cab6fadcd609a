"""RL^2 (Duan et al., 2016; Wang et al., 2016): the model acts, and learns with policy gradients to earn as much as it can in
whole lifetimes.

A lifetime consists of several episodes of one task, and the context is kept through all of them. Training maximises the
return of all episodes, so that it pays to explore in the first ones. Proximal policy optimisation (Schulman et al., 2017)
uses whole lifetimes, many side by side. The loss that is reported is minus the reward of a step, and the constant output that it is
compared with acts at random.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from gla.learners.advantages import advantages
from gla.options import Count, Fraction, Rate, Steps, Weight
from gla.trainers.acting import HALF_LOG_TAU, ActingTrainer, ActingTrainerOptions, Lifetimes, log_probability

if TYPE_CHECKING:
    from gla.config.agents import Agent

FOLLOWS = 0.1  # share of the distance to a batch's returns that the unit of values moves


class Options(ActingTrainerOptions):
    """The model acts in the tasks of the dataset's training lifetimes, and learns from the rewards that it earns there."""

    kind: Literal["rl2"] = "rl2"
    steps: Steps = 300
    """Number of times that a batch of lifetimes is acted through and learned from."""
    learning_rate: Rate = 1.0e-3
    """AdamW's step size after the warm-up. From there it falls along a cosine to a tenth."""
    update_epochs: Count = 4
    """Number of passes over each batch of lifetimes."""
    num_minibatches: Count = 4
    """Number of parts that a batch is divided into, with one optimiser step for each."""
    gamma: Fraction = 0.99
    """Discount per step."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation."""
    clip: Rate = 0.2
    """Bound at which the probability ratio is clipped."""
    entropy_coefficient: Weight = 0.01
    """Weight of the policy's entropy."""
    value_coefficient: Weight = 0.5
    """Weight of the value's squared error."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        yield from super().problems_of(agent)
        if self.batch_size % self.num_minibatches:
            yield f"num_minibatches: {self.num_minibatches} of {self.batch_size} lifetimes (expected a divisor of batch_size)"

    @property
    def at_once(self) -> int:
        return self.batch_size // self.num_minibatches


def lifetime_advantages(reward: Tensor, value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Computes advantages (B, T) of lifetimes, which end after their last step. The ends of episodes do not cut them."""
    next_value = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    never = torch.zeros_like(reward, dtype=torch.bool)
    return advantages(reward, value, next_value, never, never, gamma, gae_lambda)


def entropy(mean: Tensor, log_std: Tensor, discrete: bool) -> Tensor:
    """Returns the entropy of policies, (B, T)."""
    if discrete:
        logits = torch.log_softmax(mean, -1)
        return -(logits.exp() * logits).sum(-1)
    return (log_std + HALF_LOG_TAU + 0.5).sum(-1)


class Trainer(ActingTrainer):
    """Acts in lifetimes, and learns from what they earned."""

    def learned(self, config: "Agent") -> nn.Module:
        value = nn.Linear(config.model.width, 1)
        nn.init.zeros_(value.weight)
        nn.init.zeros_(value.bias)
        module = nn.ModuleDict({"model": self.model, "value": value})
        # Values are learned in units of recent returns, since squared errors of large returns would dominate the clipped gradient.
        module.register_buffer("returns", torch.tensor([0.0, 1.0]))  # their mean and standard deviation
        return module

    def _outputs(self, part: Lifetimes) -> tuple[Tensor, Tensor, Tensor]:
        """Returns means or logits, and log-deviations, (B, T, a), and values (B, T) in units of ``returns``."""
        features, output = self.model(part.tokens)
        mean, log_std = self.encoding.distribution(output, part.frame)
        return mean, log_std, self.module["value"](features.float()).squeeze(-1)

    def advance(self) -> None:
        rate, found = self.set_rate(), [self.on_device(x) for x in self.lifetimes("train", self.step)]
        reward = float(torch.cat([x.reward for x in found]).mean())
        self._measure(torch.cat([x.reward for x in found]))
        self.module.train()
        learned = [self._learn(lifetimes, i, len(found)) for i, lifetimes in enumerate(found)]
        self.note({"train_loss": -reward, **pd.DataFrame(learned).mean().to_dict(), "learning_rate": rate})

    @torch.no_grad()
    def _measure(self, rewards: Tensor) -> None:
        """Moves the unit of values towards the returns of lifetimes with these rewards (B, T), and leaves all values as they are (van Hasselt
        et al., 2016)."""
        # Without values and with lambda 1, advantages are the returns.
        ahead = lifetime_advantages(rewards, torch.zeros_like(rewards), self.options.gamma, 1.0)
        now = torch.stack([ahead.mean(), ahead.std().clamp_min(1e-3)])
        if self.step == 0:
            self.module.returns.copy_(now)
            return
        old_mean, old_scale = self.module.returns.clone()
        mean, scale = self.module.returns.lerp_(now, FOLLOWS)
        value = self.module["value"]
        value.weight.mul_(old_scale / scale)
        value.bias.copy_((old_scale * value.bias + old_mean - mean) / scale)

    def _learn(self, found: Lifetimes, source: int, sources: int) -> dict[str, float]:
        """Takes ``update_epochs`` times ``num_minibatches`` optimiser steps on the lifetimes of one source."""
        o, rows = self.options, []
        discrete, (mean_return, scale) = found.action.dim() == 2, self.module.returns
        with torch.no_grad():
            value = mean_return + scale * torch.cat([
                self._outputs(found.part(i))[2] for i in torch.arange(len(found.reward)).chunk(o.num_minibatches)
            ])  # fmt: skip
        advantage = lifetime_advantages(found.reward, value, o.gamma, o.gae_lambda)
        wanted = (advantage + value - mean_return) / scale
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        generator = torch.Generator().manual_seed((self.step * sources + source) % 2**62)
        for _ in range(o.update_epochs):
            for index in torch.randperm(len(value), generator=generator).chunk(o.num_minibatches):
                part = found.part(index)
                mean, log_std, now = self._outputs(part)
                ratio = (log_probability(mean, log_std, part.action, discrete) - part.log_probability).exp()
                gain = advantage[index]
                surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - o.clip, 1 + o.clip) * gain).mean()
                spread, error = entropy(mean, log_std, discrete).mean(), (now - wanted[index]).square().mean()
                self.optimizer.zero_grad(set_to_none=True)
                (-surrogate - o.entropy_coefficient * spread + o.value_coefficient * error).backward()
                norm = nn.utils.clip_grad_norm_(self.module.parameters(), o.max_grad_norm)
                row = {"entropy": spread, "value_error": error, "gradient_norm": norm}
                rows.append({name: float(x.detach()) for name, x in row.items()})
                self.check(rows[-1])
                self.optimizer.step()
        return pd.DataFrame(rows).mean().to_dict()

    def _paid(self, split: str, index: int, at_random: bool = False) -> Tensor:
        """Returns minus the mean rewards by position, (T,)."""
        self.module.eval()
        return -torch.cat([x.reward for x in self.lifetimes(split, index, at_random)]).mean(0)

    def losses(self) -> dict[str, float]:
        return {
            "validation_loss": float(self._paid("validation", self.step).mean()),
            "validation_constant_loss": float(self._paid("validation", self.step, at_random=True).mean()),
        }

    def by_position(self) -> pd.DataFrame:
        end = self.options.steps
        return pd.DataFrame(
            {
                "train_loss": self._paid("train", end),
                "validation_loss": self._paid("validation", end),
                "constant_loss": self._paid("validation", end, at_random=True),
            }
        )
