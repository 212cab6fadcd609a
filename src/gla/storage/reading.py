"""Reads stores into arrays in memory, after checks of everything that a damaged or hostile file could claim."""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from zarr.storage import MemoryStore

from gla.environments.spaces import EnvSpec
from gla.files import CorruptFile, sha256
from gla.policies import Policy, sizes
from gla.sources.options import Array, transitions
from gla.storage.layout import arrays_of, create, read_digest

MOST_COMPRESSED = 1000  # highest compression; LZ4 reaches 255
CHECKSUM = 4  # bytes in a chunk and in a shard's index
POLICIES = ("snapshot_update", *(f"policy_{field}" for field in Policy._fields))  # arrays of snapshots


def arrays_that_hold(what: Iterable[str], discrete: bool) -> set[str]:
    """Returns the names of the arrays that hold the data that a source provides: several arrays for ``distribution`` and
    ``policies``, and the array of the same name for others.
    """
    several = {"distribution": {"logits"} if discrete else {"mean", "log_std"}, "policies": set(POLICIES)}
    return set().union(*(several.get(one, {one}) for one in what))


def vectors(stored: np.ndarray, size: int) -> np.ndarray:
    """Turns stored observations into float32 vectors (..., size). Discrete observations become one-hot."""
    return stored if stored.dtype == np.float32 else np.eye(size, dtype=np.float32)[stored]


@dataclass(frozen=True)
class History:
    """A store in memory.

    path: the path of the store. arrays: all or some of its arrays, by their names in the store (gla.storage). ``action`` has
    integers if and only if ``discrete`` is true.
    """

    path: Path
    discrete: bool
    observation_size: int
    action_size: int
    steps_per_update: int
    arrays: dict[str, np.ndarray]

    def __getattr__(self, name: str) -> np.ndarray:
        if name != "arrays" and name in self.arrays:  # copying asks for it before it is set
            return self.arrays[name]
        raise AttributeError(f"no array {name!r} was read")

    @property
    def updates(self) -> int:
        return self.arrays["observation"].shape[2] // self.steps_per_update

    @cached_property
    def observation(self) -> np.ndarray:
        """Observations (K, E, S, d) float32, one-hot if they are discrete. ``arrays`` has them as they are stored."""
        return vectors(self.arrays["observation"], self.observation_size)

    @property
    def mean(self) -> np.ndarray:
        """Means of the distributions that actions were drawn from, or logits if actions are discrete."""
        return self.arrays["logits" if self.discrete else "mean"]

    @cached_property
    def policy(self) -> Policy:
        """The snapshots of policies, with fields (K, N, ...).

        Raises CorruptFile if an array is missing, or if their sizes do not fit the observations and actions.
        """
        for name in POLICIES:
            if name not in self.arrays:
                raise CorruptFile(f"{self.path}/{name}: missing (expected snapshots of policies); {_anew(self.path)}")
        k, d, n = len(self.arrays["observation"]), self.observation_size, len(self.arrays["snapshot_update"])
        h = self.arrays["policy_w0"].shape[-1]
        for field, size in sizes(d, h, self.action_size)._asdict().items():
            x = self.arrays[f"policy_{field}"]
            if x.dtype != np.float32 or x.shape != (k, n, *size):
                said = f"{x.dtype} of {x.shape} (expected float32 of {(k, n, *size)})"
                raise CorruptFile(f"{self.path}/policy_{field}: {said}; {_anew(self.path)}")
        return Policy(*(torch.from_numpy(self.arrays[f"policy_{f}"]) for f in Policy._fields))


def _anew(store: str | Path) -> str:
    """Returns the advice for a damaged store. It has to be deleted as a whole, since no part of it can be made separately."""
    return f"delete {store}, and Snakemake makes it again"


