"""Reading: random windows of 1,024 steps from histories that memory has no room for, beside the same from memory.

A store of random histories, 240 bytes a step, is mapped from files as training does where histories do not fit
(gla.windows). Before each draw all of its pages are dropped from this process and from the page cache, outside of the
clock, so that every draw finds none of it in memory: as with a store that is far larger. The bytes that the disk gave
are counted, and a run in which it gave fewer than the windows hold is refused. Writes rows of docs/benchmarks.csv.

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

from gla import augment, histories
from gla.config import Agent, Dataset
from gla.files import fingerprint, write_json
from gla.windows import Windows

WINDOW, BATCH, STREAMS, UPDATES, OBSERVATION, ACTION = 1024, 32, 8, 32, 50, 4
ROUNDS = 7
FIELDS = ("observation", "action", "mean", "reward", "done")


def write_store(folder: Path, lifetimes: int) -> tuple[str, str]:
    """A dataset over one store of random numbers: table and summary."""
    store, digest, rng = folder / "h.zarr", folder / "d.json", np.random.default_rng(0)
    group = zarr.open_group(store, mode="w", zarr_format=3)
    body = {
        "format": histories.FORMAT, "environment": "random", "lifetimes": list(range(lifetimes)), "streams": STREAMS,
        "config": {"id": "random", "tasks": []}, "observation_size": OBSERVATION, "action_size": ACTION, "discrete": False,
        "updates": UPDATES, "steps_per_update": WINDOW, "mean_return": [[0.0] * UPDATES] * lifetimes,
    }  # fmt: skip
    for name, (dtype, axes) in histories._layout(body, snapshots=1, hidden=1).items():  # recorded targets ask no policy
        array = histories._create(group, name, dtype, **axes)
        for k in range(array.shape[0]):
            shape = array.shape[1:]
            array[k] = rng.standard_normal(shape, np.float32) if dtype == "float32" else np.zeros(shape, dtype)
    group.attrs.update({"format": histories.FORMAT, "steps_per_update": WINDOW, "discrete": False})
    body["files"] = histories._hashes(store)
    write_json(digest, body | {"content": fingerprint(body)})
    paths = str(folder / "m.csv"), str(folder / "m.json")
    augment.write_manifest(Dataset(environments=["random"]), [(str(store), str(digest))], *paths)
    return paths


class Evictor:
    """Drops everything mapped by a source from memory."""

    def __init__(self, source, folder: Path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        tensors = [getattr(source, f) for f in FIELDS] + [torch.from_numpy(x) for x in (source.episode_start, source.next_episode_start)]
        self.ranges = [(x.data_ptr(), x.numel() * x.element_size()) for x in tensors]
        descriptors = {int(d): os.readlink(f"/proc/self/fd/{d}") for d in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{d}")}
        self.files = [d for d, path in descriptors.items() if path.startswith(str(folder))]
        assert len(self.files) == len(self.ranges), "every mapping keeps its file open"
        for file in self.files:
            os.fsync(file)  # only clean pages can be dropped

    def __call__(self) -> None:
        for address, size in self.ranges:
            if self.libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), 4):  # MADV_DONTNEED, of a shared mapping
                raise OSError(ctypes.get_errno(), "madvise")
        for file in self.files:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lifetimes", type=int, default=16, help="63 MB each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be memory
        manifest = augment.read_manifest(*write_store(Path(folder), options.lifetimes))
        agent = Agent(dataset="", pieces=1, piece_steps=WINDOW, from_start=0.0)
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
        put_ratio("reading, random windows of 1,024 steps", "windows/s", found["ours"], found["peer"], against, 0.25)


if __name__ == "__main__":
    main()
