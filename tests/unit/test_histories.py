import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
import zarr

from gla import histories
from gla.files import CorruptFile, read_json
from gla.ppo import Policy

ROWS = ("lifetime", "stream", "step")
FLAGS = {"reward": "float32", "terminated": "bool", "truncated": "bool"}


def _layout(entry, d, a, discrete):
    """Name to (dimension names, shape, type) of every array but the policies."""
    p, k, e = entry.ppo, entry.lifetimes, entry.streams
    rows = (k, e, p.updates * p.steps)
    layout = {name: (ROWS, rows, dtype) for name, dtype in FLAGS.items()}
    for name in ("observation", "final_observation"):
        layout[name] = ((*ROWS, "observation"), (*rows, d), "float32")
    layout["action"] = (ROWS, rows, "int64") if discrete else ((*ROWS, "action"), (*rows, a), "float32")
    layout["logits" if discrete else "mean"] = ((*ROWS, "action"), (*rows, a), "float32")
    layout["mean_return"] = (("lifetime", "update"), (k, p.updates), "float32")
    layout["env_steps"] = (("update",), (p.updates,), "int64")
    if not discrete:
        layout["log_std"] = (("lifetime", "update", "action"), (k, p.updates, a), "float32")
    return layout


@pytest.mark.parametrize("name, d, a, discrete", [("grid", 9, 4, True), ("pendulum", 4, 1, False)])
def test_a_store_has_the_documented_arrays(request, name, d, a, discrete):
    store, entry = request.getfixturevalue(f"{name}_store")[0], request.getfixturevalue(f"{name}_entry")
    layout = _layout(entry, d, a, discrete)
    dataset = xarray.open_zarr(store, consolidated=False)
    group = zarr.open_group(store, mode="r")
    policies = {f"policy_{f}" for f in Policy._fields}
    assert set(group.array_keys()) == set(layout) | policies | {"snapshot_update"} == set(dataset.variables)
    for array, (dims, shape, dtype) in layout.items():
        assert (dataset[array].dims, dataset[array].shape) == (dims, shape), array
        assert group[array].metadata.dimension_names == dims
        assert group[array].dtype == dtype
    snapshots = group["snapshot_update"].shape[0]
    for array in policies:
        assert group[array].shape[:2] == (entry.lifetimes, snapshots)
        assert group[array].metadata.dimension_names[:2] == ("lifetime", "snapshot")
    assert dataset.attrs == {"format": 1, "steps_per_update": entry.ppo.steps, "discrete": discrete}
    np.testing.assert_array_equal(group["env_steps"][:], np.arange(entry.ppo.updates) * entry.streams * entry.ppo.steps)


def test_snapshots_are_kept_as_often_as_asked_and_of_the_last_update(pendulum_store, grid_store):
    assert list(histories.read(*pendulum_store).snapshot_update) == [0, 2, 4]
    assert list(histories.read(*grid_store).snapshot_update) == [0, 1, 2, 3, 4, 5]


def test_the_log_deviations_are_the_snapshots(pendulum_store):
    h = histories.read(*pendulum_store)
    np.testing.assert_array_equal(h.log_std[:, h.snapshot_update], h.policy.log_std)
    assert (h.log_std[:, 0] == 0).all() and (h.log_std[:, 1:] != 0).all()


def test_the_final_observation_is_there_exactly_where_an_episode_ended(pendulum_store):
    h = histories.read(*pendulum_store)
    final = zarr.open_group(pendulum_store[0], mode="r")["final_observation"][...]
    done = h.terminated | h.truncated
    np.testing.assert_array_equal(final.any(-1), done)
    assert h.terminated.any() and not done.all()
    # Of a fall the pole's angle is past the limit, and the next row is an upright start.
    assert (np.abs(final[h.terminated][:, 1]) > 0.2).all()
    assert (np.abs(h.observation[:, :, 1:][done[:, :, :-1]]) < 0.05).all()


@pytest.mark.parametrize("name", ["grid", "pendulum"])
def test_recorded_distributions_are_the_snapshots_on_the_raw_observations(request, name):
    h = histories.read(*request.getfixturevalue(f"{name}_store"))
    k, e, _, d = h.observation.shape
    for n, update in enumerate(h.snapshot_update):
        rows = slice(update * h.steps_per_update, (update + 1) * h.steps_per_update)
        policy = Policy(*(f[:, n] for f in h.policy))
        again = policy(torch.from_numpy(h.observation[:, :, rows]).reshape(k, -1, d)).view(k, e, h.steps_per_update, -1)
        np.testing.assert_allclose(again, h.mean[:, :, rows], rtol=1e-4, atol=1e-5)


