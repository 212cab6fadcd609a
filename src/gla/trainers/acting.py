"""The base of trainers whose model acts by itself: lifetimes in the tasks of the dataset's training lifetimes.

They use the encoding of the dataset and the tasks of its lifetimes, but no step of the histories.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from gla.encoding.making import encoding_of
from gla.encoding.tokens import Encoded, nothing, token, tokens
from gla.environments.vector import stepped
from gla.models.building import AgentModel
from gla.options import Count, Steps
from gla.policies import sample_action
from gla.processes import Processes
from gla.storage.layout import read_digest
from gla.trainers.base import BaseTrainer
from gla.trainers.options import TrainerOptions

if TYPE_CHECKING:
    from gla.config.agents import Agent
    from gla.config.environments import Environment


HALF_LOG_TAU = 0.5 * float(np.log(2 * np.pi))


class ActingTrainerOptions(TrainerOptions):
    """Options of all trainers whose model acts."""

    batch_size: Count = 256
    """Number of lifetimes in a batch."""
    lifetime_steps: Count = 200
    """Number of steps in a lifetime."""
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 10
    """Number of steps in which the step size rises linearly."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """AdamW's weight decay."""
    evaluate_every: Steps = 25
    """Number of steps between two measurements of the held-out loss, each with a checkpoint."""

    def problems_of(self, agent: Any) -> Iterator[str]:
        kind = agent.training.kind
        yield from self.unread(agent, ("windows", "labels", "loss"), "it learns from acting")
        if agent.eta != "none":
            yield f"kind: {kind!r} with eta {agent.eta!r} (expected none)"

    def length(self, agent: Any) -> int:
        return self.lifetime_steps


class Lifetimes(NamedTuple):
    """B lifetimes of T steps. tokens: (B, T, token). action: (B, T) integers or (B, T, a). log_probability: (B, T), that of
    the actions when they were chosen. reward: (B, T), raw. frame: (B, u, a), the matrices that map outputs to actions. noted: (B, T, any),
    what a trainer wants to know of the environments when the actions were chosen. shown: (B, T) bool, the steps that an expert took and not
    the model."""

    tokens: Tensor
    action: Tensor
    log_probability: Tensor
    reward: Tensor
    frame: Tensor
    noted: Tensor
    shown: Tensor

    def part(self, index: Tensor) -> "Lifetimes":
        return Lifetimes(*(x[index] for x in self))


