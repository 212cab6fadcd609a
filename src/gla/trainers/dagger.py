"""Dataset aggregation (DAgger, Ross et al., 2011) over tasks: the model acts, and imitates an oracle in the contexts that it made itself.

An oracle that knows the task says in each state which actions are best. Imitation from the histories of other behaviours never shows the
contexts that the model gets into when it acts, least of all when it errs. Here it learns in just these. One policy acts and another one
labels, as in OmniRL (Wang et al., 2025, decoupled policy distillation), whose behaviours are others than the model. Each batch of lifetimes
is learned from and then forgotten. The loss is the cross-entropy of the oracle's actions, and the constant output that it is compared with
gives all actions the same probability.

Who knows the task never explores, and so cannot teach it. The oracle may therefore be told to believe only what the context has shown, and
of everything else the best, as R-max does (Brafman and Tennenholtz, 2002). Its plans go through what was tried, where it knows what will
happen much better than the context says, and end at what was not.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from gla.environments.tabular import Tables, plans, stacked
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
    known: Annotated[int, Field(ge=0, le=10**6)] = 1
    """Number of tries after which the oracle knows what an action does in a state. Before, it takes it for one that pays the largest mean
    reward of the task in each remaining step of the episode. With 0 it knows everything, and never explores."""
    shown: Fraction = 0.0
    """Share of lifetimes that begin with steps of an expert, who knows everything: up to half a lifetime of them. In states in which the
    context has shown the expert, its action is the label, and the oracle's anywhere else."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        yield from super().problems_of(agent)
        if self.minibatch_size > self.batch_size:
            yield f"minibatch_size: {self.minibatch_size} of {self.batch_size} lifetimes (expected at most batch_size)"
        if self.shown and self.lifetime_steps < 2:
            yield f"shown: {self.shown} of lifetimes of {self.lifetime_steps} step (expected 2 or more steps)"
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


class Worlds(NamedTuple):
    """The tables of N tasks with at most S states and A actions, in float64. leads: (N, S, S A), the probability that the first state
    follows each pair of the last ones and does not end the episode. reward: (N, S, A), means. most: (N,), the largest of them."""

    leads: Tensor
    reward: Tensor
    most: Tensor

    @classmethod
    def of(cls, tables: list[Tables], copies: np.ndarray) -> "Worlds":
        """Returns those of copies (N,), which have these numbers among the tables."""
        probability, reward, terminal = stacked(tables)
        goes_on = np.moveaxis(probability * ~terminal[:, None, None], -1, 1)
        most = np.where(terminal, -np.inf, reward.max(-1)).max(-1)
        return cls(*(torch.from_numpy(x[copies]) for x in (goes_on.reshape(*goes_on.shape[:2], -1), reward, most)))

    def best_actions(self, untried: Tensor, state: Tensor, left: Tensor, gamma: float) -> Tensor:
        """Returns how likely an oracle is to take each action, (N, P, A): all the best ones alike. untried: (N, P, S, A) bool, the pairs that
        it knows nothing of. state, left: (N, P) int, the current states and the remaining steps, in which returns are discounted by gamma.
        """
        found, later = self.reward.new_zeros(*left.shape, self.reward.shape[-1]), torch.zeros_like(self.most)
        value = self.reward.new_zeros(untried.shape[:3])
        rows = torch.arange(len(state)).unsqueeze(1), torch.arange(state.shape[1]), state
        for steps in range(1, int(left.max()) + 1):
            later = 1 + gamma * later
            expected = self.reward.unsqueeze(1) + gamma * (value @ self.leads).view(untried.shape)
            expected = torch.where(untried, (later * self.most).view(-1, 1, 1, 1), expected)
            found = torch.where((left == steps).unsqueeze(-1), expected[rows], found)
            value = expected.amax(-1)
        most = found.amax(-1, keepdim=True)
        best = (found >= most - 1e-9 * (1 + most.abs())).float()
        return best / best.sum(-1, keepdim=True)


