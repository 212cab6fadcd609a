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

import math
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from gla.config import NOT_OF_HISTORIES, Environment
from gla.files import CorruptFile, exclusive, fingerprint, read_json, sha256, sync_folder, write_json
from gla.ppo import Policy, Population, ReturnTracker
from gla.progress import Progress

FORMAT = 1  # version of the layout above
CHUNK_ROWS = 1024  # rows of one stream that are compressed together
MOST_COMPRESSED = 1000  # times; LZ4 reaches 255
SHARD_ROWS = 32768  # rows of one lifetime that share a file
PACKAGES = ("gla", "torch", "numpy", "gymnasium", "mujoco", "dm-control", "zarr")  # that decide a store's bytes


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


def collect(entry: Environment, name: str, lifetimes: range, store: str | Path, digest: str | Path) -> None:
    """Run one block of lifetimes and write its store and digest.

    entry: the environment's config. name: its key in the config. lifetimes: their indices. Raises NumericalError where a number stops being
    finite, and leaves no digest then; Busy where another process collects into the store's folder.
    """
    store, digest = Path(store), Path(digest)
    store.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(store.parent):
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
    rows = {"lifetime": k, "stream": e, "step": s_max}
    output = "logits" if spec.discrete else "mean"
    arrays = {
        "observation": _create(group, "observation", "float32", **rows, observation=d),
        "final_observation": _create(group, "final_observation", "float32", **rows, observation=d),
        "action": _create(group, "action", "int64", **rows)
        if spec.discrete
        else _create(group, "action", "float32", **rows, action=a),
        output: _create(group, output, "float32", **rows, action=a),
        "reward": _create(group, "reward", "float32", **rows),
        "terminated": _create(group, "terminated", "bool", **rows),
        "truncated": _create(group, "truncated", "bool", **rows),
    }
    # Rows are gathered until they fill a shard of every array, so that no shard is written twice.
    shard = arrays["observation"].shards[2]
    buffers = {n: np.empty((*x.shape[:2], shard, *x.shape[3:]), x.dtype) for n, x in arrays.items()}
    written = filled = 0

    def flush() -> None:
        nonlocal written, filled
        for name, array in arrays.items():
            array[:, :, written : written + filled] = buffers[name][:, :, :filled]
        written, filled = written + filled, 0

    snapshots, snapshot_update, log_std = [], [], []
    mean_return = np.full((k, ppo.updates), np.nan, np.float32)
    returns, progress = ReturnTracker(k, e), Progress(label, k * e * s_max, "steps")
    log = SummaryWriter(str(store.parent / "tensorboard"))  # beside the store, and no part of it
    for u in range(ppo.updates):
        policy = population.policy()
        log_std.append(policy.log_std.numpy())
        if u % ppo.snapshot_every == 0 or u == ppo.updates - 1:
            snapshots.append(policy)
            snapshot_update.append(u)
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

    def save(name: str, value: np.ndarray, **axes: int) -> None:
        _create(group, name, str(value.dtype), **axes)[...] = value

    updates = {"lifetime": k, "update": ppo.updates}
    if not spec.discrete:
        save("log_std", np.stack(log_std, 1), **updates, action=a)
    save("mean_return", mean_return, **updates)
    save("env_steps", np.arange(ppo.updates, dtype=np.int64) * e * t_max, update=ppo.updates)
    save("snapshot_update", np.array(snapshot_update, np.int64), snapshot=len(snapshots))
    for field in Policy._fields:
        value = np.stack([getattr(p, field).numpy() for p in snapshots], 1)
        inner = {f"{field}_{i}": size for i, size in enumerate(value.shape[2:])}
        save(f"policy_{field}", value, lifetime=k, snapshot=len(snapshots), **inner)
    group.attrs.update({"format": FORMAT, "steps_per_update": t_max, "discrete": spec.discrete})
    return {
        "observation_size": d,
        "action_size": a,
        "discrete": spec.discrete,
        "updates": ppo.updates,
        "steps_per_update": t_max,
        "streams": e,
        # What figures and manifests read without opening the store.
        "mean_return": [[None if np.isnan(x) else round(float(x), 6) for x in row] for row in mean_return],
    }


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


def read_digest(path: str | Path) -> dict:
    """A store's digest. Raises CorruptFile where it is missing, is none, or was altered."""
    body = read_json(path)
    if not isinstance(body, dict) or not isinstance(body.get("files"), dict):
        raise CorruptFile(f"{path}: no list of files (expected a digest of a history store)")
    if body.get("format") != FORMAT:
        raise CorruptFile(f"{path}: format {body.get('format')!r} (expected {FORMAT}); delete it to have it made anew")
    if body.get("content") != fingerprint({key: value for key, value in body.items() if key != "content"}):
        raise CorruptFile(f"{path}: altered (its content is not what its own hash says); delete it to have it made anew")
    return body


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
    anew = f"delete {store} to have it made anew"
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


def read(store: str | Path, digest: str | Path) -> History:
    """A whole store in memory, after ``verify``; raises what that raises."""
    verify(store, digest)
    group = zarr.open_group(store, mode="r", zarr_format=3)  # format 2 knows a codec that unpickles
    for name, array in group.arrays():
        held = sum(p.stat().st_size for p in (Path(store) / name).rglob("*") if p.is_file())
        claimed = max(array.nbytes, math.prod(array.chunks) * array.dtype.itemsize)
        if claimed > MOST_COMPRESSED * held:
            raise CorruptFile(f"{Path(store) / name}: {held} bytes claim to hold {claimed} (expected at most {MOST_COMPRESSED} times)")
    discrete = bool(group.attrs["discrete"])
    policy = Policy(*(torch.from_numpy(group[f"policy_{f}"][...]) for f in Policy._fields))
    return History(
        discrete=discrete,
        steps_per_update=int(group.attrs["steps_per_update"]),
        mean=group["logits" if discrete else "mean"][...],
        log_std=None if discrete else group["log_std"][...],
        policy=policy,
        **{
            n: group[n][...]
            for n in ("observation", "action", "reward", "terminated", "truncated", "mean_return", "snapshot_update")
        },
    )