def log_probability(mean: Tensor, log_std: Tensor, action: Tensor, discrete: bool) -> Tensor:
    """Returns the log-probabilities of actions (B, T[, a]), given logits, or means and log-deviations, (B, T, a)."""
    if discrete:
        return torch.log_softmax(mean, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return -(0.5 * ((action - mean) * (-log_std).exp()).square() + log_std + HALF_LOG_TAU).sum(-1)


class ActingTrainer(BaseTrainer):
    """Acts in lifetimes. A kind implements ``temperatures``, ``noted`` and ``kept`` if it needs them, and learns from ``lifetimes``."""

    unit: ClassVar[str] = "steps"

    def __init__(
        self, config: "Agent", frame: pd.DataFrame, summary: dict, environments: "list[Environment]",
        own: Processes, scratch: Path | None,
    ):  # fmt: skip
        """Raises ConfigError if there are several processes."""
        self.alone(config, own)
        torch.manual_seed(config.seed)
        self.encoding = encoding_of(summary, config.model.turns)
        self.model = AgentModel(config, self.encoding.sizes)
        self.environments = dict(zip(summary["sources"], environments, strict=True))
        self.frame = frame
        self.module = self.learned(config).to(own.device)
        self.prepare(config, own)

    def learned(self, config: "Agent") -> nn.Module:
        """Returns the module that is optimised: the model and, for some kinds, parts that only training needs."""
        return self.model

    def open(self) -> None:
        self.tasks = {split: self._tasks(split) for split in ("train", "validation")}

    def _tasks(self, split: str) -> dict[str, list[dict[str, Any]]]:
        """Returns the keyword arguments of the tasks of each source's lifetimes in a split."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for (source, digest), rows in self.frame[self.frame["split"] == split].groupby(
            ["source", "digest"], sort=False
        ):
            entry, body = self.environments[str(source)], read_digest(digest)
            tasks = entry.tasks or [{}]
            numbers = {body["lifetimes"][k] % body["tasks"] for k in rows["lifetime"]}
            own = found.setdefault(str(source), {})
            for n in sorted(numbers):
                own.setdefault(n, entry.kwargs | tasks[n])
        return {source: list(own.values()) for source, own in found.items()}

    def lifetimes(self, split: str, index: int, at_random: bool = False) -> Iterator[Any]:
        """Yields lifetimes of each source, in equal shares, as ``kept`` returns them. They depend only on the weights, the split and
        ``index``."""
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
                    yield self.kept(self._live(envs, rng, self._range(name, split), at_random), envs)
                finally:
                    envs.close()

    def _range(self, source: str, split: str) -> tuple[int, int]:
        """Returns the range of the seeds of frames that lifetimes may be used with."""
        row = self.frame[(self.frame["source"] == source) & (self.frame["split"] == split)].iloc[0]
        return int(row["projection_low"]), int(row["projection_high"])

    def temperatures(self, n: int, rng: np.random.Generator) -> np.ndarray | None:
        """Returns the temperatures at which n lifetimes act, (n,); None: 1 for all."""
        return None

    def noted(self, envs: Any) -> np.ndarray:
        """Returns what the trainer wants to know of environments before each step, (N, any)."""
        return np.zeros((len(envs), 0))

    def expert(self, envs: Any, rng: np.random.Generator) -> Callable[[int], tuple[np.ndarray, np.ndarray]] | None:
        """Returns a function of the step that says in which of N environments an expert acts instead of the model, (N,) bool, and how, (N,);
        None if none ever does."""
        return None

    def kept(self, found: Lifetimes, envs: Any) -> Any:
        """Returns lifetimes along with what the trainer wants to know of their environments."""
        return found

    @torch.inference_mode()
    def _live(self, envs: Any, rng: np.random.Generator, seeds: tuple[int, int], at_random: bool) -> Lifetimes:
        encoding, n, length, spec = self.encoding, len(envs), self.options.lifetime_steps, envs.spec
        frames = encoding.frames(rng.integers(*seeds, n) if encoding.varies else None, n, spec)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        seen, state, model = encoding.seen(), self.model.sequence.initial_state(n, length), self.model.sequence
        expert, told = self.expert(envs, rng), self.config.model.told
        taken, acts = torch.zeros(n, 1, dtype=torch.bool), None
        before = nothing(n, encoding.sizes)
        steps: list[tuple[Tensor, ...]] = []
        observation, drawn = envs.reset(), self.temperatures(n, rng)
        temperature = None if drawn is None else torch.from_numpy(drawn).float().view(-1, 1, 1)
        for t in range(length):
            if expert is not None:
                taken, acts = (torch.from_numpy(x).unsqueeze(1) for x in expert(t))
            now = encoding.observe(torch.from_numpy(observation).unsqueeze(1), frames, seen)
            if at_random:
                mean = torch.zeros(n, 1, spec.action_size)
                log_std = torch.zeros_like(mean)
            else:
                x = token(before, now, taken * float(told)).squeeze(1).to(self.own.device)
                mean, log_std = encoding.distribution(model.step(x, state).cpu().unsqueeze(1), frames.a)
            if temperature is not None:
                mean = mean / temperature
            noted = torch.from_numpy(self.noted(envs)).unsqueeze(1)
            action = sample_action(mean, None if spec.discrete else log_std, generator)
            if acts is not None:
                action = torch.where(taken, acts, action)
            chance = log_probability(mean, log_std, action, spec.discrete)
            step = envs.step(action.squeeze(1).numpy())
            paid = torch.from_numpy(step.reward).float().unsqueeze(1)
            end = torch.from_numpy(step.terminated | step.truncated).float().unsqueeze(1)
            before = Encoded(now, encoding.act(action, frames), encoding.reward(paid, seen), end)
            steps.append((*before, action, chance, paid, noted, taken))
            observation = step.observation
        *encoded, action, chance, paid, noted, shown = (torch.cat(x, 1) for x in zip(*steps, strict=True))
        whole = tokens(Encoded(*encoded), shown * float(told))
        return Lifetimes(whole, action, chance, paid, frames.a.expand(n, -1, -1), noted, shown)

    def on_device(self, found: Lifetimes) -> Lifetimes:
        # Tensors that were made in inference mode cannot have gradients.
        return Lifetimes(*(x.clone().to(self.own.device) for x in found))