def problems(store: str | Path, digest: str | Path) -> Iterator[tuple[Path, str | None]]:
    """Compares a store with its digest. Yields every file, with its problem or None.

    Raises CorruptFile if there is no digest or no store.
    """
    store, expected = Path(store), read_digest(digest)["files"]
    if not store.is_dir():
        raise CorruptFile(
            f"{store}: missing (expected a history store; its digest is {digest}); Snakemake makes it again"
        )
    # A link could lead out of the store, and none is ever written. Snakemake puts a stamp into folders that it made.
    inside = (p for p in store.rglob("*") if (p.is_symlink() or p.is_file()) and p != store / ".snakemake_timestamp")
    present = {p.relative_to(store).as_posix(): p.is_symlink() for p in inside}
    anew = _anew(store)
    for name in sorted(expected.keys() | present.keys()):
        path = store / name
        if name not in present:
            yield path, f"{path}: missing (expected {len(expected)} files in the store, see {digest}); {anew}"
        elif name not in expected or present[name]:
            yield path, f"{path}: not one of the store's files (see {digest}); delete it"
        elif (found := sha256(path)) != expected[name]:
            yield (
                path,
                (
                    f"{path}: altered or cut off (sha256 {found[:12]}..., expected {str(expected[name])[:12]}...); {anew}"
                ),
            )
        else:
            yield path, None


def verify(store: str | Path, digest: str | Path) -> None:
    """Raises CorruptFile, which names the first file of a store that is missing, unknown or altered."""
    for _, problem in problems(store, digest):
        if problem:
            raise CorruptFile(problem)


def arrays(store: str | Path, digest: dict[str, Any]) -> dict[str, zarr.Array]:
    """Returns a store's arrays by name, without reading them. digest: the result of ``read_digest``.

    Raises CorruptFile, which names an array whose type, sizes or codecs are not those in the digest, or whose sizes there do
    not fit the digest's own.
    """
    found, scratch, path = {}, zarr.open_group(MemoryStore(), mode="w", zarr_format=3), Path(store)
    try:
        layout, (always, often) = arrays_of(digest), _expected(digest)
        for name, array in (always | {name: array for name, array in often.items() if name in layout}).items():
            path = Path(store) / name
            if layout.get(name) != array:
                raise ValueError(f"described as {layout.get(name)} (expected {array})")
        # Format 2 has a codec that unpickles, and consolidated metadata may differ from those of the arrays.
        group = zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False)
        for name, array in layout.items():
            path = Path(store) / name
            found[name] = group[name]
            if found[name].metadata.to_dict() != create(scratch, name, array).metadata.to_dict():
                raise ValueError(f"not {array.dtype} of {array.axes} in this package's chunks and codecs")
    except Exception as error:  # Zarr raises errors of many types for metadata that it did not write
        said = " ".join(str(error).split())[:200]
        raise CorruptFile(f"{path}: {said} (expected an array as its digest says); {_anew(store)}") from None
    return found


