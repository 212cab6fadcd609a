"""Augmentation: random projections, and the manifest that says which belongs to which split.

A manifest copies no data. Its table has a row for each stream of each lifetime and names the split
that it belongs to and the half-open range of projection seeds it may be seen under::

    split, environment, store, digest, lifetime, stream, projection_low, projection_high

Paths are relative to the table, so that a folder of results may be moved, copied or kept in a storage.
Whole lifetimes are held out, and so are projections: the ranges of seeds below are disjoint, so no
projection of one split can be drawn in another. Rollouts draw from TEST.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from gla.config import ConfigError, Dataset
from gla.environments import MAX_ACTION, MAX_OBSERVATION
from gla.files import ANEW, CorruptFile, Description, atomic, fingerprint, read_csv, read_description, write_json
from gla.histories import read_digest

TRAIN, VALIDATION, TEST = 0, 2**40, 2**41  # first projection seed of each split
COLUMNS = ("split", "environment", "store", "digest", "lifetime", "stream", "projection_low", "projection_high")


class Source(Description):
    """What a manifest's summary says of an environment."""

    observation_size: Annotated[int, Field(ge=1, le=MAX_OBSERVATION)]
    action_size: Annotated[int, Field(ge=1, le=MAX_ACTION)]
    discrete: bool
    updates: PositiveInt
    return_first: float
    return_last: float
    content: list[str]


class Pools(Description):
    """What a manifest's summary says of projections."""

    kind: Literal["gaussian", "identity"]
    train: PositiveInt
    validation: PositiveInt


class Summary(Description):
    """What a manifest's summary holds."""

    projections: Pools
    environments: Annotated[dict[str, Source], Field(min_length=1)]
    rows: dict[str, int]
    table: str
    content: str


def projection(seed: int, observation_size: int, action_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices of one projection: W (64, d) for observations and A (16, a) for actions, float32.

    W has entries N(0, 1/d), so that observations of unit variance have unit variance in every
    coordinate whatever d is. A has orthonormal columns (uniform on the Stiefel manifold), so that
    its transpose takes a projected action back exactly. For discrete actions column i is action i.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    w = rng.standard_normal((MAX_OBSERVATION, observation_size)) / np.sqrt(observation_size)
    q, r = np.linalg.qr(rng.standard_normal((MAX_ACTION, action_size)))
    return w.astype(np.float32), (q * np.sign(np.diagonal(r))).astype(np.float32)


def identity(observation_size: int, action_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The projection that pads with zeros."""
    w = np.eye(MAX_OBSERVATION, observation_size, dtype=np.float32)
    return w, np.eye(MAX_ACTION, action_size, dtype=np.float32)


def projections(seeds: np.ndarray | None, count: int, observation_size: int, action_size: int) -> tuple[Tensor, Tensor]:
    """Many at once: W (count, 64, d) and A (count, 16, a); the identity where seeds is None."""
    if seeds is None:
        w, a = identity(observation_size, action_size)
        return torch.from_numpy(w).expand(count, -1, -1), torch.from_numpy(a).expand(count, -1, -1)
    drawn = [projection(int(s), observation_size, action_size) for s in seeds]
    return torch.from_numpy(np.stack([w for w, _ in drawn])), torch.from_numpy(np.stack([a for _, a in drawn]))


def write_manifest(entry: Dataset, stores: list[tuple[str, str]], table: str | Path, summary: str | Path) -> None:
    """Write a dataset's table (CSV) and its summary (JSON).

    stores: (store, digest) paths, in order. The last lifetimes of each environment are held out.
    The summary records each environment's shapes and the returns at the start and end of its
    histories, so that later stages need not open the stores.
    """
    near = Path(table).parent
    digests = [(os.path.relpath(store, near), os.path.relpath(path, near), read_digest(path)) for store, path in stores]
    rows, environments = [], {}
    for name in entry.environments:
        own = [x for x in digests if x[2]["environment"] == name]
        lifetimes = [(store, path, i, d["streams"]) for store, path, d in own for i in range(len(d["lifetimes"]))]
        held_out = int(np.ceil(round(entry.held_out_lifetimes * len(lifetimes), 9)))  # 0.07 * 100 is above 7
        if held_out >= len(lifetimes):
            raise ConfigError(
                f"environment {name!r}: held_out_lifetimes {entry.held_out_lifetimes} of {len(lifetimes)} "
                "leaves none to train on (expected fewer held out, or more lifetimes)"
            )
        for n, (store, path, i, streams) in enumerate(lifetimes):
            training = n < len(lifetimes) - held_out
            low = TRAIN if training else VALIDATION
            high = low + (entry.projections.train if training else entry.projections.validation)
            split = "train" if training else "validation"
            rows += [(split, name, store, path, i, s, low, high) for s in range(streams)]
        first = own[0][2]
        curves = np.array([[np.nan if x is None else x for x in row] for _, _, d in own for row in d["mean_return"]])
        # An update in which no episode ended has the return of the one before, or else of the one after.
        filled = pd.DataFrame(curves).ffill(axis=1).bfill(axis=1).fillna(0.0).to_numpy()
        environments[name] = {key: first[key] for key in ("observation_size", "action_size", "discrete", "updates")} | {
            "return_first": float(filled[:, :5].mean()),
            "return_last": float(filled[:, -5:].mean()),
            "content": [d["content"] for _, _, d in own],
        }
    frame = pd.DataFrame(rows, columns=COLUMNS)
    with atomic(table) as temporary:
        frame.to_csv(temporary, index=False)
    body = {
        "projections": entry.projections.model_dump(),
        "environments": environments,
        "rows": frame["split"].value_counts().to_dict(),
        "table": fingerprint(frame.to_dict("list")),
    }
    write_json(summary, body | {"content": fingerprint(body)})


def read_manifest(table: str | Path, summary: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Table, its paths usable from here, and summary. Raises CorruptFile where the two do not belong together, a file is cut off,
    or one is none of ``write_manifest``'s."""
    body = read_description(summary, Summary)
    # Names are text even where they look like numbers or missing values.
    frame = read_csv(table, dtype=dict.fromkeys(COLUMNS[:4], str), keep_default_na=False)
    if tuple(frame.columns) != COLUMNS or fingerprint(frame.to_dict("list")) != body["table"]:
        raise CorruptFile(f"{table}: not the table that {summary} describes; {ANEW}")
    numbers = frame[list(COLUMNS[4:])]
    if any(kind != np.int64 for kind in numbers.dtypes) or (numbers < 0).any(axis=None) or numbers.to_numpy().max(initial=0) > 2 * TEST:
        raise CorruptFile(f"{table}: a number is out of its range (expected lifetimes, streams and seeds of projections); {ANEW}")
    if (frame["projection_low"] >= frame["projection_high"]).any():
        raise CorruptFile(f"{table}: no projection between projection_low and projection_high (expected low below high); {ANEW}")
    for name in body["environments"]:
        for split in ("train", "validation"):
            if not ((frame["environment"] == name) & (frame["split"] == split)).any():
                raise CorruptFile(f"{table}: no row of {name!r} for {split} (expected one of each environment in {summary}); {ANEW}")
    for column in ("store", "digest"):
        frame[column] = [os.path.normpath(Path(table).parent / path) for path in frame[column]]
    return frame, body
