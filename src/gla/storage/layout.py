"""The layout of arrays in a store, and the content of its digest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from gla.files import Description, check_place, read_description
from gla.sources.options import Array

if TYPE_CHECKING:
    import zarr

FORMAT, LAYOUT = 2, 1  # versions of the digest's content, and of the layout of arrays in a store
CHUNK_ROWS = 1024  # rows of one stream that are compressed together
SHARD_ROWS = 32768  # rows of one lifetime that share a file
MOST_FILES = 64  # most files of an array without steps; with more lifetimes than that, several share a file
TYPES = ("float32", "int64", "bool")


class DescribedArray(Description):
    """The part of a digest about one array."""

    dtype: Literal[TYPES]
    axes: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=8)]


class DescribedSource(Description):
    """The part of a digest about the source."""

    kind: str


class DescribedEnvironment(Description):
    """The part of a digest about the environment."""

    id: str


class Made(Description):
    """The parts of the config that decided a store."""

    source: DescribedSource
    environment: DescribedEnvironment


class Digest(Description):
    """The content of a store's digest."""

    format: Literal[2]  # FORMAT
    source: str
    environment: str
    tasks: PositiveInt
    lifetimes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    config: Made
    observation_size: PositiveInt
    action_size: PositiveInt
    discrete: bool
    updates: PositiveInt
    steps_per_update: PositiveInt
    num_envs: PositiveInt
    states: NonNegativeInt = 0
    mean_return: list[list[float | None]]
    arrays: dict[str, DescribedArray]
    files: dict[str, str]
    content: str

    @model_validator(mode="after")
    def _a_return_for_each_update(self):
        if [len(row) for row in self.mean_return] != [self.updates] * len(self.lifetimes):
            raise ValueError(f"mean_return of {len(self.lifetimes)} lifetimes and {self.updates} updates")
        return self

    @model_validator(mode="after")
    def _arrays_of_these_sizes(self):
        if self.states not in (0, self.observation_size):
            raise ValueError(f"{self.states} states, and observations of size {self.observation_size}")
        for axis, size in {"observation": self.observation_size, "action": self.action_size}.items():
            for name, array in self.arrays.items():
                if array.axes.get(axis, size) != size:
                    raise ValueError(f"{axis}_size {array.axes[axis]}, as array {name!r} has")
        return self


def read_digest(path: str | Path) -> dict[str, Any]:
    """Returns a store's digest. Raises CorruptFile if it is missing, is not a digest, was altered, or is that of another store."""
    body = read_description(path, Digest)
    lifetimes = body["lifetimes"]
    check_place(path, "a digest", f"histories/{body['source']}/{lifetimes[0]}-{lifetimes[-1]}.json")
    return body


def arrays_of(digest: dict[str, Any]) -> dict[str, Array]:
    """Returns the arrays of a store as its digest describes them. Whether they fit the digest's sizes is not checked here."""
    return {name: Array(array["dtype"], array["axes"]) for name, array in digest["arrays"].items()}


def _divisor(n: int, most: int) -> int:
    """Returns the largest divisor of n that is at most ``most``."""
    return max(i for i in range(1, min(n, most) + 1) if n % i == 0)


def create(group: "zarr.Group", name: str, array: Array) -> "zarr.Array":
    """Creates an array with named axes. A chunk holds steps of one lifetime and stream, and a shard those of one lifetime. If
    streams are short, each holds several, since a small chunk takes as much time as a large one."""
    from zarr.codecs import BloscCodec, Crc32cCodec  # slow to import, and not needed to read a digest

    axes, shape = array.axes, tuple(array.axes.values())
    own, shared = {"lifetime": -(-axes.get("lifetime", 1) // MOST_FILES), "stream": 1}, None
    if steps := axes.get("step", 0):
        rows = min(steps, CHUNK_ROWS)
        own |= {"lifetime": 1, "step": rows, "stream": _divisor(axes["stream"], CHUNK_ROWS // rows)}
        rows *= axes["stream"]  # rows of a whole lifetime
        if own["stream"] == axes["stream"]:
            own["lifetime"] = max(1, min(axes["lifetime"], CHUNK_ROWS // rows))
        times = max(1, min(-(-steps // own["step"]), SHARD_ROWS // rows))
        rows *= times * own["lifetime"]
        lifetimes = (
            max(1, min(-(-axes["lifetime"] // own["lifetime"]), SHARD_ROWS // rows)) if steps <= own["step"] else 1
        )
        shared = {"lifetime": own["lifetime"] * lifetimes, "step": own["step"] * times}
    chunks = tuple(own.get(n, size) for n, size in axes.items())
    shards = shared and tuple(shared.get(n, size) for n, size in axes.items())
    size = np.dtype(array.dtype).itemsize
    return group.create_array(
        name,
        shape=shape,
        dtype=array.dtype,
        chunks=chunks,
        shards=shards,
        compressors=[BloscCodec(typesize=size, cname="lz4", shuffle="shuffle"), Crc32cCodec()],
        dimension_names=tuple(axes),
        config={"write_empty_chunks": True},
    )