def test_mean_returns_are_those_of_the_episodes_that_ended(pendulum_store):
    h = histories.read(*pendulum_store)
    done, t = h.terminated | h.truncated, h.steps_per_update
    for k in range(done.shape[0]):
        ended = [[] for _ in range(h.updates)]
        for e in range(done.shape[1]):
            start = 0
            for s in np.flatnonzero(done[k, e]):
                ended[s // t].append(h.reward[k, e, start : s + 1].sum())
                start = s + 1
        np.testing.assert_allclose(h.mean_return[k], [np.mean(r) if r else np.nan for r in ended], rtol=1e-5)


def test_the_digest_holds_the_learning_curves(pendulum_store):
    h, body = histories.read(*pendulum_store), read_json(pendulum_store[1])
    curves = np.array(body["mean_return"], dtype=float)
    np.testing.assert_allclose(curves, h.mean_return, rtol=1e-5)
    assert (body["environment"], body["lifetimes"], body["streams"]) == ("pendulum", [0, 1, 2], 2)


def _bytes(store):
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def test_collecting_twice_gives_the_same_bytes(tmp_path, pendulum_entry, pendulum_store):
    again = tmp_path / "history.zarr", tmp_path / "digest.json"
    histories.collect(pendulum_entry, "pendulum", range(3), *again)
    first, second = (read_json(d) for d in (pendulum_store[1], again[1]))
    assert first == second
    assert _bytes(tmp_path / "history.zarr") == _bytes(Path(pendulum_store[0]))


def test_blocks_and_seeds_differ(tmp_path, grid_entry, grid_store):
    contents = {read_json(grid_store[1])["content"]}
    for i, (entry, lifetimes) in enumerate(
        [(grid_entry, range(4, 8)), (grid_entry.model_copy(update={"seed": 1}), range(4))]
    ):
        histories.collect(entry, "grid", lifetimes, tmp_path / "history.zarr", tmp_path / f"{i}.json")
        contents.add(read_json(tmp_path / f"{i}.json")["content"])
    assert len(contents) == 3


@pytest.fixture
def copy(tmp_path, pendulum_store):
    """A store that may be damaged: (store, digest)."""
    store, digest = tmp_path / "history.zarr", tmp_path / "digest.json"
    shutil.copytree(pendulum_store[0], store)
    shutil.copy(pendulum_store[1], digest)
    return store, digest


def _flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_every_flipped_bit_is_noticed(copy):
    store, digest = copy
    rng, files = random.Random(0), sorted(p for p in store.rglob("*") if p.is_file())
    for path in rng.sample(files, 20):
        bit = rng.randrange(8 * path.stat().st_size)
        _flip(path, bit)
        with pytest.raises(CorruptFile) as error:
            histories.read(store, digest)
        assert str(path) in str(error.value)
        _flip(path, bit)
    histories.read(store, digest)


def _cut(store, _digest):
    path = store / "reward/c/1/0/0"
    path.write_bytes(path.read_bytes()[:-7])
    return path


def _delete_chunk(store, _digest):
    (store / "reward/c/1/0/0").unlink()
    return store / "reward/c/1/0/0"


def _add_file(store, _digest):
    (store / "reward/c/9").write_bytes(b"")
    return store / "reward/c/9"


def _delete_store(store, _digest):
    shutil.rmtree(store)
    return store


def _delete_digest(_store, digest):
    digest.unlink()
    return digest


def _cut_digest(_store, digest):
    digest.write_text(digest.read_text()[:-100])
    return digest


def _binary_digest(_store, digest):
    digest.write_bytes(b"\xff\xfe\x00")
    return digest


def _list_digest(_store, digest):
    digest.write_text("[]")
    return digest


def _other_format(_store, digest):
    digest.write_text(json.dumps(json.loads(digest.read_text()) | {"format": 2}))
    return digest


def _no_file_list(_store, digest):
    digest.write_text(json.dumps(json.loads(digest.read_text()) | {"files": 3}))
    return digest


@pytest.mark.parametrize(
    "damage",
    [_cut, _delete_chunk, _add_file, _delete_store, _delete_digest, _cut_digest, _binary_digest, _list_digest,
     _other_format, _no_file_list],
)  # fmt: skip
def test_a_damaged_store_is_refused_and_named(copy, damage):
    named = damage(*copy)
    with pytest.raises(CorruptFile) as error:
        histories.read(*copy)
    assert str(named) in str(error.value)


def test_zarr_notices_a_flipped_bit_by_itself(copy):
    path = copy[0] / "observation/c/0/0/0/0"
    bits = random.Random(1).sample(range(8 * path.stat().st_size), 10)
    for bit in bits:
        _flip(path, bit)
        with pytest.raises(ValueError, match="checksum"):
            zarr.open_group(copy[0], mode="r")["observation"][...]
        _flip(path, bit)
    zarr.open_group(copy[0], mode="r")["observation"][...]


def test_an_interrupted_collection_leaves_no_digest(copy, monkeypatch, pendulum_entry):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(histories.Population, "improve", stop)
    with pytest.raises(KeyboardInterrupt):
        histories.collect(pendulum_entry, "pendulum", range(3), *copy)
    with pytest.raises(CorruptFile, match="digest.json: missing"):
        histories.read(*copy)
