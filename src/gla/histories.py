"""Learning histories: one Zarr v3 store for each environment and block of lifetimes, and its digest.

Arrays of a store (K lifetimes, E streams, S steps, U updates, N snapshots, d and a dimensions)::

    observation, final_observation   (K, E, S, d) float32, raw; final: zero except where an episode ended
    action                           (K, E, S, a) float32 before clipping, or (K, E, S) int64
    mean | logits                    (K, E, S, a) float32, of the policy that acted
    reward                           (K, E, S) float32, raw
    terminated, truncated            (K, E, S) bool
    log_std                          (K, U, a) float32, continuous actions only
    env_steps                        (U,) int64, steps of one lifetime before the update's first
    mean_return                      (K, U) float32, of episodes that ended in the update; NaN where none did
    snapshot_update                  (N,) int64
    policy_*                         (K, N, ...) float32, fields of gla.ppo.Policy

Step s of a stream belongs to update s // steps_per_update. Each chunk carries a CRC-32C, empty
chunks are written, and the digest beside the store holds the hash of every file, so that flipped
bits, cut-off files and missing chunks are all noticed. The digest is written last: a store
without a digest that fits is no store.
"""

import itertools
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import zarr
from pydantic import Field, PositiveInt, model_validator
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from gla.config import NOT_OF_HISTORIES, Environment
from gla.environments import MAX_ACTION, MAX_OBSERVATION
from gla.files import (
    CorruptFile,
    Description,
    check_place,
    exclusive,
    fingerprint,
    named,
    read_description,
    sha256,
    sync_folder,
    write_json,
)
from gla.ppo import Policy, Population, ReturnTracker
from gla.progress import Progress

FORMAT = 1  # version of the layout above
CHUNK_ROWS = 1024  # rows of one stream that are compressed together
MOST_COMPRESSED = 1000  # times; LZ4 reaches 255
CHECKSUM = 4  # bytes, of a chunk and of a shard's index
SHARD_ROWS = 32768  # rows of one lifetime that share a file
PACKAGES = ("gla", "torch", "numpy", "gymnasium", "mujoco", "dm-control", "zarr")  # that decide a store's bytes


class Source(Description):
    """What histories were collected in."""

    id: str
    tasks: list[dict[str, Any]]


class Digest(Description):
    """What a store's digest holds."""

    format: Literal[1]  # FORMAT
    environment: str
    lifetimes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    config: Source
    observation_size: Annotated[int, Field(ge=1, le=MAX_OBSERVATION)]
    action_size: Annotated[int, Field(ge=1, le=MAX_ACTION)]
    discrete: bool
    updates: PositiveInt
    steps_per_update: PositiveInt
    streams: PositiveInt
    mean_return: list[list[float | None]]
    files: dict[str, str]
    content: str

    @model_validator(mode="after")
    def _a_return_for_each_update(self):
        if [len(row) for row in self.mean_return] != [self.updates] * len(self.lifetimes):
            raise ValueError(f"mean_return of {len(self.lifetimes)} lifetimes and {self.updates} updates")
        return self


@dataclass(frozen=True)
class History:
    """A store in memory, as NumPy arrays with the module's names and shapes.

    ``action`` is integer exactly where ``discrete``. ``mean`` holds logits for discrete actions,
    and ``log_std`` is then None. ``policy`` fields are (K, N, ...) tensors.
    """

    discrete: bool
    steps_per_update: int
    observation: np.ndarray
    action: np.ndarray
    mean: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    log_std: np.ndarray | None
    mean_return: np.ndarray
    snapshot_update: np.ndarray
    policy: Policy

    @property
    def updates(self) -> int:
        return self.observation.shape[2] // self.steps_per_update


