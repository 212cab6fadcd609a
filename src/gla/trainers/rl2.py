"""RL^2 (Duan et al., 2016; Wang et al., 2016): the model acts, and learns with policy gradients to earn as much as it can in
whole lifetimes.

A lifetime consists of several episodes of one task, and the context is kept through all of them. Training maximises the
return of all episodes, so that it pays to explore in the first ones. Proximal policy optimisation (Schulman et al., 2017)
uses whole lifetimes, many side by side. It uses the encoding of the dataset and the tasks of its training lifetimes, but no
step of the histories. The loss that is reported is minus the reward of a step, and the constant output that it is compared
with acts at random.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from gla.encoding.making import encoding_of
from gla.encoding.tokens import Encoded, nothing, token, tokens
from gla.environments.vector import stepped
from gla.learners.advantages import advantages
from gla.models.building import AgentModel
from gla.options import ConfigError, Count, Fraction, Rate, Steps, Weight
from gla.policies import sample_action
from gla.processes import Processes
from gla.storage.layout import read_digest
from gla.trainers.base import BaseTrainer
from gla.trainers.options import TrainerOptions

if TYPE_CHECKING:
    from gla.config.agents import Agent
    from gla.config.environments import Environment

HALF_LOG_TAU = 0.5 * float(np.log(2 * np.pi))
FOLLOWS = 0.1  # share of the distance to a batch's returns that the unit of values moves


class Options(TrainerOptions):
    """The model acts in the tasks of the dataset's training lifetimes, and learns from the rewards that it earns there."""

    kind: Literal["rl2"] = "rl2"
    steps: Steps = 300
    """Number of times that a batch of lifetimes is acted through and learned from."""
    batch_size: Count = 256
    """Number of lifetimes in a batch."""
    lifetime_steps: Count = 200
    """Number of steps in a lifetime."""
    learning_rate: Rate = 1.0e-3
    """AdamW's step size after the warm-up. From there it falls along a cosine to a tenth."""
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 10
    """Number of steps in which the step size rises linearly."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """AdamW's weight decay."""
    evaluate_every: Steps = 25
    """Number of steps between two measurements of the held-out loss, each with a checkpoint."""
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
        for noun in ("windows", "labels", "loss"):
            if getattr(agent, noun) != type(agent).model_fields[noun].default:
                yield f"kind: 'rl2' with {noun} of kind {getattr(agent, noun).kind!r} (expected no {noun}: it learns from acting)"
        if agent.eta != "none":
            yield f"kind: 'rl2' with eta {agent.eta!r} (expected none)"
        if self.batch_size % self.num_minibatches:
            yield f"num_minibatches: {self.num_minibatches} of {self.batch_size} lifetimes (expected a divisor of batch_size)"

    def length(self, agent: Any) -> int:
        return self.lifetime_steps

    @property
    def at_once(self) -> int:
        return self.batch_size // self.num_minibatches


class Lifetimes(NamedTuple):
    """B lifetimes of T steps. tokens: (B, T, token). action: (B, T) integers or (B, T, a). log_probability: (B, T), that of
    the actions when they were chosen. reward: (B, T), raw. frame: (B, u, a), the matrices that map outputs to actions."""

    tokens: Tensor
    action: Tensor
    log_probability: Tensor
    reward: Tensor
    frame: Tensor

    def part(self, index: Tensor) -> "Lifetimes":
        return Lifetimes(*(x[index] for x in self))


