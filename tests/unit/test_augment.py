import json
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gla import augment
from gla.augment import TEST, TRAIN, VALIDATION, projection
from gla.config import ConfigError, Dataset, Projections
from gla.environments.FIXME import MAX_ACTION
from gla.files import CorruptFile, fingerprint

SEEDS = st.integers(0, 2**42)


@pytest.mark.parametrize("d", [1, 4, 64])
def test_observation_matrices_keep_unit_variance(d):
    w = np.stack([projection(seed, d, 2)[0] for seed in range(400)])
    assert w.shape == (400, 64, d) and w.dtype == np.float32
    assert w.mean() == pytest.approx(0, abs=5 / np.sqrt(w.size * d))
    assert w.var() == pytest.approx(1 / d, rel=5 * np.sqrt(2 / w.size))
    projected = w @ np.random.default_rng(0).standard_normal((400, d, 1))
    assert projected.var() == pytest.approx(1, rel=0.3 if d == 1 else 0.15)


@given(a=st.integers(1, MAX_ACTION), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_action_matrices_are_orthonormal_and_so_undone_by_their_transpose(a, seed):
    matrix = projection(seed, 3, a)[1]
    assert matrix.shape == (16, a) and matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(a), atol=1e-5)
    action = np.random.default_rng(seed).standard_normal((5, a)).astype(np.float32)
    np.testing.assert_allclose(action @ matrix.T @ matrix, action, atol=1e-5)


def test_action_matrices_point_everywhere():
    """Uniform on the sphere: every coordinate has mean 0 and variance 1/16, whatever QR's signs are."""
    columns = np.stack([projection(seed, 1, 4)[1] for seed in range(2000)])
    np.testing.assert_allclose(columns.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(columns.var(0), 1 / 16, rtol=0.2)


@given(one=SEEDS, other=SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_seed_decides_its_matrices(one, other):
    for x, y, again in zip(projection(one, 5, 3), projection(other, 5, 3), projection(one, 5, 3), strict=True):
        np.testing.assert_array_equal(x, again)
        assert np.array_equal(x, y) == (one == other)


def test_the_identity_pads_with_zeros():
    w, a = augment.identity(5, 3)
    np.testing.assert_array_equal(w @ np.arange(5.0), [0, 1, 2, 3, 4] + [0] * 59)
    np.testing.assert_array_equal(a @ np.arange(3.0), [0, 1, 2] + [0] * 13)


@pytest.mark.parametrize("seeds", [None, np.array([3, 2**41 + 1])])
def test_many_projections_are_each_ones(seeds):
    w, a = augment.projections(seeds, 2, 5, 3)
    assert w.shape == (2, 64, 5) and a.shape == (2, 16, 3)
    for i in range(2):
        expected = augment.identity(5, 3) if seeds is None else projection(int(seeds[i]), 5, 3)
        np.testing.assert_array_equal(w[i], expected[0])
        np.testing.assert_array_equal(a[i], expected[1])


def test_ranges_of_seeds_are_disjoint_for_a_trillion_projections():
    assert TRAIN + 10**12 <= VALIDATION and VALIDATION + 10**12 <= TEST


def _digest(folder, name, environment, lifetimes, updates=8, returns=None):
    path = folder / f"{name}.json"
    row = returns or [float(u) for u in range(updates)]
    body = {"environment": environment, "lifetimes": list(range(lifetimes)), "streams": 2, "observation_size": 4,
            "action_size": 2, "discrete": False, "updates": len(row), "mean_return": [row] * lifetimes, "name": name,
            "format": 1, "files": {}, "steps_per_update": 8, "config": {"id": environment, "tasks": []}}  # fmt: skip
    path.write_text(json.dumps(body | {"content": fingerprint(body)}))
    return f"{name}.zarr", str(path)


def _manifest(folder, stores, environments=("e",), **kwargs):
    paths = folder / "m.csv", folder / "m.json"
    augment.write_manifest(Dataset(environments=list(environments), **kwargs), stores, *paths)
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
    projections = Projections(train=train, validation=validation)

    def write():
        return _manifest(folder, stores, "ef", held_out_lifetimes=percent / 100, projections=projections)

    if held_out >= total:
        with pytest.raises(ConfigError, match="leaves none to train on"):
            write()
        return
    frame, summary = augment.read_manifest(*write())
    assert len(frame) == 2 * 2 * total  # environments, streams
    by_lifetime = frame.groupby(["environment", "store", "lifetime"])
    assert (by_lifetime["split"].nunique() == 1).all() and (by_lifetime["stream"].nunique() == 2).all()
    for _, own in frame.groupby("environment"):
        lifetimes = own.drop_duplicates(["store", "lifetime"])
        assert list(lifetimes["split"]) == ["train"] * (total - held_out) + ["validation"] * held_out
    seen = frame[frame["split"] == "train"].iloc[0], frame[frame["split"] == "validation"].iloc[0]
    assert seen[0]["projection_high"] - seen[0]["projection_low"] == train
    assert seen[1]["projection_high"] - seen[1]["projection_low"] == validation
    assert seen[0]["projection_high"] <= seen[1]["projection_low"] and seen[1]["projection_high"] <= TEST
    own = [json.loads(Path(digest).read_text())["content"] for _, digest in stores[: len(blocks)]]
    assert summary["environments"]["e"]["content"] == own


def test_shares_are_rounded_up_as_written(tmp_path):
    table, _ = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 100)], held_out_lifetimes=0.07)
    frame = pd.read_csv(table).drop_duplicates("lifetime")
    assert (frame["split"] == "validation").sum() == 7


