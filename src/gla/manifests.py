"""Manifests: which stream of which lifetime belongs to which split, and with which projections it may be used.

A manifest copies no data. Its table has a row for each stream of each lifetime, with its split and the half-open range of projection
seeds that it may be used with::

    split, source, store, digest, lifetime, stream, projection_low, projection_high

Paths are relative to the table, so that a folder of results may be moved, copied or kept in a storage. Whole lifetimes are
held out, and so are projections: the ranges of seeds below are disjoint, so that no projection of one split is drawn in
another. Rollouts draw from TEST.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from gla.config.datasets import Dataset
from gla.encoding.kinds import ENCODINGS
from gla.files import ANEW, CorruptFile, Description, atomic, fingerprint, read_csv, read_description, write_json
from gla.kinds import one_of
from gla.options import ConfigError
from gla.storage.layout import read_digest

TRAIN, VALIDATION, TEST = 0, 2**40, 2**41  # first projection seed of each split
COLUMNS = ("split", "source", "store", "digest", "lifetime", "stream", "projection_low", "projection_high")


class Histories(Description):
    """The part of a manifest's summary about one source."""

    environment: str
    observation_size: PositiveInt
    action_size: PositiveInt
    discrete: bool
    updates: PositiveInt
    return_first: float
    return_last: float
    content: list[str]


class Summary(Description):
    """The content of a manifest's summary."""

    encoding: one_of(ENCODINGS)
    sources: Annotated[dict[str, Histories], Field(min_length=1)]
    rows: dict[str, int]
    table: str
    content: str


def write_manifest(entry: Dataset, stores: list[tuple[str, str]], table: str | Path, summary: str | Path) -> None:
    """Writes a dataset's table (CSV) and its summary (JSON).

    stores: (store, digest) paths, in order. The last lifetimes of each source are held out. The summary records each source's
    shapes and the returns at the start and at the end of its histories, so that later stages need not open the stores.
    """
    near = Path(table).parent
    digests = [(os.path.relpath(store, near), os.path.relpath(path, near), read_digest(path)) for store, path in stores]
    rows, sources = [], {}
    for name in entry.sources:
        own = [x for x in digests if x[2]["source"] == name]
        lifetimes = [(store, path, i, d["num_envs"]) for store, path, d in own for i in range(len(d["lifetimes"]))]
        held_out = int(np.ceil(round(entry.held_out_lifetimes * len(lifetimes), 9)))  # 0.07 * 100 is above 7
        if held_out >= len(lifetimes):
            raise ConfigError(
                f"source {name!r}: held_out_lifetimes {entry.held_out_lifetimes} of {len(lifetimes)} "
                "leaves none to train on (expected fewer held out, or more lifetimes)"
            )
        for n, (store, path, i, streams) in enumerate(lifetimes):
            training = n < len(lifetimes) - held_out
            low = TRAIN if training else VALIDATION
            high = low + entry.encoding.pool(training)
            split = "train" if training else "validation"
            rows += [(split, name, store, path, i, s, low, high) for s in range(streams)]
        first = own[0][2]
        curves = np.array([[np.nan if x is None else x for x in row] for _, _, d in own for row in d["mean_return"]])
        # An update in which no episode ended gets the return of the update before it or, if there is none, of the one after it.
        filled = pd.DataFrame(curves).ffill(axis=1).bfill(axis=1).fillna(0.0).to_numpy()
        sources[name] = {
            key: first[key] for key in ("environment", "observation_size", "action_size", "discrete", "updates")
        } | {
            "return_first": float(filled[:, :5].mean()),
            "return_last": float(filled[:, -5:].mean()),
            "content": [d["content"] for _, _, d in own],
        }
    frame = pd.DataFrame(rows, columns=COLUMNS)
    with atomic(table) as temporary:
        frame.to_csv(temporary, index=False)
    body = {
        "encoding": entry.encoding.model_dump(),
        "sources": sources,
        "rows": frame["split"].value_counts().to_dict(),
        "table": fingerprint(frame.to_dict("list")),
    }
    write_json(summary, body | {"content": fingerprint(body)})


def read_manifest(table: str | Path, summary: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Returns the table, with paths that can be opened from here, and the summary. Raises CorruptFile if the two do not
    belong together, if a file is cut off, or if ``write_manifest`` would not write it."""
    body = read_description(summary, Summary)
    # Names are text even if they look like numbers or missing values.
    frame = read_csv(table, dtype=dict.fromkeys(COLUMNS[:4], str), keep_default_na=False)
    if tuple(frame.columns) != COLUMNS or fingerprint(frame.to_dict("list")) != body["table"]:
        raise CorruptFile(f"{table}: not the table that {summary} describes; {ANEW}")
    numbers = frame[list(COLUMNS[4:])]
    if (
        any(kind != np.int64 for kind in numbers.dtypes)
        or (numbers < 0).any(axis=None)
        or numbers.to_numpy().max(initial=0) > 2 * TEST
    ):
        raise CorruptFile(
            f"{table}: a number is out of its range (expected lifetimes, streams and seeds of projections); {ANEW}"
        )
    if (frame["projection_low"] >= frame["projection_high"]).any():
        raise CorruptFile(
            f"{table}: no projection between projection_low and projection_high (expected low below high); {ANEW}"
        )
    for name in body["sources"]:
        for split in ("train", "validation"):
            if not ((frame["source"] == name) & (frame["split"] == split)).any():
                raise CorruptFile(
                    f"{table}: no row of {name!r} for {split} (expected one of each source in {summary}); {ANEW}"
                )
    for column in ("store", "digest"):
        frame[column] = [os.path.normpath(Path(table).parent / path) for path in frame[column]]
    return frame, body