def lifetime_advantages(reward: Tensor, value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Computes advantages (B, T) of lifetimes, which end after their last step. The ends of episodes do not cut them."""
    next_value = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    never = torch.zeros_like(reward, dtype=torch.bool)
    return advantages(reward, value, next_value, never, never, gamma, gae_lambda)


def log_probability(mean: Tensor, log_std: Tensor, action: Tensor, discrete: bool) -> Tensor:
    """Returns the log-probabilities of actions (B, T[, a]), given logits, or means and log-deviations, (B, T, a)."""
    if discrete:
        return torch.log_softmax(mean, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return -(0.5 * ((action - mean) * (-log_std).exp()).square() + log_std + HALF_LOG_TAU).sum(-1)


def entropy(mean: Tensor, log_std: Tensor, discrete: bool) -> Tensor:
    """Returns the entropy of policies, (B, T)."""
    if discrete:
        logits = torch.log_softmax(mean, -1)
        return -(logits.exp() * logits).sum(-1)
    return (log_std + HALF_LOG_TAU + 0.5).sum(-1)


class Trainer(BaseTrainer):
    """Acts in lifetimes, and learns from them."""

    unit: ClassVar[str] = "steps"

    def __init__(
        self, config: "Agent", frame: pd.DataFrame, summary: dict, environments: "list[Environment]",
        own: Processes, scratch: Path | None,
    ):  # fmt: skip
        """Raises ConfigError if there are several processes."""
        if own.count > 1:
            raise ConfigError(f"training.kind: 'rl2' in {own.count} processes (expected one)")
        torch.manual_seed(config.seed)
        self.encoding = encoding_of(summary, config.model.turns)
        self.model = AgentModel(config, self.encoding.sizes)
        value = nn.Linear(config.model.width, 1)
        nn.init.zeros_(value.weight)
        nn.init.zeros_(value.bias)
        self.module = nn.ModuleDict({"model": self.model, "value": value})
        # Values are learned in units of recent returns, since squared errors of large returns would dominate the clipped gradient.
        self.module.register_buffer("returns", torch.tensor([0.0, 1.0]))  # their mean and standard deviation
        self.module.to(own.device)
        self.environments = dict(zip(summary["sources"], environments, strict=True))
        self.frame = frame
        self.prepare(config, own)

    def open(self) -> None:
        self.tasks = {split: self._tasks(split) for split in ("train", "validation")}

    def _tasks(self, split: str) -> dict[str, list[dict[str, Any]]]:
        """Returns the keyword arguments of the tasks of each source's lifetimes in a split."""
        found: dict[str, list[dict[str, Any]]] = {}
        for (source, digest), rows in self.frame[self.frame["split"] == split].groupby(
            ["source", "digest"], sort=False
        ):
            entry, body = self.environments[str(source)], read_digest(digest)
            tasks = entry.tasks or [{}]
            numbers = {body["lifetimes"][k] % body["tasks"] for k in rows["lifetime"]}
            own = found.setdefault(str(source), [])
            own += [task for n in sorted(numbers) if (task := entry.kwargs | tasks[n]) not in own]
        return found

    def _act(self, split: str, index: int, at_random: bool = False) -> Iterator[Lifetimes]:
        """Yields lifetimes of each source, in equal shares. They depend only on the weights, the split and ``index``."""
        stream = {"train": 0, "validation": 1}[split]
        rng = np.random.Generator(np.random.Philox(key=[self.config.seed, stream], counter=[0, 0, 0, index]))
        n = len(self.environments)
        counts = np.full(n, self.options.batch_size // n)
        counts[rng.permutation(n)[: self.options.batch_size % n]] += 1
        for (name, entry), count in zip(self.environments.items(), counts.tolist(), strict=True):
            if count:
                tasks = self.tasks[split][name]
                chosen = [tasks[i] for i in rng.integers(0, len(tasks), count)]
                envs = stepped(entry.id, chosen, int(rng.integers(2**31)), 1, None)
                try:
                    yield self._live(envs, rng, self._range(name, split), at_random)
                finally:
                    envs.close()

    def _range(self, source: str, split: str) -> tuple[int, int]:
        """Returns the range of the seeds of frames that lifetimes may be used with."""
        row = self.frame[(self.frame["source"] == source) & (self.frame["split"] == split)].iloc[0]
        return int(row["projection_low"]), int(row["projection_high"])

    @torch.inference_mode()
    def _live(self, envs: Any, rng: np.random.Generator, seeds: tuple[int, int], at_random: bool) -> Lifetimes:
        encoding, n, length, spec = self.encoding, len(envs), self.options.lifetime_steps, envs.spec
        frames = encoding.frames(rng.integers(*seeds, n) if encoding.varies else None, n, spec)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        seen, state, model = encoding.seen(), self.model.sequence.initial_state(n, length), self.model.sequence
        eta = torch.zeros(n, 1)
        before = nothing(n, encoding.sizes)
        steps: list[tuple[Tensor, ...]] = []
        observation = envs.reset()
        for _ in range(length):
            now = encoding.observe(torch.from_numpy(observation).unsqueeze(1), frames, seen)
            if at_random:
                mean = torch.zeros(n, 1, spec.action_size)
                log_std = torch.zeros_like(mean)
            else:
                x = token(before, now, eta).squeeze(1).to(self.own.device)
                mean, log_std = encoding.distribution(model.step(x, state).cpu().unsqueeze(1), frames.a)
            action = sample_action(mean, None if spec.discrete else log_std, generator)
            chance = log_probability(mean, log_std, action, spec.discrete)
            step = envs.step(action.squeeze(1).numpy())
            paid = torch.from_numpy(step.reward).float().unsqueeze(1)
            end = torch.from_numpy(step.terminated | step.truncated).float().unsqueeze(1)
            before = Encoded(now, encoding.act(action, frames), encoding.reward(paid, seen), end)
            steps.append((*before, action, chance, paid))
            observation = step.observation
        *encoded, action, chance, paid = (torch.cat(x, 1) for x in zip(*steps, strict=True))
        whole = tokens(Encoded(*encoded), torch.zeros(n, length))
        return Lifetimes(whole, action, chance, paid, frames.a.expand(n, -1, -1))

    def _outputs(self, part: Lifetimes) -> tuple[Tensor, Tensor, Tensor]:
        """Returns means or logits, and log-deviations, (B, T, a), and values (B, T) in units of ``returns``."""
        features, output = self.model(part.tokens)
        mean, log_std = self.encoding.distribution(output, part.frame)
        return mean, log_std, self.module["value"](features.float()).squeeze(-1)

    def advance(self) -> None:
        rate, found = self.set_rate(), [self._on_device(x) for x in self._act("train", self.step)]
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

    def _on_device(self, found: Lifetimes) -> Lifetimes:
        # Tensors that were made in inference mode cannot have gradients.
        return Lifetimes(*(x.clone().to(self.own.device) for x in found))

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
        return -torch.cat([x.reward for x in self._act(split, index, at_random)]).mean(0)

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