def _expected(digest: dict[str, Any]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Returns the arrays that a store must have, with the sizes in its digest. Distributions and snapshots are included if
    its source writes them."""
    lifetimes, updates, action = (
        {"lifetime": len(digest["lifetimes"])},
        {"update": digest["updates"]},
        {"action": digest["action_size"]},
    )
    axes = lifetimes | {"stream": digest["num_envs"], "step": digest["updates"] * digest["steps_per_update"]}
    sizes_and_kinds = digest["observation_size"], digest["action_size"], digest["discrete"]
    spec = EnvSpec(*sizes_and_kinds, None, None, digest.get("states", 0))
    always = transitions(axes, spec) | {
        "mean_return": Array("float32", lifetimes | updates),
        "env_steps": Array("int64", updates),
    }
    snapshots = digest["arrays"].get("snapshot_update", {}).get("axes", {}).get("snapshot", 0)
    often = {
        "logits" if spec.discrete else "mean": Array("float32", axes | action),
        "log_std": Array("float32", lifetimes | updates | action),
    }
    return always, often | {"snapshot_update": Array("int64", {"snapshot": snapshots})}


def _check_chunks(path: Path, array: zarr.Array) -> None:
    """Raises CorruptFile if a chunk is missing or would fill more memory than the array has for it. path: the path of the array."""
    anew = _anew(path.parent)
    whole, size = array.shards or array.chunks, math.prod(array.chunks) * array.dtype.itemsize
    held, per_file = 0, math.prod(n // m for n, m in zip(whole, array.chunks, strict=True)) if array.shards else 0
    for index in itertools.product(*(range(-(-n // m)) for n, m in zip(array.shape, whole, strict=True))):
        file = path.joinpath("c", *map(str, index))
        data = np.memmap(file, np.uint8, "r") if file.is_file() and file.stat().st_size else np.empty(0, np.uint8)
        held += len(data)
        frames = np.array([[0, len(data)]], np.uint64)  # beginning and length of each
        if per_file:
            frames = np.array(data[max(0, len(data) - 16 * per_file - CHECKSUM) : -CHECKSUM])
            frames = frames.view("<u8").reshape(-1, 2) if len(frames) == 16 * per_file else np.empty((0, 2), np.uint64)
            frames = frames[
                (frames != np.iinfo(np.uint64).max).any(1) | (len(frames) == 0)
            ]  # there are none after the array's end
        fits = len(data) > 0 and (not per_file or len(frames) > 0)
        fits = fits and bool(
            (frames <= len(data)).all() and (frames.sum(1) <= len(data)).all() and frames[:, 1].sum() <= len(data)
        )
        if fits and (frames[:, 1] >= 16 + CHECKSUM).all():
            # The header of a Blosc frame has its unpacked and packed lengths.
            said = np.array(data[frames[:, :1].astype(np.int64) + np.arange(16)]).view("<u4")
            if (said[:, 1] == size).all() and (said[:, 3] == frames[:, 1] - CHECKSUM).all():
                continue
        raise CorruptFile(f"{file}: not a chunk of {size} bytes, packed (expected as in {path}/zarr.json); {anew}")
    if array.nbytes > MOST_COMPRESSED * held:
        raise CorruptFile(
            f"{path}: {held} bytes claim to hold {array.nbytes} (expected at most {MOST_COMPRESSED} times); {anew}"
        )


def read(store: str | Path, digest: str | Path, names: Collection[str] | None = None) -> History:
    """Reads a store into memory, after ``verify``. names: names of the arrays to read; None: all of them.

    Raises CorruptFile as ``verify`` does, and for content that ``gla.storage.collecting`` never writes.
    """
    verify(store, digest)
    body, anew = read_digest(digest), _anew(store)
    found, values = arrays(store, body), {}
    if missing := sorted(set(names or ()) - found.keys()):
        raise CorruptFile(
            f"{Path(store) / missing[0]}: missing (expected the arrays {', '.join(sorted(names))}); {anew}"
        )
    for name, array in found.items():
        if names is not None and name not in names:
            continue
        path = Path(store) / name
        chunks = math.prod(-(-n // m) for n, m in zip(array.shape, array.shards or array.chunks, strict=True))
        if chunks > len(body["files"]):
            raise CorruptFile(
                f"{path}: {chunks} chunks (expected no more than the {len(body['files'])} files in {digest}); {anew}"
            )
        _check_chunks(path, array)
        try:
            values[name] = np.asarray(array[...])
        except (ValueError, RuntimeError) as error:
            raise CorruptFile(f"{path}: not readable ({error}); {anew}") from None
    update, action, seen = (values.get(name) for name in ("snapshot_update", "action", "observation"))
    if update is not None and (
        not len(update) or update[0] < 0 or update[-1] >= body["updates"] or (np.diff(update) <= 0).any()
    ):
        raise CorruptFile(
            f"{store}/snapshot_update: {update[:5]} ... (expected rising numbers of {body['updates']} updates); {anew}"
        )
    if action is not None and body["discrete"] and (action.min() < 0 or action.max() >= body["action_size"]):
        raise CorruptFile(
            f"{store}/action: {action.min()} to {action.max()} (expected 0 to {body['action_size'] - 1}); {anew}"
        )
    if seen is not None and body.get("states") and (seen.min() < 0 or seen.max() >= body["states"]):
        raise CorruptFile(
            f"{store}/observation: {seen.min()} to {seen.max()} (expected 0 to {body['states'] - 1}); {anew}"
        )
    d, a = body["observation_size"], body["action_size"]
    history = History(Path(store), body["discrete"], d, a, body["steps_per_update"], values)
    if {"observation", *POLICIES} <= values.keys():
        _ = history.policy  # checked now, even if it is not used
    return history