class Labelled(NamedTuple):
    """Lifetimes of one source, and their tasks."""

    lifetimes: Lifetimes
    worlds: Worlds

    def part(self, index: Tensor) -> "Labelled":
        return Labelled(self.lifetimes.part(index), Worlds(*(x[index.cpu()] for x in self.worlds)))

    def labels(self, positions: Tensor, known: int, gamma: float) -> Tensor:
        """Returns how likely the oracle is to take each action at steps (P,), (B, P, A). known: the tries after which it knows what an
        action does in a state."""
        positions, (state, left) = positions.cpu(), self.lifetimes.noted.cpu().unbind(-1)
        n, t = state.shape
        s, a = self.worlds.reward.shape[1:]
        # Each try counts from the first of the positions that come after it.
        part = torch.searchsorted(positions, torch.arange(t), right=True)
        pair = (part * s + state) * a + self.lifetimes.action.cpu()
        tried = torch.zeros(n, (len(positions) + 1) * s * a).scatter_add_(1, pair, torch.ones(n, t))
        untried = tried.view(n, -1, s, a)[:, :-1].cumsum(1) < known
        now = state[:, positions]
        found = self.worlds.best_actions(untried, now, left[:, positions], gamma)
        if not (shown := self.lifetimes.shown.cpu()).any():
            return found
        expert = torch.zeros(n, (len(positions) + 1) * s).scatter_add_(1, part * s + state, shown.float())
        seen = expert.view(n, -1, s)[:, :-1].cumsum(1).gather(2, now.unsqueeze(2)) > 0
        best = self.worlds.best_actions(torch.zeros_like(untried), now, left[:, positions], gamma)
        return torch.where(seen, best, found)


class Trainer(ActingTrainer):
    """Acts in lifetimes, and learns the oracle's actions there."""

    def temperatures(self, n: int, rng: np.random.Generator) -> np.ndarray:
        low, high = self.options.temperatures
        return rng.uniform(low, high, n)

    def noted(self, envs: Any) -> np.ndarray:
        return np.stack([envs.state, envs.left], -1).astype(np.int64)

    def expert(self, envs: Any, rng: np.random.Generator) -> Callable[[int], tuple[np.ndarray, np.ndarray]] | None:
        o, n = self.options, len(envs)
        if not o.shown:
            return None
        plan = plans(envs.tables, int(envs.limit.max()), o.gamma)
        steps = np.where(rng.random(n) < o.shown, rng.integers(1, o.lifetime_steps // 2, n, endpoint=True), 0)
        return lambda t: (t < steps, plan[envs.task, envs.left - 1, envs.state])

    def kept(self, found: Lifetimes, envs: Any) -> Labelled:
        return Labelled(self.on_device(found), Worlds.of(envs.tables, envs.task))

    def _loss(self, part: Labelled, positions: Tensor) -> Tensor:
        """Returns the cross-entropy of the oracle's actions at steps (P,) of B lifetimes, (B, P)."""
        own, o = part.lifetimes, self.options
        _, output = self.model(own.tokens, positions)
        logits, _ = self.encoding.distribution(output, own.frame)
        label = part.labels(positions, o.known, o.gamma).to(logits)
        return -(label * torch.log_softmax(logits, -1)).sum(-1)

    def _positions(self, offset: np.ndarray) -> Tensor:
        """Returns a step in each of as many equal parts of a lifetime as there are offsets (P,) between 0 and 1."""
        drawn = self.options.lifetime_steps * (np.arange(len(offset)) + offset) / len(offset)
        return torch.from_numpy(drawn.astype(np.int64)).to(self.own.device)

    def advance(self) -> None:
        o, rate, rows = self.options, self.set_rate(), []
        found = list(self.lifetimes("train", self.step))
        rng = np.random.Generator(np.random.Philox(key=[self.config.seed, 2], counter=[0, 0, 0, self.step]))
        self.module.train()
        for update in range(o.updates):
            own = found[(self.step + update) % len(found)]
            index = torch.from_numpy(rng.permutation(len(own.worlds.most))[: o.minibatch_size]).to(self.own.device)
            loss = self._loss(own.part(index), self._positions(rng.random(o.positions))).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), o.max_grad_norm)
            rows.append({"train_loss": float(loss.detach()), "gradient_norm": float(norm)})
            self.check(rows[-1])
            self.optimizer.step()
        reward = float(torch.cat([x.lifetimes.reward for x in found]).mean())
        self.note({**pd.DataFrame(rows).mean().to_dict(), "train_reward": reward, "learning_rate": rate})

    @torch.no_grad()
    def _measured(self, split: str, index: int) -> tuple[Tensor, Tensor, float]:
        """Returns the losses of the model and of the constant output at the middles of equal parts of lifetimes, (P,) each, and the mean
        reward of a step."""
        self.module.eval()
        positions, found = self._positions(np.full(self.options.positions, 0.5)), list(self.lifetimes(split, index))
        every = [x.part(i) for x in found for i in torch.arange(len(x.worlds.most)).split(self.options.minibatch_size)]
        own = torch.cat([self._loss(x, positions) for x in every]).mean(0)
        actions = torch.cat([torch.full(x.worlds.most.shape, float(np.log(x.worlds.reward.shape[-1]))) for x in every])
        reward = torch.cat([x.lifetimes.reward for x in found]).mean()
        return own.cpu(), actions.mean().expand(len(own)), float(reward)

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
