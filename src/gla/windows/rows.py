"""The streams of one source that belong to a split, in memory or mapped from files."""

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from gla.environments.spaces import EnvSpec
from gla.files import ANEW, CorruptFile, named
from gla.storage.layout import arrays_of, read_digest

if TYPE_CHECKING:
    from gla.storage.reading import History

STEP_ARRAYS = ("observation", "action", "reward")  # arrays that every window needs
INDEX = 2 * 4 + 1  # further bytes of a step: where episodes begin, and whether one ends


def _extend(descriptor: int, _offset: int, size: int) -> None:
    """Extends a file, on systems that cannot allocate its blocks in advance."""
    os.truncate(descriptor, size)


def _alike(history: "History") -> tuple:
    """Returns the properties that all stores of one source share: types and sizes, and the updates that have snapshots."""
    arrays = {
        name: (x.dtype, x.shape[2 if name in (*STEP_ARRAYS, "mean", "logits") else 1 :])
        for name, x in history.arrays.items()
    }
    return (
        history.discrete,
        history.steps_per_update,
        *sorted(arrays.items()),
        *history.arrays.get("snapshot_update", ()),
    )


class Rows:
    """The streams of one source. The rows of each step array are flattened over lifetimes and streams.

    table: the manifest's rows of the source and the split. summary: the part of the manifest's summary about the source.
    needs: names of the arrays that are read in addition to transitions. folder: the folder of the files that rows are mapped
    from; None: they are in memory.

    steps: each array with steps, (streams * steps, ...). lifetimes: each other array, (K, ...). stream_lifetime: (streams,),
    the lifetime that a stream belongs to. stream_task: (streams,), the number of its task. done: whether an episode ended,
    (streams * steps,).
    """

    def __init__(self, table: pd.DataFrame, summary: dict, needs: set[str], device: torch.device, folder: Path | None):
        # Zarr is slow to import, and rollouts need only the options of windows.
        from gla.storage.reading import read

        store, names = (
            [table["store"].iloc[0], table["digest"].iloc[0]],
            {*STEP_ARRAYS, "terminated", "truncated", "mean_return", *needs},
        )
        digest, history = (
            read_digest(store[1]),
            read(store[0], store[1], names),
        )  # checked before memory is taken for the sizes that they claim
        sizes = digest["observation_size"], digest["action_size"], digest["discrete"]
        self.spec = EnvSpec(*sizes, None, None, digest.get("states", 0))
        self.per_update, self.updates = digest["steps_per_update"], digest["updates"]
        self.streams, self.length, self.folder = len(table), self.updates * self.per_update, folder
        self.projection_range = int(table["projection_low"].iloc[0]), int(table["projection_high"].iloc[0])
        self.mapped: list[tuple[mmap.mmap, int]] = []  # files, and bytes of a step in each
        self._derived: dict[Any, Any] = {}
        layout, alike, filled, number = arrays_of(digest), _alike(history), 0, -1
        kept = [name for name in names if name in layout and (name in STEP_ARRAYS or name in needs)]
        step_arrays = {
            name: self._array(layout[name].dtype, *tuple(layout[name].axes.values())[3:])
            for name in kept
            if "step" in layout[name].axes
        }
        others: dict[str, list] = {
            name: [] for name in kept if "step" not in layout[name].axes and "lifetime" in layout[name].axes
        }
        done, lifetimes, tasks, returns = self._array("bool"), [], [], []
        # For each step: the beginning of its episode, and the first beginning of an episode at or after it.
        self.episode_start, self.next_episode_start = self._array("int32"), self._array("int32")
        for number, ((*paths, k), group) in enumerate(table.groupby(["store", "digest", "lifetime"], sort=False)):
            if paths != store:
                history = None  # only one history at a time is in memory
                store, history, digest = paths, read(paths[0], paths[1], names), read_digest(paths[1])
            streams = group["stream"].to_numpy()
            if k >= len(history.reward) or streams.max() >= history.reward.shape[1] or _alike(history) != alike:
                raise CorruptFile(
                    f"{paths[1]}: no lifetime {k} with stream {streams.max()} like the others (expected what the manifest says "
                    f"of it, and stores of one source alike); {ANEW}"
                )
            part = slice(filled, filled + len(streams))
            for name, array in step_arrays.items():
                array[part] = history.arrays[name][k, streams]
            done[part] = (history.terminated | history.truncated)[k, streams]
            begins = np.concatenate([np.ones((len(streams), 1), bool), done[part, :-1]], 1)
            self.episode_start[part] = np.maximum.accumulate(np.where(begins, np.arange(self.length), 0), 1)
            later = np.where(begins, np.arange(self.length), self.length)[:, ::-1]
            self.next_episode_start[part] = np.minimum.accumulate(later, 1)[:, ::-1]
            for name, values in others.items():
                values.append(history.arrays[name][k])
            returns.append(history.mean_return[k])
            lifetimes += [number] * len(streams)
            tasks += [digest["lifetimes"][k] % digest["tasks"]] * len(streams)
            filled += len(streams)
        self.snapshot_update = history.arrays.get("snapshot_update")
        self.stream_lifetime, self.stream_task = np.array(lifetimes), np.array(tasks)
        self.steps = {name: torch.from_numpy(x.reshape(-1, *x.shape[2:])).to(device) for name, x in step_arrays.items()}
        self.done = torch.from_numpy(done.reshape(-1)).to(device)
        self.lifetimes = {name: torch.from_numpy(np.stack(values)).to(device) for name, values in others.items()}
        # Returns, scaled from 0 (the start of these histories) to 1 (their end), (K, U), with gaps filled by earlier values.
        curves = pd.DataFrame(np.array(returns)).ffill(axis=1).bfill(axis=1).fillna(0.0).to_numpy()
        span = summary["return_last"] - summary["return_first"]
        self.progress = (curves - summary["return_first"]) / (span if abs(span) > 1e-9 else 1.0)

    def derived(self, of: Any, make: Callable[[], Any]) -> Any:
        """Returns the result of ``make``, which is called only once for each value of ``of``."""
        if of not in self._derived:
            self._derived[of] = make()
        return self._derived[of]

    def announce(self, index: np.ndarray) -> None:
        """Asks the disk for the mapped steps (n, T) in advance, all at once. Otherwise each page would be read separately at
        its first use.
        """
        ends = np.diff(index, append=-1) != 1  # ends of runs of consecutive steps
        last = index[ends]
        first = index[np.concatenate([np.ones((len(index), 1), bool), ends[:, :-1]], 1)]
        for file, step in self.mapped:
            begin = first * step // mmap.PAGESIZE * mmap.PAGESIZE
            for offset, length in zip(begin.tolist(), ((last + 1) * step - begin).tolist(), strict=True):
                file.madvise(mmap.MADV_WILLNEED, offset, length)

    @staticmethod
    def size(table: pd.DataFrame, needs: set[str]) -> int:
        """Bytes of all rows."""
        digest = read_digest(table["digest"].iloc[0])
        step = INDEX + sum(_bytes_of_step(digest, {*STEP_ARRAYS, *needs}))
        return len(table) * digest["updates"] * digest["steps_per_update"] * step

    def _array(self, dtype: str, *size: int) -> np.ndarray:
        """Allocates an array with a value for every step, (streams, steps, *size)."""
        shape = self.streams, self.length, *size
        if self.folder is None:
            return np.empty(shape, dtype)
        length = math.prod(shape) * np.dtype(dtype).itemsize
        # The file has no name, so that it is removed with the process. Its blocks are allocated now, so that a full disk raises an OSError.
        with tempfile.TemporaryFile(dir=self.folder) as file:
            with named(self.folder):
                getattr(os, "posix_fallocate", _extend)(file.fileno(), 0, length)
            mapped = mmap.mmap(file.fileno(), length)
        mapped.madvise(mmap.MADV_RANDOM)  # otherwise the disk reads megabytes around each window
        self.mapped.append((mapped, length // (self.streams * self.length)))
        return np.frombuffer(mapped, dtype).reshape(shape)


def _bytes_of_step(digest: dict, names: set[str]) -> Iterator[int]:
    """Returns the bytes of one step of a stream, for each of these arrays that has steps."""
    for name, array in arrays_of(digest).items():
        if name in names and "step" in array.axes:
            yield math.prod(tuple(array.axes.values())[3:]) * np.dtype(array.dtype).itemsize
