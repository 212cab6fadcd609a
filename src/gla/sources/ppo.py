"""PPO, as a population of independent lifetimes (gla.learners.ppo): histories that rise from random behaviour to the level
that PPO reaches.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from gla.config.environments import Environment
from gla.environments.spaces import EnvSpec
from gla.learners.ppo import PPO, Population
from gla.options import Steps
from gla.policies import Policy, sizes
from gla.sources.options import Array, SourceOptions, rows, transitions


class Options(SourceOptions, PPO):
    """Proximal policy optimisation. It records the distributions that actions were drawn from, and snapshots of its policies."""

    kind: Literal["ppo"] = "ppo"
    backend: Literal["gymnasium", "envpool"] = "gymnasium"
    """The library that steps the environment: gymnasium, or envpool, which is written in C++ and much faster (pip install
    '.[envpool]')."""
    snapshot_every: Steps = 1
    """Number of updates between two snapshots of the policy's weights in the store. The last policy is always kept."""

    provides: ClassVar[frozenset[str]] = frozenset({"distribution", "policies"})

    @property
    def updates(self) -> int:
        return self.num_updates

    @property
    def steps(self) -> int:
        return self.num_steps

    def snapshots(self) -> list[int]:
        last = self.num_updates - 1
        return [u for u in range(self.num_updates) if u % self.snapshot_every == 0 or u == last]

    def ppo(self) -> PPO:
        """The options that are PPO's own."""
        return PPO(**{name: getattr(self, name) for name in PPO.model_fields})

    @model_validator(mode="after")
    def _divisible(self):
        batch = self.num_envs * self.num_steps
        if batch % self.num_minibatches:
            raise ValueError(
                f"num_minibatches {self.num_minibatches} does not divide num_envs * num_steps = {batch} (expected a divisor)"
            )
        if batch == self.num_minibatches:
            raise ValueError(
                f"num_minibatches {self.num_minibatches} leaves one step in each, whose advantage has no deviation "
                f"(expected at most {batch // 2})"
            )
        return self


def arrays(options: Options, spec: EnvSpec, lifetimes: range) -> dict[str, Array]:
    """See gla.sources. Policies are fields of gla.policies.Policy, (K, N, ...) for N snapshots."""
    k, d, a, h = len(lifetimes), spec.observation_size, spec.action_size, options.hidden
    axes, updates = rows(lifetimes, options.num_envs, options), {"lifetime": k, "update": options.num_updates}
    snapshots = len(options.snapshots())
    found = transitions(axes, spec)
    found["logits" if spec.discrete else "mean"] = Array("float32", axes | {"action": a})
    if not spec.discrete:
        found["log_std"] = Array("float32", updates | {"action": a})
    found["snapshot_update"] = Array("int64", {"snapshot": snapshots})
    for field, size in sizes(d, h, a)._asdict().items():
        inner = {f"{field}_{i}": n for i, n in enumerate(size)}
        found[f"policy_{field}"] = Array("float32", {"lifetime": k, "snapshot": snapshots} | inner)
    return found


class Run:
    """See gla.sources.options."""

    def __init__(self, options: Options, environment: Environment, lifetimes: range, name: str):
        self.options, self.snapshots, self.log_std = options, [], []
        self.population = Population(
            options.ppo(), environment.id, environment.kwargs, environment.tasks, lifetimes, options.num_envs, options.seed, name,
            options.backend,
        )  # fmt: skip
        self.spec = self.population.spec

    def updates(self) -> Iterator[dict[str, np.ndarray]]:
        taken, last = set(self.options.snapshots()), self.options.num_updates - 1
        for u in range(self.options.num_updates):
            policy = self.population.policy()
            self.log_std.append(policy.log_std.numpy())
            if u in taken:
                self.snapshots.append(policy)
            rollout = self.population.collect()
            values = rollout._asdict()
            values["logits" if self.spec.discrete else "mean"] = values.pop("mean")
            yield values
            if u < last:  # the last policy acts and is kept; nothing would see its successor
                self.population.improve(rollout)

    def rest(self) -> dict[str, np.ndarray]:
        values = {f"policy_{f}": np.stack([getattr(p, f).numpy() for p in self.snapshots], 1) for f in Policy._fields}
        values["snapshot_update"] = np.array(self.options.snapshots())
        if not self.spec.discrete:
            values["log_std"] = np.stack(self.log_std, 1)
        return values

    def curves(self, update: int) -> dict[str, float]:
        return {} if self.spec.discrete else {"action_deviation": float(np.exp(self.log_std[update]).mean())}

    def close(self) -> None:
        self.population.close()
