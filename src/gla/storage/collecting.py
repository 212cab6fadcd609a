"""Runs sources and writes their data into stores, piece by piece."""

import os
import platform
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from gla.config.environments import Environment
from gla.environments.returns import ReturnTracker
from gla.files import exclusive, fingerprint, named, sha256, sync_folder, write_json
from gla.policies import NumericalError
from gla.progress import Progress
from gla.sources.kinds import SOURCES
from gla.sources.options import NOT_OF_BLOCKS, Array, Run, SourceOptions
from gla.storage.layout import FORMAT, LAYOUT, create

OBSERVATIONS = ("observation", "final_observation")
PACKAGES = ("gla", "torch", "numpy", "gymnasium", "mujoco", "dm-control", "zarr")  # they decide a store's bytes


def collect(
    source: SourceOptions, environment: Environment, name: str, lifetimes: range, store: str | Path, digest: str | Path
) -> None:
    """Runs one block of lifetimes, and writes its store and its digest.

    source, environment: their entries in the config. name: the source's key there. lifetimes: the indices of the lifetimes.
    Raises NumericalError if a number stops being finite, and then leaves no digest; Busy if another process collects into the
    store's folder.
    """
    store, digest = Path(store), Path(digest)
    store.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(store.parent), named(store):
        _collect(source, environment, name, lifetimes, store, digest)


def _collect(
    source: SourceOptions, environment: Environment, name: str, lifetimes: range, store: Path, digest: Path
) -> None:
    digest.unlink(missing_ok=True)
    if store.is_dir():
        shutil.rmtree(store)
    kind = SOURCES[source.kind]
    run = kind.Run(source, environment, lifetimes, name)
    try:
        arrays = kind.arrays(source, run.spec, lifetimes) | _curves(source, lifetimes)
        returns = _write(source, run, arrays, lifetimes, store, f"collect {name} {lifetimes.start}-{lifetimes[-1]}")
        spec = run.spec
    finally:
        run.close()
    body = {
        "format": FORMAT,
        "source": name,
        "environment": source.environment,
        "tasks": len(environment.tasks) or 1,
        "lifetimes": list(lifetimes),
        "config": {"source": source.model_dump(exclude=set(NOT_OF_BLOCKS)), "environment": made_of(environment)},
        "observation_size": spec.observation_size,
        "action_size": spec.action_size,
        "discrete": spec.discrete,
        "updates": source.updates,
        "steps_per_update": source.steps,
        "num_envs": source.num_envs,
        **({"states": spec.states} if spec.states else {}),
        # Figures and manifests read it from the digest, without opening the store.
        "mean_return": [[None if np.isnan(x) else round(float(x), 6) for x in row] for row in returns],
        "arrays": {n: a._asdict() for n, a in arrays.items()},
        "versions": {p: version(p) for p in PACKAGES + ("envpool",) * (getattr(source, "backend", "") == "envpool")},
        "machine": {"architecture": platform.machine(), "cpu_flags": _cpu_flags()},
        "files": _hashes(store),
    }
    write_json(digest, body | {"content": fingerprint(body)})


def made_of(environment: Environment) -> dict[str, Any]:
    """Returns the part of an environment's entry that decides histories."""
    return {"id": environment.id, "kwargs": environment.kwargs, "tasks": environment.tasks}


def _curves(source: SourceOptions, lifetimes: range) -> dict[str, Array]:
    updates = {"update": source.updates}
    return {
        "mean_return": Array("float32", {"lifetime": len(lifetimes)} | updates),
        "env_steps": Array("int64", updates),
    }


