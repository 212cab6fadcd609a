"""How arrays lie in a store, and what its digest says of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from gla.files import Description, check_place, read_description
from gla.sources.options import Array

if TYPE_CHECKING:
    import zarr

FORMAT, LAYOUT = 2, 1  # versions of what a digest says, and of how arrays lie in a store
CHUNK_ROWS = 1024  # rows of one stream that are compressed together
SHARD_ROWS = 32768  # rows of one lifetime that share a file
MOST_FILES = 64  # of an array that has no steps, whose lifetimes share files where there are more of them
TYPES = ("float32", "int64", "bool")


class Described(Description):
    """What a digest says of an array."""

    dtype: Literal[TYPES]
    axes: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=8)]


class Source(Description):
    """What a digest says of who acted."""

    kind: str


class Environment(Description):
    """What a digest says of where."""

    id: str


class Made(Description):
    """What of the config decided a store."""

    source: Source
    environment: Environment


class Digest(Description):
    """What a store's digest holds."""

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
    arrays: dict[str, Described]
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
    """A store's digest. Raises CorruptFile where it is missing, is no digest, was altered, or is that of another store."""
    body = read_description(path, Digest)
    lifetimes = body["lifetimes"]
    check_place(path, "a digest", f"histories/{body['source']}/{lifetimes[0]}-{lifetimes[-1]}.json")
    return body


def arrays_of(digest: dict[str, Any]) -> dict[str, Array]:
    """The arrays of a store, as its digest says. Whether they fit the digest's sizes is not asked here."""
    return {name: Array(array["dtype"], array["axes"]) for name, array in digest["arrays"].items()}


def _divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most this."""
    return max(i for i in range(1, min(n, most) + 1) if n % i == 0)


def create(group: "zarr.Group", name: str, array: Array) -> "zarr.Array":
    """An array with named axes. A chunk holds steps of one lifetime and stream, and a shard those of one lifetime; where streams are short,
    each holds several, since a chunk costs as much time whatever its size."""
    from zarr.codecs import BloscCodec, Crc32cCodec  # slow to import, and whoever reads a digest does not need it

    axes, shape = array.axes, tuple(array.axes.values())
    own, shared = {"lifetime": -(-axes.get("lifetime", 1) // MOST_FILES), "stream": 1}, None
    if steps := axes.get("step", 0):
        rows = min(steps, CHUNK_ROWS)
        own |= {"lifetime": 1, "step": rows, "stream": _divisor(axes["stream"], CHUNK_ROWS // rows)}
        rows *= axes["stream"]  # of a lifetime
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