def _create(group: zarr.Group, name: str, dtype: str, **axes: int) -> zarr.Array:
    """An array with named axes, a chunk for each lifetime and stream, and a shard for each lifetime."""
    shape = tuple(axes.values())
    steps = axes.get("step", 0)
    rows = min(steps, CHUNK_ROWS)
    chunks = tuple({"lifetime": 1, "stream": 1, "step": rows}.get(n, size) for n, size in axes.items())
    shards = None
    if steps:
        per_shard = rows * max(1, min(-(-steps // rows), SHARD_ROWS // (rows * axes["stream"])))
        shards = tuple({"lifetime": 1, "step": per_shard}.get(n, size) for n, size in axes.items())
    size = np.dtype(dtype).itemsize
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=[BloscCodec(typesize=size, cname="lz4", shuffle="shuffle"), Crc32cCodec()],
        dimension_names=tuple(axes),
        config={"write_empty_chunks": True},
    )


def _layout(digest: dict[str, Any], snapshots: int, hidden: int) -> dict[str, tuple[str, dict[str, int]]]:
    """Type and named axes of every array of a store. hidden: width of the policies' layers."""
    k, d, a, h = len(digest["lifetimes"]), digest["observation_size"], digest["action_size"], hidden
    rows = {"lifetime": k, "stream": digest["streams"], "step": digest["updates"] * digest["steps_per_update"]}
    updates, discrete = {"lifetime": k, "update": digest["updates"]}, digest["discrete"]
    layout = {
        "observation": ("float32", rows | {"observation": d}),
        "final_observation": ("float32", rows | {"observation": d}),
        "action": ("int64", rows) if discrete else ("float32", rows | {"action": a}),
        "logits" if discrete else "mean": ("float32", rows | {"action": a}),
        "reward": ("float32", rows),
        "terminated": ("bool", rows),
        "truncated": ("bool", rows),
        "mean_return": ("float32", updates),
        "env_steps": ("int64", {"update": digest["updates"]}),
        "snapshot_update": ("int64", {"snapshot": snapshots}),
    }
    if not discrete:
        layout["log_std"] = ("float32", updates | {"action": a})
    policy = Policy((d, h), (1, h), (h, h), (1, h), (h, a), (1, a), (a,), (d,), (d,))
    for field, sizes in policy._asdict().items():
        inner = {f"{field}_{i}": size for i, size in enumerate(sizes)}
        layout[f"policy_{field}"] = ("float32", {"lifetime": k, "snapshot": snapshots} | inner)
    return layout


def collect(entry: Environment, name: str, lifetimes: range, store: str | Path, digest: str | Path) -> None:
    """Run one block of lifetimes and write its store and digest.

    entry: the environment's config. name: its key in the config. lifetimes: their indices. Raises NumericalError where a number stops being
    finite, and leaves no digest then; Busy where another process collects into the store's folder.
    """
    store, digest = Path(store), Path(digest)
    store.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(store.parent), named(store):
        _collect(entry, name, lifetimes, store, digest)


def _collect(entry: Environment, name: str, lifetimes: range, store: Path, digest: Path) -> None:
    digest.unlink(missing_ok=True)
    if store.is_dir():
        shutil.rmtree(store)
    population = Population(entry, lifetimes, entry.streams, entry.ppo.steps, entry.seed, name)
    try:
        summary = _write(entry, population, store, f"collect {name} {lifetimes.start}-{lifetimes[-1]}")
    finally:
        population.close()
    body = {
        "format": FORMAT,
        "environment": name,
        "lifetimes": list(lifetimes),
        "config": entry.model_dump(exclude=set(NOT_OF_HISTORIES)),
        **summary,
        "versions": {p: version(p) for p in PACKAGES + ("envpool",) * (entry.backend == "envpool")},
        "machine": {"architecture": platform.machine(), "cpu_flags": _cpu_flags()},
        "files": _hashes(store),
    }
    write_json(digest, body | {"content": fingerprint(body)})


def _write(entry: Environment, population: Population, store: Path, label: str) -> dict:
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed here alone

    ppo, spec, k, e = entry.ppo, population.spec, population.k, entry.streams
    d, a, t_max, s_max = spec.observation_size, spec.action_size, ppo.steps, ppo.updates * ppo.steps
    group = zarr.open_group(store, mode="w", zarr_format=3)
    output = "logits" if spec.discrete else "mean"
    taken = [u for u in range(ppo.updates) if u % ppo.snapshot_every == 0 or u == ppo.updates - 1]
    facts = {
        "observation_size": d,
        "action_size": a,
        "discrete": spec.discrete,
        "updates": ppo.updates,
        "steps_per_update": t_max,
        "streams": e,
    }
    layout = _layout(facts | {"lifetimes": population.lifetimes}, len(taken), ppo.hidden)
    arrays = {name: _create(group, name, dtype, **axes) for name, (dtype, axes) in layout.items() if "step" in axes}
    # Rows are gathered until they fill a shard of every array, so that no shard is written twice.
    shard = arrays["observation"].shards[2]
    buffers = {n: np.empty((*x.shape[:2], shard, *x.shape[3:]), x.dtype) for n, x in arrays.items()}
    written = filled = 0

    def flush() -> None:
        nonlocal written, filled
        for name, array in arrays.items():
            array[:, :, written : written + filled] = buffers[name][:, :, :filled]
        written, filled = written + filled, 0

    snapshots, log_std = [], []
    mean_return = np.full((k, ppo.updates), np.nan, np.float32)
    returns, progress = ReturnTracker(k, e), Progress(label, k * e * s_max, "steps")
    log = SummaryWriter(str(store.parent / "tensorboard"))  # beside the store, and no part of it
    for u in range(ppo.updates):
        policy = population.policy()
        log_std.append(policy.log_std.numpy())
        if u == taken[len(snapshots)]:
            snapshots.append(policy)
        rollout = population.collect()
        ended = returns.add(rollout.reward, rollout.terminated | rollout.truncated)
        mean_return[:, u] = [np.mean(r) if r else np.nan for r in ended]
        values = rollout._asdict()
        values[output] = values.pop("mean")
        start = 0
        while start < t_max:
            take = min(t_max - start, shard - filled)
            for name, value in values.items():
                buffers[name][:, :, filled : filled + take] = value[:, :, start : start + take]
            start, filled = start + take, filled + take
            if filled == shard:
                flush()
        if u < ppo.updates - 1:  # the last policy acts and is kept; nothing would see its successor
            population.improve(rollout)
        recent = mean_return[:, max(0, u - 4) : u + 1]
        note = f"mean return {np.nanmean(recent):.4g}" if np.isfinite(recent).any() else ""
        progress.advance(k * e * t_max, note)
        for i in np.flatnonzero(np.isfinite(mean_return[:, u])):
            log.add_scalar(f"mean_return/{population.lifetimes[i]}", mean_return[i, u], (u + 1) * e * t_max)
        if not spec.discrete:
            log.add_scalar("action_deviation", policy.log_std.exp().mean().item(), (u + 1) * e * t_max)
    log.close()
    if filled:
        flush()

    values = {f"policy_{f}": np.stack([getattr(p, f).numpy() for p in snapshots], 1) for f in Policy._fields}
    values |= {"mean_return": mean_return, "env_steps": np.arange(ppo.updates) * e * t_max, "snapshot_update": np.array(taken)}
    if not spec.discrete:
        values["log_std"] = np.stack(log_std, 1)
    for name, value in values.items():
        dtype, axes = layout[name]
        _create(group, name, dtype, **axes)[...] = value
    group.attrs.update({"format": FORMAT, "steps_per_update": t_max, "discrete": spec.discrete})
    # What figures and manifests read without opening the store.
    return facts | {"mean_return": [[None if np.isnan(x) else round(float(x), 6) for x in row] for row in mean_return]}


def _cpu_flags() -> list[str]:
    """Vector extensions, which decide the last bits of a simulation."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return []
    return sorted(f for f in (flags.group(1).split() if flags else []) if re.match(r"avx|amx|fma|sse4", f))


def _hashes(store: Path) -> dict[str, str]:
    """Hash of every file in a store, by its path in the store; every file is flushed to disk."""
    hashes = {}
    for path in sorted(p for p in store.rglob("*") if p.is_file()):
        with open(path, "rb") as f:
            os.fsync(f.fileno())
        hashes[path.relative_to(store).as_posix()] = sha256(path)
    for folder in {p.parent for p in store.rglob("*")} | {store}:
        sync_folder(folder)
    return hashes


def read_digest(path: str | Path) -> dict[str, Any]:
    """A store's digest. Raises CorruptFile where it is missing, is none, was altered, or is that of another store."""
    body = read_description(path, Digest)
    lifetimes = body["lifetimes"]
    check_place(path, "a digest", f"histories/{body['environment']}/{lifetimes[0]}-{lifetimes[-1]}.json")
    return body


def _anew(store: str | Path) -> str:
    """What mends a store, of which no part is made alone."""
    return f"delete {store} to have it made anew"


def problems(store: str | Path, digest: str | Path) -> Iterator[tuple[Path, str | None]]:
    """Compare a store with its digest: a file and what is wrong with it, or None, for every file.

    Raises CorruptFile where there is no digest or no store.
    """
    store, expected = Path(store), read_digest(digest)["files"]
    if not store.is_dir():
        raise CorruptFile(f"{store}: missing (expected a history store; its digest is {digest}); Snakemake makes it anew")
    # A link could lead out of the store; none is ever written. Snakemake stamps the folders that it made.
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
            yield path, (
                f"{path}: altered or cut off (sha256 {found[:12]}..., expected {str(expected[name])[:12]}...); {anew}"
            )
        else:
            yield path, None


def verify(store: str | Path, digest: str | Path) -> None:
    """Raises CorruptFile naming the first file of a store that is missing, unknown, or not what was written."""
    for _, problem in problems(store, digest):
        if problem:
            raise CorruptFile(problem)


def arrays(store: str | Path, digest: dict[str, Any]) -> dict[str, zarr.Array]:
    """A store's arrays by name, unread. digest: what ``read_digest`` returns.

    Raises CorruptFile naming one that is not of the type, the sizes and the codecs that ``collect`` writes.
    """
    found, scratch, path = {}, zarr.open_group(MemoryStore(), mode="w", zarr_format=3), Path(store)
    try:
        # Format 2 knows a codec that unpickles, and metadata that are consolidated may differ from the arrays' own.
        group = zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False)
        for name in _layout(digest, 1, 1):
            path = Path(store) / name
            found[name] = group[name]
        snapshots, hidden = found["snapshot_update"].shape[0], found["policy_w1"].shape[-1]
        for name, (dtype, axes) in _layout(digest, snapshots, hidden).items():
            path = Path(store) / name
            expected = _create(scratch, name, dtype, **axes)
            if found[name].metadata.to_dict() != expected.metadata.to_dict():
                raise ValueError(f"not {dtype} of {axes} in this package's chunks and codecs")
    except Exception as error:  # Zarr raises a dozen kinds for metadata that it did not write
        said = " ".join(str(error).split())[:200]
        raise CorruptFile(f"{path}: {said} (expected an array as its digest says); {_anew(store)}") from None
    return found


def _check_chunks(path: Path, array: zarr.Array) -> None:
    """Raises CorruptFile where a chunk is missing or would fill more memory than the array has for it. path: of the array."""
    anew = _anew(path.parent)
    whole, size = array.shards or array.chunks, math.prod(array.chunks) * array.dtype.itemsize
    held, per_file = 0, math.prod(n // m for n, m in zip(whole, array.chunks, strict=True)) if array.shards else 0
    for index in itertools.product(*(range(-(-n // m)) for n, m in zip(array.shape, whole, strict=True))):
        file = path.joinpath("c", *map(str, index))
        data = np.memmap(file, np.uint8, "r") if file.is_file() and file.stat().st_size else np.empty(0, np.uint8)
        held += len(data)
        frames = np.array([[0, len(data)]], np.uint64)  # where each begins, and its length
        if per_file:
            frames = np.array(data[max(0, len(data) - 16 * per_file - CHECKSUM) : -CHECKSUM])
            frames = frames.view("<u8").reshape(-1, 2) if len(frames) == 16 * per_file else np.empty((0, 2), np.uint64)
            frames = frames[(frames != np.iinfo(np.uint64).max).any(1) | (len(frames) == 0)]  # past the array's end there are none
        fits = len(data) > 0 and (not per_file or len(frames) > 0)
        fits = fits and bool((frames <= len(data)).all() and (frames.sum(1) <= len(data)).all() and frames[:, 1].sum() <= len(data))
        if fits and (frames[:, 1] >= 16 + CHECKSUM).all():
            # A frame of Blosc says in its header how long it is unpacked and packed.
            said = np.array(data[frames[:, :1].astype(np.int64) + np.arange(16)]).view("<u4")
            if (said[:, 1] == size).all() and (said[:, 3] == frames[:, 1] - CHECKSUM).all():
                continue
        raise CorruptFile(f"{file}: not a chunk of {size} bytes, packed (expected as in {path}/zarr.json); {anew}")
    if array.nbytes > MOST_COMPRESSED * held:
        raise CorruptFile(f"{path}: {held} bytes claim to hold {array.nbytes} (expected at most {MOST_COMPRESSED} times); {anew}")


def read(store: str | Path, digest: str | Path) -> History:
    """A whole store in memory, after ``verify``; raises what that raises, and CorruptFile for what ``collect`` never writes."""
    verify(store, digest)
    body, anew = read_digest(digest), _anew(store)
    found, values = arrays(store, body), {}
    discrete, output = body["discrete"], "logits" if body["discrete"] else "mean"
    for name, array in found.items():
        path = Path(store) / name
        chunks = math.prod(-(-n // m) for n, m in zip(array.shape, array.shards or array.chunks, strict=True))
        if chunks > len(body["files"]):
            raise CorruptFile(f"{path}: {chunks} chunks (expected no more than the {len(body['files'])} files in {digest}); {anew}")
        _check_chunks(path, array)
        if name in ("final_observation", "env_steps"):
            continue
        try:
            values[name] = np.asarray(array[...])
        except (ValueError, RuntimeError) as error:
            raise CorruptFile(f"{path}: not readable ({error}); {anew}") from None
    update, action = values["snapshot_update"], values["action"]
    if update[0] < 0 or update[-1] >= body["updates"] or (np.diff(update) <= 0).any():
        raise CorruptFile(f"{store}/snapshot_update: {update[:5]} ... (expected rising numbers of {body['updates']} updates); {anew}")
    if discrete and (action.min() < 0 or action.max() >= body["action_size"]):
        raise CorruptFile(f"{store}/action: {action.min()} to {action.max()} (expected 0 to {body['action_size'] - 1}); {anew}")
    return History(
        discrete=discrete,
        steps_per_update=body["steps_per_update"],
        mean=values.pop(output),
        log_std=values.pop("log_std", None),
        policy=Policy(*(torch.from_numpy(values.pop(f"policy_{f}")) for f in Policy._fields)),
        **values,
    )