def test_holding_out_everything_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'e': held_out_lifetimes 0.9 of 3 .*expected fewer held out"):
        _manifest(tmp_path, [_digest(tmp_path, "e", "e", 3)], held_out_lifetimes=0.9)


def test_the_summary_holds_the_returns_at_both_ends(tmp_path):
    _, summary = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 3, updates=20)])
    body = json.loads(summary.read_text())["environments"]["e"]
    assert (body["return_first"], body["return_last"]) == (2.0, 17.0)  # of five updates each


def test_returns_are_known_where_the_first_episode_ends_late(tmp_path):
    """An episode of HalfCheetah takes 1000 steps: none ends in the first seven updates of 128."""
    _, summary = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 3, returns=[None] * 7 + [1.0, 2.0, 3.0])])
    body = json.loads(summary.read_text())["environments"]["e"]
    assert np.isfinite([body["return_first"], body["return_last"]]).all()


@pytest.mark.parametrize("name", ["NA", "1", "null", "True"])
def test_any_usable_name_survives_the_table(tmp_path, name):
    frame, _ = augment.read_manifest(*_manifest(tmp_path, [_digest(tmp_path, "d", name, 3)], [name]))
    assert set(frame["environment"]) == {name}


def test_writing_twice_gives_the_same_bytes(tmp_path):
    stores = [_digest(tmp_path, "e", "e", 4)]
    first = [p.read_bytes() for p in _manifest(tmp_path, stores)]
    assert [p.read_bytes() for p in _manifest(tmp_path, stores)] == first


def test_a_folder_with_its_manifest_may_be_moved(tmp_path):
    (tmp_path / "here").mkdir()
    paths = _manifest(tmp_path / "here", [_digest(tmp_path / "here", "e", "e", 4)])
    (tmp_path / "here").rename(tmp_path / "there")
    frame, _ = augment.read_manifest(*(tmp_path / "there" / p.name for p in paths))
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
    body["environments"]["e"]["return_last"] += 1
    summary.write_text(json.dumps(body))


def _other_projections(_table, summary):
    summary.write_text(summary.read_text().replace('"gaussian"', '"identity"'))


def _cut_summary(_table, summary):
    summary.write_text(summary.read_text()[:100])


def _no_summary(_table, summary):
    summary.unlink()


@pytest.mark.parametrize(
    "damage, named",
    [(_alter_table, "m.csv"), (_cut_table, "m.csv"), (_empty_table, "m.csv"), (_no_table, "m.csv"),
     (_alter_summary, "m.json"), (_other_projections, "m.json"), (_cut_summary, "m.json"), (_no_summary, "m.json")],
)  # fmt: skip
def test_an_altered_manifest_is_refused(tmp_path, damage, named):
    paths = _manifest(tmp_path, [_digest(tmp_path, "e", "e", 4)])
    augment.read_manifest(*paths)
    damage(*paths)
    with pytest.raises(CorruptFile, match=named):
        augment.read_manifest(*paths)
