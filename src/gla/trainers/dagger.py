"""Dataset aggregation (DAgger, Ross et al., 2011) over tasks: the model acts, and imitates an oracle in the contexts that it made itself.

An oracle that knows the task says in each state which actions are best. Imitation from the histories of other behaviours never shows the
contexts that the model gets into when it acts, least of all when it errs. Here it learns in just these. One policy acts and another one
labels, as in OmniRL (Wang et al., 2025, decoupled policy distillation), whose behaviours are others than the model. Each batch of lifetimes
is learned from and then forgotten. The loss is the cross-entropy of the oracle's actions, and the constant output that it is compared with
gives all actions the same probability.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from gla.environments.tabular import Tables
from gla.options import Count, Fraction, Rate, Steps
from gla.trainers.acting import ActingTrainer, ActingTrainerOptions, Lifetimes

Heat = Annotated[float, Field(gt=0, le=1e3)]


class Options(ActingTrainerOptions):
    """The model acts in the tasks of the dataset's training lifetimes, and learns what an oracle would have done there. It needs worlds of
    finitely many states."""

    kind: Literal["dagger"] = "dagger"
    steps: Steps = 60
    """Number of times that a batch of lifetimes is acted through and learned from."""
    batch_size: Count = 64
    """Number of lifetimes in a batch."""
    lifetime_steps: Count = 1000
    """Number of steps in a lifetime."""
    learning_rate: Rate = 5.0e-3
    """AdamW's step size after the warm-up. From there it falls along a cosine to a tenth."""
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 4
    """Number of steps in which the step size rises linearly."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.01
    """AdamW's weight decay."""
    evaluate_every: Steps = 10
    """Number of steps between two measurements of the held-out loss, each with a checkpoint."""
    updates: Count = 24
    """Number of optimiser steps on each batch of lifetimes."""
    minibatch_size: Count = 16
    """Number of lifetimes in an optimiser step, all of one source."""
    positions: Count = 16
    """Number of steps of each lifetime whose labels are learned in an optimiser step, one in each of as many equal parts."""
    temperatures: Annotated[list[Heat], Field(min_length=2, max_length=2)] = [0.3, 1.0]
    """Smallest and largest temperature at which the model acts. Each lifetime has its own, drawn uniformly in between."""
    gamma: Fraction = 0.998
    """Discount per step in the returns that the oracle maximises up to the time limit. It is below 1 so that no reward is put off."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        yield from super().problems_of(agent)
        if self.minibatch_size > self.batch_size:
            yield f"minibatch_size: {self.minibatch_size} of {self.batch_size} lifetimes (expected at most batch_size)"
        if self.positions > self.lifetime_steps:
            yield f"positions: {self.positions} of {self.lifetime_steps} steps (expected at most lifetime_steps)"
        if self.temperatures[0] > self.temperatures[1]:
            yield f"temperatures: {self.temperatures} (expected the smaller one first)"

    def problems_in(self, name: str, facts: Mapping[str, Any]) -> Iterator[str]:
        if not facts["tables"] or facts["time_limit"] is None:
            yield f"kind: 'dagger' in environment {name!r} (expected a tabular world of gla with a time limit, which an oracle can plan in)"

    def outputs(self, agent: Any) -> int:
        return self.positions if agent.model.selective else self.lifetime_steps

    @property
    def at_once(self) -> int:
        return self.minibatch_size


def best_actions(tables: list[Tables], states: int, limit: int, gamma: float) -> np.ndarray:
    """Returns how likely an oracle is to take each action in tasks with these tables, (tasks, limit, states, A): all the best ones alike. Row i
    is for i + 1 remaining steps, and later rows are not needed where a task's own horizon is shorter."""
    found = np.zeros((len(tables), limit, states, tables[0].sizes[1]), np.float32)
    for likely, own in zip(found, tables, strict=True):
        best = own.best_actions(limit, gamma)
        likely[:, : own.sizes[0]] = best / best.sum(-1, keepdims=True)
    return found


class Trainer(ActingTrainer):
    """Acts in lifetimes, and learns the oracle's actions there."""

    def temperatures(self, n: int, rng: np.random.Generator) -> np.ndarray:
        low, high = self.options.temperatures
        return rng.uniform(low, high, n)

    def labeller(self, envs: Any) -> Callable[[], np.ndarray]:
        best = best_actions(envs.tables, envs.states, int(envs.limit.max()), self.options.gamma)
        return lambda: best[envs.task, envs.left - 1, envs.state]

    def _loss(self, part: Lifetimes, positions: Tensor) -> Tensor:
        """Returns the cross-entropy of the oracle's actions at steps (P,) of B lifetimes, (B, P)."""
        _, output = self.model(part.tokens, positions)
        logits, _ = self.encoding.distribution(output, part.frame)
        return -(part.label[:, positions] * torch.log_softmax(logits, -1)).sum(-1)

    def _positions(self, offset: np.ndarray) -> Tensor:
        """Returns a step in each of as many equal parts of a lifetime as there are offsets (P,) between 0 and 1."""
        drawn = self.options.lifetime_steps * (np.arange(len(offset)) + offset) / len(offset)
        return torch.from_numpy(drawn.astype(np.int64)).to(self.own.device)

    def advance(self) -> None:
        o, rate, rows = self.options, self.set_rate(), []
        found = [self.on_device(x) for x in self.lifetimes("train", self.step)]
        rng = np.random.Generator(np.random.Philox(key=[self.config.seed, 2], counter=[0, 0, 0, self.step]))
        self.module.train()
        for update in range(o.updates):
            own = found[(self.step + update) % len(found)]
            index = torch.from_numpy(rng.permutation(len(own.reward))[: o.minibatch_size]).to(self.own.device)
            loss = self._loss(own.part(index), self._positions(rng.random(o.positions))).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), o.max_grad_norm)
            rows.append({"train_loss": float(loss.detach()), "gradient_norm": float(norm)})
            self.check(rows[-1])
            self.optimizer.step()
        reward = float(torch.cat([x.reward for x in found]).mean())
        self.note({**pd.DataFrame(rows).mean().to_dict(), "train_reward": reward, "learning_rate": rate})

    @torch.no_grad()
    def _measured(self, split: str, index: int) -> tuple[Tensor, Tensor, float]:
        """Returns the losses of the model and of the constant output at the middles of equal parts of lifetimes, (P,) each, and the mean
        reward of a step."""
        self.module.eval()
        positions, found = self._positions(np.full(self.options.positions, 0.5)), list(self.lifetimes(split, index))
        every = [
            x.part(i)
            for x in map(self.on_device, found)
            for i in torch.arange(len(x.reward)).split(self.options.minibatch_size)
        ]
        own = torch.cat([self._loss(x, positions) for x in every]).mean(0)
        actions = torch.cat([torch.full((len(x.reward),), float(np.log(x.label.shape[-1]))) for x in every])
        return own.cpu(), actions.mean().expand(len(own)), float(torch.cat([x.reward for x in found]).mean())

    def losses(self) -> dict[str, float]:
        loss, constant, reward = self._measured("validation", self.step)
        return {
            "validation_loss": float(loss.mean()),
            "validation_constant_loss": float(constant.mean()),
            "validation_reward": reward,
        }

    def by_position(self) -> pd.DataFrame:
        end = self.options.steps
        (seen, _, _), (held_out, constant, _) = self._measured("train", end), self._measured("validation", end)
        found = {"train_loss": seen, "validation_loss": held_out, "constant_loss": constant}
        return pd.DataFrame(found, index=self._positions(np.full(self.options.positions, 0.5)).tolist())
