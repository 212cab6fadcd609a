import json
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gla.config.datasets import Dataset
from gla.encoding import projected, tabular
from gla.files import CorruptFile, fingerprint
from gla.manifests import TEST, TRAIN, VALIDATION, read_manifest, write_manifest
from gla.options import ConfigError


def test_ranges_of_seeds_are_disjoint_for_a_trillion_projections():
    assert TRAIN + 10**12 <= VALIDATION and VALIDATION + 10**12 <= TEST


def _digest(folder, name, source, lifetimes, updates=8, returns=None):
    path = folder / f"{name}.json"
    row = returns or [float(u) for u in range(updates)]
    body = {"source": source, "environment": f"{source}s", "lifetimes": list(range(lifetimes)), "num_envs": 2, "observation_size": 4,
            "action_size": 2, "discrete": False, "updates": len(row), "mean_return": [row] * lifetimes, "name": name, "tasks": 1,
            "format": 2, "files": {}, "steps_per_update": 8, "arrays": {},
            "config": {"source": {"kind": "ppo"}, "environment": {"id": source, "tasks": []}}}  # fmt: skip
    path.write_text(json.dumps(body | {"content": fingerprint(body)}))
    return f"{name}.zarr", str(path)


def _manifest(folder, stores, sources=("e",), **kwargs):
    paths = folder / "m.csv", folder / "m.json"
    write_manifest(Dataset(sources=list(sources), **kwargs), stores, *paths)
    return paths


@given(
    blocks=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    percent=st.integers(1, 60),
    train=st.integers(1, 2**40),
    validation=st.integers(1, 2**40),
)
@settings(max_examples=40, deadline=None)
def test_no_lifetime_and_no_projection_is_in_two_splits(tmp_path_factory, blocks, percent, train, validation):
    folder = tmp_path_factory.mktemp("m")
    stores = [_digest(folder, f"{e}{i}", e, n) for e in "ef" for i, n in enumerate(blocks)]
    total, held_out = sum(blocks), ceil(Fraction(percent, 100) * sum(blocks))
    encoding = projected.Options(train=train, validation=validation)

    def write():
        return _manifest(folder, stores, "ef", held_out_lifetimes=percent / 100, encoding=encoding)

    if held_out >= total:
        with pytest.raises(ConfigError, match="leaves none to train on"):
            write()
        return
    frame, summary = read_manifest(*write())
    assert len(frame) == 2 * 2 * total  # sources, streams
    by_lifetime = frame.groupby(["source", "store", "lifetime"])
    assert (by_lifetime["split"].nunique() == 1).all() and (by_lifetime["stream"].nunique() == 2).all()
    for _, own in frame.groupby("source"):
        lifetimes = own.drop_duplicates(["store", "lifetime"])
        assert list(lifetimes["split"]) == ["train"] * (total - held_out) + ["validation"] * held_out
    seen = frame[frame["split"] == "train"].iloc[0], frame[frame["split"] == "validation"].iloc[0]
    assert seen[0]["projection_high"] - seen[0]["projection_low"] == train
    assert seen[1]["projection_high"] - seen[1]["projection_low"] == validation
    assert seen[0]["projection_high"] <= seen[1]["projection_low"] and seen[1]["projection_high"] <= TEST
    own = [json.loads(Path(digest).read_text())["content"] for _, digest in stores[: len(blocks)]]
    assert summary["sources"]["e"]["content"] == own and summary["sources"]["f"]["environment"] == "fs"


def test_contexts_that_are_all_alike_have_one_frame_each(tmp_path):
    """A row names a range of seeds for every encoding, and the frame is the same in both splits."""
    frame, summary = read_manifest(
        *_manifest(tmp_path, [_digest(tmp_path, "e", "e", 4)], encoding=tabular.Options(states=4, actions=2))
    )
    assert (frame["projection_high"] - frame["projection_low"] == 1).all()
    assert summary["encoding"] == {
        "kind": "tabular",
        "states": 4,
        "actions": 2,
        "permuted": False,
        "train": 16384,
        "validation": 1024,
    }


def test_shares_are_rounded_up_as_written(tmp_path):
    table, _ = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 100)], held_out_lifetimes=0.07)
    frame = pd.read_csv(table).drop_duplicates("lifetime")
    assert (frame["split"] == "validation").sum() == 7


def test_holding_out_everything_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'e': held_out_lifetimes 0.9 of 3 .*expected fewer held out"):
        _manifest(tmp_path, [_digest(tmp_path, "e", "e", 3)], held_out_lifetimes=0.9)


def test_the_summary_holds_the_returns_at_both_ends(tmp_path):
    _, summary = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 3, updates=20)])
    body = json.loads(summary.read_text())["sources"]["e"]
    assert (body["return_first"], body["return_last"]) == (2.0, 17.0)  # of five updates each


def test_returns_are_known_where_the_first_episode_ends_late(tmp_path):
    """An episode of HalfCheetah takes 1000 steps: none ends in the first seven updates of 128."""
    _, summary = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 3, returns=[None] * 7 + [1.0, 2.0, 3.0])])
    body = json.loads(summary.read_text())["sources"]["e"]
    assert np.isfinite([body["return_first"], body["return_last"]]).all()


@pytest.mark.parametrize("name", ["NA", "1", "null", "True"])
def test_any_usable_name_survives_the_table(tmp_path, name):
    frame, _ = read_manifest(*_manifest(tmp_path, [_digest(tmp_path, "d", name, 3)], [name]))
    assert set(frame["source"]) == {name}


def test_writing_twice_gives_the_same_bytes(tmp_path):
    stores = [_digest(tmp_path, "e", "e", 4)]
    first = [p.read_bytes() for p in _manifest(tmp_path, stores)]
    assert [p.read_bytes() for p in _manifest(tmp_path, stores)] == first


def test_a_folder_with_its_manifest_may_be_moved(tmp_path):
    (tmp_path / "here").mkdir()
    paths = _manifest(tmp_path / "here", [_digest(tmp_path / "here", "e", "e", 4)])
    (tmp_path / "here").rename(tmp_path / "there")
    frame, _ = read_manifest(*(tmp_path / "there" / p.name for p in paths))
    assert set(frame["digest"]) == {str(tmp_path / "there/e.json")}


def _alter_table(table, _summary):
    table.write_text(table.read_text().replace("validation", "train"))


def _cut_table(table, _summary):
    table.write_text("".join(table.read_text().splitlines(True)[:-1]))


def _empty_table(table, _summary):
    table.write_text("")


def _no_table(table, _summary):
    table.unlink()


def _alter_summary(_table, summary):
    body = json.loads(summary.read_text())
    body["sources"]["e"]["return_last"] += 1
    summary.write_text(json.dumps(body))


def _other_encoding(_table, summary):
    summary.write_text(summary.read_text().replace('"gaussian"', '"identity"'))


def _cut_summary(_table, summary):
    summary.write_text(summary.read_text()[:100])


def _no_summary(_table, summary):
    summary.unlink()


@pytest.mark.parametrize(
    "damage, named",
    [(_alter_table, "m.csv"), (_cut_table, "m.csv"), (_empty_table, "m.csv"), (_no_table, "m.csv"),
     (_alter_summary, "m.json"), (_other_encoding, "m.json"), (_cut_summary, "m.json"), (_no_summary, "m.json")],
)  # fmt: skip
def test_an_altered_manifest_is_refused(tmp_path, damage, named):
    paths = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 4)])
    read_manifest(*paths)
    damage(*paths)
    with pytest.raises(CorruptFile, match=named):
        read_manifest(*paths)
