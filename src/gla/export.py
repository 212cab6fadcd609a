"""Histories in formats of other libraries."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np

from gla.config.environments import Environment
from gla.config.reading import check
from gla.environments.making import make
from gla.environments.spaces import env_spec
from gla.files import named
from gla.options import ConfigError
from gla.storage.layout import read_digest
from gla.storage.reading import History, arrays, read, vectors
from gla.watch import locate


def minari(store: str | Path, name: str, folder: str | Path | None = None) -> str:
    """Writes a history as a Minari dataset, and returns a sentence that says where it is.

    name: ``namespace/dataset-v0``. folder: where Minari keeps its datasets; None: its default. Every
    episode of every stream becomes an episode of the dataset, and each step has its lifetime and update. Actions are clipped to
    the environment's bounds, as they were when they took effect. An episode that a stream's end cuts off is marked as truncated.
    Raises ConfigError for a name that Minari refuses or that exists.
    """
    try:
        import minari as library
        from minari.data_collector import EpisodeBuffer
        from minari.dataset.minari_dataset import parse_dataset_id
        from minari.storage.local import get_dataset_path
    except ImportError:
        raise ImportError("Minari is not installed (pip install minari h5py)") from None

    path, digest = locate(store)
    try:
        parse_dataset_id(name)
    except ValueError as error:
        raise ConfigError(f"--id: {error}") from None
    with _datasets_in(folder), named(target := get_dataset_path(name)):
        if target.exists():
            raise ConfigError(f"--id {name!r}: {target} exists (expected a new name, or a higher version)")
        body, history = read_digest(digest), read(path, digest)
        final = vectors(np.asarray(arrays(path, body)["final_observation"][...]), body["observation_size"])
        entry = check(Environment, body["config"]["environment"])
        tasks = f" Lifetime k has task k % {len(entry.tasks)} of {entry.tasks}." if entry.tasks else ""
        env = make(entry.id, **(entry.kwargs | (entry.tasks[0] if entry.tasks else {})))
        try:
            episodes = _episodes(history, final, body["lifetimes"], env)
            made = library.create_dataset_from_buffers(
                name, [EpisodeBuffer(id=number, **e) for number, e in enumerate(episodes)], env=env,
                algorithm_name=body["config"]["source"]["kind"], data_format="hdf5",
                description=f"Whole learning histories in {entry.id}, from its first update to its last.{tasks}",
            )  # fmt: skip
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        finally:
            env.close()
    return f"{name}: {made.total_episodes:,} episodes, {made.total_steps:,} steps in {target}"


@contextlib.contextmanager
def _datasets_in(folder: str | Path | None) -> Iterator[None]:
    """Sets the environment variable that says where Minari's datasets are, for a while."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    if folder is not None:
        os.environ["MINARI_DATASETS_PATH"] = str(Path(folder).resolve())
    try:
        yield
    finally:
        if folder is not None:
            del os.environ["MINARI_DATASETS_PATH"]
            os.environ |= {} if before is None else {"MINARI_DATASETS_PATH": before}


def _episodes(h: History, final: np.ndarray, lifetimes: list[int], env: gym.Env) -> Iterator[dict]:
    """Yields the fields of Minari's EpisodeBuffer: T actions between T + 1 observations. final: the store's final_observation."""
    spec, seen, done = env_spec(env), env.observation_space.dtype, env.action_space.dtype
    action = h.action if spec.discrete else np.clip(h.action, spec.low, spec.high)
    steps = h.reward.shape[-1]
    for k, lifetime in enumerate(lifetimes):
        for e in range(h.reward.shape[1]):
            ends = np.flatnonzero(h.terminated[k, e] | h.truncated[k, e]) + 1
            starts = np.concatenate([[0], ends])
            # The observation after the stream's last step was not recorded, so this step is left out.
            for start, end in zip(starts, [*ends, steps - 1], strict=True):
                if end <= start:
                    continue
                ended = end in ends
                last = final[k, e, end - 1] if ended else h.observation[k, e, end]
                rows, truncated = slice(start, end), h.truncated[k, e, start:end].copy()
                truncated[-1] |= not ended
                update = np.arange(start, end + 1).clip(max=end - 1) // h.steps_per_update
                yield {
                    "observations": np.concatenate([h.observation[k, e, rows], last[None]]).astype(seen),
                    "actions": action[k, e, rows].astype(done),
                    "rewards": h.reward[k, e, rows],
                    "terminations": h.terminated[k, e, rows],
                    "truncations": truncated,
                    "infos": {"update": update, "lifetime": np.full(len(update), lifetime)},
                }