def _write(
    source: SourceOptions, run: Run, layout: dict[str, Array], lifetimes: range, store: Path, label: str
) -> np.ndarray:
    """Writes a store. Returns the mean returns, (K, U)."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed only here

    k, e, t_max = len(lifetimes), source.num_envs, source.steps
    group = zarr.open_group(store, mode="w", zarr_format=3)
    arrays = {name: create(group, name, array) for name, array in layout.items() if "step" in array.axes}
    # Rows are gathered until they fill a shard of every array, so that no shard is written twice.
    shard = arrays["observation"].shards[2]
    buffers = {n: np.empty((*x.shape[:2], shard, *x.shape[3:]), x.dtype) for n, x in arrays.items()}
    written = filled = 0

    def flush() -> None:
        nonlocal written, filled
        for name, array in arrays.items():
            array[:, :, written : written + filled] = buffers[name][:, :, :filled]
        written, filled = written + filled, 0

    mean_return = np.full((k, source.updates), np.nan, np.float32)
    returns, progress = ReturnTracker(k, e), Progress(label, k * e * source.updates * t_max, "steps")
    log = SummaryWriter(str(store.parent / "tensorboard"))  # next to the store, and not part of it
    for u, values in enumerate(run.updates()):
        _check_finite(label, lifetimes, u, values)
        # Discrete observations are one-hot until here.
        values |= {n: values[n].argmax(-1) for n in OBSERVATIONS if values[n].ndim > layout[n].dimensions}
        ended = returns.add(values["reward"], values["terminated"] | values["truncated"])
        mean_return[:, u] = [np.mean(r) if r else np.nan for r in ended]
        start = 0
        while start < t_max:
            take = min(t_max - start, shard - filled)
            for name, value in values.items():
                buffers[name][:, :, filled : filled + take] = value[:, :, start : start + take]
            start, filled = start + take, filled + take
            if filled == shard:
                flush()
        recent = mean_return[:, max(0, u - 4) : u + 1]
        note = f"mean return {np.nanmean(recent):.4g}" if np.isfinite(recent).any() else ""
        progress.advance(k * e * t_max, note)
        for i in np.flatnonzero(np.isfinite(mean_return[:, u])):
            log.add_scalar(f"mean_return/{lifetimes[i]}", mean_return[i, u], (u + 1) * e * t_max)
        for name, value in run.curves(u).items():
            log.add_scalar(name, value, (u + 1) * e * t_max)
    log.close()
    if filled:
        flush()
    rest = run.rest() | {"mean_return": mean_return, "env_steps": np.arange(source.updates) * e * t_max}
    for name, value in rest.items():
        create(group, name, layout[name])[...] = value
    group.attrs.update({"format": LAYOUT, "steps_per_update": t_max, "discrete": run.spec.discrete})
    return mean_return


def _check_finite(label: str, lifetimes: range, update: int, values: dict[str, np.ndarray]) -> None:
    """Raises NumericalError if a value of one update, (K, E, T, ...), is not finite in the type that is stored, which may be
    too small for a reward.
    """
    for name, value in values.items():
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(value.astype(np.float32, copy=False)) if value.dtype.kind == "f" else np.zeros(1, bool)
        if bad.any():
            k, copy, step = np.argwhere(bad)[0, :3]
            where = f"lifetime {lifetimes[k]}, update {update}, copy {copy}, step {step}"
            raise NumericalError(f"{label}: {where}: {name.replace('_', ' ')} is not finite")


def _cpu_flags() -> list[str]:
    """Returns the CPU's vector extensions, which decide the last bits of a simulation."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return []
    return sorted(f for f in (flags.group(1).split() if flags else []) if re.match(r"avx|amx|fma|sse4", f))


def _hashes(store: Path) -> dict[str, str]:
    """Returns the hash of every file in a store, by its path in the store, and flushes every file to disk."""
    hashes = {}
    for path in sorted(p for p in store.rglob("*") if p.is_file()):
        with open(path, "rb") as f:
            os.fsync(f.fileno())
        hashes[path.relative_to(store).as_posix()] = sha256(path)
    for folder in {p.parent for p in store.rglob("*")} | {store}:
        sync_folder(folder)
    return hashes
