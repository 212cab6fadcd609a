"""What all sources share: their common options, and how they hand over what they write."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from pydantic import model_validator

from gla.options import Count, Options, Seed


class SourceOptions(Options):
    """Options of every source. A lifetime is one independent run of it, on one task."""

    environment: str
    """Name of an environment."""
    lifetimes: Count = 16
    """Independent runs. Lifetime k has the environment's task k % n."""
    lifetimes_per_block: Count = 16
    """Lifetimes that one job runs side by side and writes into one store."""
    num_envs: Count = 8
    """Copies of the environment in each lifetime."""
    seed: Seed = 0
    """Seed of the collection."""

    provides: ClassVar[frozenset[str]] = frozenset()
    """What its stores hold beyond transitions: distribution (that actions were drawn from), policies (snapshots of them)."""

    @property
    @abstractmethod
    def updates(self) -> int:
        """Parts of equal length that a lifetime is divided into; between two of them the policy may change."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of each copy of the environment in one part."""

    def problems_in(self, name: str, facts: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with acting in an environment. name: its key; facts: what gla.preflight.all_facts says of it."""
        yield from ()

    def snapshots(self) -> list[int]:
        """Updates whose policies are kept."""
        return []

    @model_validator(mode="after")
    def _countable(self):
        if self.updates * self.steps >= 2**31:  # windows count the steps of a stream in 32 bits
            raise ValueError(
                f"num_updates {self.updates} of num_steps {self.steps} are {self.updates * self.steps} steps "
                f"of each copy of the environment (expected less than {2**31})"
            )
        return self


# Options that decide nothing of what a block of lifetimes holds.
NOT_OF_BLOCKS = ("lifetimes", "lifetimes_per_block")


class Array(NamedTuple):
    """An array of a store: its type, and its axes' names and sizes, in order. The axis "step" is written piece by piece."""

    dtype: str
    axes: dict[str, int]

    @property
    def dimensions(self) -> int:
        """How many axes it has."""
        return len(self.axes)


class Run(Protocol):
    """Somebody who acts in the environments of some lifetimes, whose shapes are ``spec`` (gla.environments.spaces.EnvSpec)."""

    spec: Any

    def updates(self) -> Iterator[dict[str, np.ndarray]]:
        """For each update, what its steps add to the arrays with an axis "step": (K, E, T, ...)."""

    def rest(self) -> dict[str, np.ndarray]:
        """After the last update: the arrays without that axis."""

    def curves(self, update: int) -> dict[str, float]:
        """Numbers worth a curve in TensorBoard, by name."""

    def close(self) -> None:
        """Close the environments."""


def rows(lifetimes: range, num_envs: int, options: SourceOptions) -> dict[str, int]:
    """The axes of an array with a value for each step."""
    return {"lifetime": len(lifetimes), "stream": num_envs, "step": options.updates * options.steps}


def transitions(axes: dict[str, int], spec: Any) -> dict[str, Array]:
    """The arrays that every store has for each step. axes: of ``rows``; spec: a gla.environments.EnvSpec.

    Observations that are counted are stored as integers, and not as the one-hot vectors that sources act on.
    """
    a = spec.action_size
    seen = Array("int64", axes) if spec.states else Array("float32", axes | {"observation": spec.observation_size})
    return {
        "observation": seen,
        "final_observation": seen,
        "action": Array("int64", axes) if spec.discrete else Array("float32", axes | {"action": a}),
        "reward": Array("float32", axes),
        "terminated": Array("bool", axes),
        "truncated": Array("bool", axes),
    }
