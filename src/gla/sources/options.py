"""Options that all sources share, and the interface through which they hand over their data."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from pydantic import model_validator

from gla.options import Count, Options, Seed


class SourceOptions(Options):
    """Options of every source. A lifetime is one independent run of a source, on one task."""

    environment: str
    """Name of an environment."""
    lifetimes: Count = 16
    """Number of independent runs. Lifetime k has task k % n of the environment's n tasks."""
    lifetimes_per_block: Count = 16
    """Number of lifetimes that one job runs side by side and writes into one store."""
    num_envs: Count = 8
    """Number of copies of the environment in each lifetime."""
    seed: Seed = 0
    """Random seed of the collection."""

    provides: ClassVar[frozenset[str]] = frozenset()
    """Data in the stores besides transitions: distribution (from which actions were drawn), policies (snapshots of them)."""

    @property
    @abstractmethod
    def updates(self) -> int:
        """Number of equal parts that a lifetime is divided into. The policy may change between two parts."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of steps that each copy of the environment takes in one part."""

    def problems_in(self, name: str, facts: Mapping[str, Any]) -> Iterator[str]:
        """Yields a line for each reason why this source cannot act in an environment. name: the environment's key; facts: its
        facts from gla.preflight.all_facts."""
        yield from ()

    def snapshots(self) -> list[int]:
        """Returns the updates whose policies are kept."""
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
    """An array of a store: its type, and the names and sizes of its axes, in order. An array with the axis "step" is written
    in pieces.
    """

    dtype: str
    axes: dict[str, int]

    @property
    def dimensions(self) -> int:
        """Number of axes."""
        return len(self.axes)


class Run(Protocol):
    """An actor in the environments of some lifetimes. ``spec`` has the shapes of the environments
    (gla.environments.spaces.EnvSpec).
    """

    spec: Any

    def updates(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields, for each update, the new steps of all arrays with an axis "step": (K, E, T, ...)."""

    def rest(self) -> dict[str, np.ndarray]:
        """Returns the arrays without that axis, after the last update."""

    def curves(self, update: int) -> dict[str, float]:
        """Returns numbers that are plotted in TensorBoard, by name."""

    def close(self) -> None:
        """Close the environments."""


def rows(lifetimes: range, num_envs: int, options: SourceOptions) -> dict[str, int]:
    """Returns the axes of an array with a value for each step."""
    return {"lifetime": len(lifetimes), "stream": num_envs, "step": options.updates * options.steps}


def transitions(axes: dict[str, int], spec: Any) -> dict[str, Array]:
    """Returns the arrays that every store has for each step. axes: those that ``rows`` returns; spec: a gla.environments.EnvSpec.

    Discrete observations are stored as integers, and not as the one-hot vectors that sources act on.
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
