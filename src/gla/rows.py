"""Rows of rollouts: one for each seed and finished episode, in one Parquet file for each agent (or baseline) and condition::

    agent, environment, condition, training_seed, seed, episode, env_steps, episode_return, episode_length, rewards_vary

env_steps counts the seed's steps up to and including the episode's last. Test seed s has task s % n of the n tasks of the
evaluation's split. training_seed is the number of the network, or of the reference's run. rewards_vary says whether rewards
differed at all: if not, no control can show anything.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gla.files import ANEW, CorruptFile, atomic, check, place

COLUMNS = (
    "agent", "environment", "condition", "training_seed", "seed", "episode", "env_steps", "episode_return", "episode_length",
    "rewards_vary",
)  # fmt: skip
NAMES, COUNTS = COLUMNS[:3], (*COLUMNS[3:7], "episode_length")
# Limits of what a file of rollouts may claim to hold. Its rows for each byte may be three times as many as in the smallest files.
MOST_ROWS, ROWS_PER_BYTE, NAMES_BYTES, NETWORKS, SEEDS = 5_000_000, 16, 2**28, 2**10, 2**20


def write_rows(frame: pd.DataFrame, path: str | Path) -> None:
    """Writes one Parquet file of tidy rows."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def _check_claims(path: str | Path) -> None:
    """Raises CorruptFile, before any data are unpacked, if the metadata of a Parquet file are not such as ``write_rows`` writes."""
    claimed = pq.read_metadata(path)
    types = {f.name: f.type for f in claimed.schema.to_arrow_schema()}
    rows, groups = claimed.num_rows, [claimed.row_group(i) for i in range(claimed.num_row_groups)]
    for name in COLUMNS:
        if name not in types:
            raise CorruptFile(f"{path}: no column {name!r} (expected {', '.join(COLUMNS)}); {ANEW}")
        kinds = {pa.float64()} if name == "episode_return" else {pa.bool_()} if name == "rewards_vary" else {pa.int64()}
        kinds = {pa.string(), pa.large_string()} if name in NAMES else kinds
        if types[name] not in kinds and (rows or types[name] != pa.null()):  # without rows no type is known
            raise CorruptFile(
                f"{path}: column {name!r} is of type {types[name]} (expected {' or '.join(sorted(map(str, kinds)))}); {ANEW}"
            )
    most = min(MOST_ROWS, ROWS_PER_BYTE * os.path.getsize(path))
    if rows > most or rows != sum(g.num_rows for g in groups):
        raise CorruptFile(f"{path}: {rows} rows in {os.path.getsize(path)} bytes (expected at most {most}); {ANEW}")
    for column in (g.column(i) for g in groups for i in range(g.num_columns)):
        size = 1000 + rows * (1 if column.path_in_schema in NAMES else 32)
        if column.compression != "SNAPPY" or not {"PLAIN", "RLE", "RLE_DICTIONARY"}.issuperset(column.encodings):
            raise CorruptFile(
                f"{path}: column {column.path_in_schema!r} is packed by {column.compression} of {column.encodings} (expected SNAPPY); {ANEW}"
            )
        if column.total_uncompressed_size > size:
            raise CorruptFile(
                f"{path}: column {column.path_in_schema!r} has {column.total_uncompressed_size} bytes (expected at most {size}); {ANEW}"
            )
    # A name of a megabyte is stored once, but repeated in every row that is read.
    names = pq.read_table(path, columns=list(NAMES), read_dictionary=list(NAMES)) if rows else pa.table({})
    parts = [part for column in names.columns for part in column.chunks]
    letters = sum(len(part) * max(map(len, part.dictionary.to_pylist()), default=0) for part in parts)
    if letters > NAMES_BYTES:
        raise CorruptFile(f"{path}: names of {letters} letters in all (expected at most {NAMES_BYTES}); {ANEW}")


def _check_rows(frame: pd.DataFrame, path: str | Path) -> None:
    """Raises CorruptFile if rows cannot come from a rollout, or are not of the agent and the condition in the path."""
    counts = frame[list(COUNTS)]
    if frame.isna().any(axis=None) or not np.isfinite(frame["episode_return"].astype(float)).all():
        raise CorruptFile(f"{path}: a value is missing or not finite (expected one in every column); {ANEW}")
    if (counts < 0).any(axis=None) or (frame["seed"] >= SEEDS).any() or (frame["training_seed"] >= NETWORKS).any():
        raise CorruptFile(
            f"{path}: a count is out of its range (expected seeds below {SEEDS} and training seeds below {NETWORKS}); {ANEW}"
        )
    if frame.duplicated([*NAMES, "training_seed", "seed", "episode"]).any():
        raise CorruptFile(f"{path}: an episode is there twice (expected one row for each); {ANEW}")
    where = place(path).split("/")
    if where[0] == "rollouts":
        networks = frame[["agent", "training_seed", "condition"]].drop_duplicates().itertuples(index=False)
        found = {(a if a == "baseline" or not k else f"{a}.{k}", c) for a, k, c in networks}
        if found - {(where[2], Path(where[3]).stem)}:
            raise CorruptFile(
                f"{path}: rollouts of {' '.join(min(found))} (expected those of {where[2]} {Path(where[3]).stem}); {ANEW}"
            )
    if frame["environment"].nunique() > 1:
        raise CorruptFile(f"{path}: rollouts in several environments (expected one); {ANEW}")


def read_rows(path: str | Path) -> pd.DataFrame:
    """Returns the rows in a file. Raises CorruptFile, which names the file, if it holds no rollouts, was altered, or holds
    rollouts that do not belong in its place.
    """
    try:
        check(path)
        _check_claims(path)
        frame = pd.read_parquet(path, columns=list(COLUMNS))
        _check_rows(frame, path)
    except CorruptFile:
        raise
    except Exception as error:  # Arrow and pandas raise errors of many types for a file that they did not write
        said = " ".join(str(error).split())[:300]
        raise CorruptFile(f"{path}: not readable as rollouts in Parquet ({said}); {ANEW}") from None
    return frame


def read_evaluation(paths: Iterable[str | Path], seeds: int = SEEDS) -> pd.DataFrame:
    """Returns all rollouts of one evaluation. seeds: the number of its seeds.

    Raises CorruptFile as ``read_rows`` does, and for a file with another environment than the first, or with seeds that the
    evaluation does not have.
    """
    frames = {path: read_rows(path) for path in paths}
    for path, frame in frames.items():
        if len(frame) and (last := frame["seed"].max()) >= seeds:
            raise CorruptFile(
                f"{path}: seed {last} (expected seeds below {seeds}, as many as the evaluation has); {ANEW}"
            )
    environments = {path: frame["environment"].iloc[0] for path, frame in frames.items() if len(frame)}
    for path, environment in environments.items():
        if environment != (expected := next(iter(environments.values()))):
            raise CorruptFile(
                f"{path}: rollouts in {environment!r} (expected {expected!r}, as in the evaluation's other rollouts); {ANEW}"
            )
    return pd.concat(frames.values(), ignore_index=True)
