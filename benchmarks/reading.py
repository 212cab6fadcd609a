"""Reading: random windows of 1,024 steps from histories that do not fit into memory, compared with the same from memory.

A store of random histories, 240 bytes a step, is mapped from files as training does where histories do not fit (gla.windows).
Before each draw all of its pages are dropped from this process and from the page cache, outside of the measured time, so that
no draw finds any of it in memory, as with a far larger store. The bytes that were read from the disk are counted, and a run
with fewer bytes than the windows hold is refused. Writes rows of docs/benchmarks.csv.

    python benchmarks/reading.py [--lifetimes 16]
"""

import argparse
import ctypes
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr
from table import interleaved, put_ratio

from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.environments.spaces import EnvSpec
from gla.files import fingerprint, write_json
from gla.manifests import read_manifest, write_manifest
from gla.sources import ppo
from gla.storage.collecting import _curves, _hashes
from gla.storage.layout import FORMAT, create
from gla.windows.batches import Windows
from gla.windows.rows import Rows

WINDOW, BATCH, STREAMS, UPDATES, OBSERVATION, ACTION = 1024, 32, 8, 32, 50, 4
ROUNDS = 7


def write_store(folder: Path, lifetimes: int) -> tuple[str, str]:
    """Writes a dataset with one store of random numbers, and returns table and summary."""
    store, digest, rng = folder / "h.zarr", folder / "d.json", np.random.default_rng(0)
    group = zarr.open_group(store, mode="w", zarr_format=3)
    # Recorded labels ask for no policy, so that one unit is enough.
    source = ppo.Options(
        environment="random", lifetimes=lifetimes, num_envs=STREAMS, num_updates=UPDATES, num_steps=WINDOW, hidden=1
    )
    spec = EnvSpec(OBSERVATION, ACTION, False, None, None)
    layout = ppo.arrays(source, spec, range(lifetimes)) | _curves(source, range(lifetimes))
    layout = {name: array for name, array in layout.items() if not name.startswith(("policy_", "snapshot_"))}
    for name, described in layout.items():
        array = create(group, name, described)
        for k in range(array.shape[0]):
            shape = array.shape[1:]
            array[k] = (
                rng.standard_normal(shape, np.float32)
                if described.dtype == "float32"
                else np.zeros(shape, described.dtype)
            )
    body = {
        "format": FORMAT, "source": "random", "environment": "random", "tasks": 1, "lifetimes": list(range(lifetimes)),
        "config": {"source": {"kind": "ppo"}, "environment": {"id": "random"}},
        "observation_size": OBSERVATION, "action_size": ACTION, "discrete": False, "updates": UPDATES, "steps_per_update": WINDOW,
        "num_envs": STREAMS, "mean_return": [[0.0] * UPDATES] * lifetimes,
        "arrays": {name: array._asdict() for name, array in layout.items()}, "files": _hashes(store),
    }  # fmt: skip
    write_json(digest, body | {"content": fingerprint(body)})
    paths = str(folder / "m.csv"), str(folder / "m.json")
    write_manifest(Dataset(sources=["random"]), [(str(store), str(digest))], *paths)
    return paths


class Evictor:
    """Drops everything mapped by a source from memory."""

    def __init__(self, rows: Rows, folder: Path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        tensors = [
            *rows.steps.values(),
            rows.done,
            *map(torch.from_numpy, (rows.episode_start, rows.next_episode_start)),
        ]
        self.ranges = [(x.data_ptr(), x.numel() * x.element_size()) for x in tensors]
        descriptors = {
            int(d): os.readlink(f"/proc/self/fd/{d}")
            for d in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{d}")
        }
        self.files = [d for d, path in descriptors.items() if path.startswith(str(folder))]
        assert len(self.files) == len(self.ranges), "every mapping keeps its file open"
        for file in self.files:
            os.fsync(file)  # only clean pages can be dropped

    def __call__(self) -> None:
        for address, size in self.ranges:
            if self.libc.madvise(
                ctypes.c_void_p(address), ctypes.c_size_t(size), 4
            ):  # MADV_DONTNEED, of a shared mapping
                raise OSError(ctypes.get_errno(), "madvise")
        for file in self.files:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lifetimes", type=int, default=16, help="63 MB each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be memory
        manifest = read_manifest(*write_store(Path(folder), options.lifetimes))
        agent = Agent.model_validate(
            {"dataset": "", "windows": {"chunks": 1, "chunk_steps": WINDOW, "from_start": 0.0}}
        )
        near = Windows(agent, *manifest, "train", memory=2**62)
        far = Windows(agent, *manifest, "train", folder=folder, memory=0)
        evict, index, given = Evictor(far.sources[0], Path(folder)), [0, 0], []

        def draw(windows: Windows, which: int) -> float:
            index[which] += 1
            start = time.perf_counter()
            windows.batch(index[which], BATCH)
            return BATCH / (time.perf_counter() - start)

        def cold() -> float:
            evict()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
            found = draw(far, 1)
            given.append(512 * (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - before))
            return found

        found = interleaved(ROUNDS, ours=cold, peer=lambda: draw(near, 0))
        least = BATCH * WINDOW * 4 * OBSERVATION
        if min(given) < least:
            sys.exit(f"the disk gave {min(given)} bytes for windows that hold {least}: they were still in memory")
        against = f"the same from memory; {np.median(given) / 2**20:.0f} MiB from the disk a batch of {BATCH}, none of it in memory before"
        put_ratio("reading, random windows of 1,024 steps", "windows/s", found["ours"], found["peer"], against, 0.4)


if __name__ == "__main__":
    main()
