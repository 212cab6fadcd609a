import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
import zarr

from gla.config.environments import Environment
from gla.files import CorruptFile, fingerprint, read_json, sha256, write_json
from gla.learners.ppo import Population
from gla.policies import Policy, sizes
from gla.sources import random as uniform
from gla.sources.options import Array
from gla.storage.collecting import collect
from gla.storage.layout import arrays_of, create, read_digest
from gla.storage.reading import POLICIES, read

ROWS = ("lifetime", "stream", "step")
FLAGS = {"reward": "float32", "terminated": "bool", "truncated": "bool"}


def _layout(source, d, a, discrete):
    """Name to (dimension names, shape, type) of every array but the policies."""
    k, e, u = source.lifetimes, source.num_envs, source.num_updates
    rows = (k, e, u * source.num_steps)
    layout = {name: (ROWS, rows, dtype) for name, dtype in FLAGS.items()}
    for name in ("observation", "final_observation"):
        layout[name] = ((*ROWS, "observation"), (*rows, d), "float32")
    layout["action"] = (ROWS, rows, "int64") if discrete else ((*ROWS, "action"), (*rows, a), "float32")
    layout["logits" if discrete else "mean"] = ((*ROWS, "action"), (*rows, a), "float32")
    layout["mean_return"] = (("lifetime", "update"), (k, u), "float32")
    layout["env_steps"] = (("update",), (u,), "int64")
    if not discrete:
        layout["log_std"] = (("lifetime", "update", "action"), (k, u, a), "float32")
    return layout


@pytest.mark.parametrize("name, d, a, discrete", [("grid", 9, 4, True), ("pendulum", 4, 1, False)])
def test_a_store_has_the_documented_arrays(request, name, d, a, discrete):
    store, source = request.getfixturevalue(f"{name}_store")[0], request.getfixturevalue(f"{name}_source")
    layout = _layout(source, d, a, discrete)
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
        assert group[array].shape[:2] == (source.lifetimes, snapshots)
        assert group[array].metadata.dimension_names[:2] == ("lifetime", "snapshot")
    assert dataset.attrs == {"format": 1, "steps_per_update": source.num_steps, "discrete": discrete}
    np.testing.assert_array_equal(
        group["env_steps"][:], np.arange(source.num_updates) * source.num_envs * source.num_steps
    )


def test_snapshots_are_kept_as_often_as_asked_and_of_the_last_update(pendulum_store, grid_store):
    assert list(read(*pendulum_store).snapshot_update) == [0, 2, 4]
    assert list(read(*grid_store).snapshot_update) == [0, 1, 2, 3, 4, 5]


def test_the_log_deviations_are_the_snapshots(pendulum_store):
    h = read(*pendulum_store)
    np.testing.assert_array_equal(h.log_std[:, h.snapshot_update], h.policy.log_std)
    assert (h.log_std[:, 0] == 0).all() and (h.log_std[:, 1:] != 0).all()


def test_the_final_observation_is_there_exactly_where_an_episode_ended(pendulum_store):
    h = read(*pendulum_store)
    final = zarr.open_group(pendulum_store[0], mode="r")["final_observation"][...]
    done = h.terminated | h.truncated
    np.testing.assert_array_equal(final.any(-1), done)
    assert h.terminated.any() and not done.all()
    # Of a fall the pole's angle is past the limit, and the next row is an upright start.
    assert (np.abs(final[h.terminated][:, 1]) > 0.2).all()
    assert (np.abs(h.observation[:, :, 1:][done[:, :, :-1]]) < 0.05).all()


@pytest.mark.parametrize("name", ["grid", "pendulum"])
def test_recorded_distributions_are_the_snapshots_on_the_raw_observations(request, name):
    h = read(*request.getfixturevalue(f"{name}_store"))
    k, e, _, d = h.observation.shape
    for n, update in enumerate(h.snapshot_update):
        rows = slice(update * h.steps_per_update, (update + 1) * h.steps_per_update)
        policy = Policy(*(f[:, n] for f in h.policy))
        again = policy(torch.from_numpy(h.observation[:, :, rows]).reshape(k, -1, d)).view(k, e, h.steps_per_update, -1)
        np.testing.assert_allclose(again, h.mean[:, :, rows], rtol=1e-4, atol=1e-5)


def test_mean_returns_are_those_of_the_episodes_that_ended(pendulum_store):
    h = read(*pendulum_store)
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
    h, body = read(*pendulum_store), read_json(pendulum_store[1])
    curves = np.array(body["mean_return"], dtype=float)
    np.testing.assert_allclose(curves, h.mean_return, rtol=1e-5)
    assert (body["source"], body["environment"], body["lifetimes"], body["num_envs"]) == (
        "pendulum",
        "pendulum",
        [0, 1, 2],
        2,
    )


def _bytes(store):
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def test_collecting_twice_gives_the_same_bytes(tmp_path, pendulum_source, pendulum_entry, pendulum_store):
    again = tmp_path / "history.zarr", tmp_path / "digest.json"
    collect(pendulum_source, pendulum_entry, "pendulum", range(3), *again)
    first, second = (read_json(d) for d in (pendulum_store[1], again[1]))
    assert first == second
    assert _bytes(tmp_path / "history.zarr") == _bytes(Path(pendulum_store[0]))


def test_blocks_and_seeds_differ(tmp_path, grid_source, grid_entry, grid_store):
    contents = {read_json(grid_store[1])["content"]}
    for i, (source, lifetimes) in enumerate(
        [(grid_source, range(4, 8)), (grid_source.model_copy(update={"seed": 1}), range(4))]
    ):
        collect(source, grid_entry, "grid", lifetimes, tmp_path / "history.zarr", tmp_path / f"{i}.json")
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
            read(store, digest)
        assert str(path) in str(error.value)
        _flip(path, bit)
    read(store, digest)


def _cut(store, _digest):
    path = store / "reward/c/0/0/0"
    path.write_bytes(path.read_bytes()[:-7])
    return path


def _delete_chunk(store, _digest):
    (store / "reward/c/0/0/0").unlink()
    return store / "reward/c/0/0/0"


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
    digest.write_text(json.dumps(json.loads(digest.read_text()) | {"format": 1}))
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
        read(*copy)
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


def test_an_interrupted_collection_leaves_no_digest(copy, monkeypatch, pendulum_source, pendulum_entry):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Population, "improve", stop)
    with pytest.raises(KeyboardInterrupt):
        collect(pendulum_source, pendulum_entry, "pendulum", range(3), *copy)
    with pytest.raises(CorruptFile, match="digest.json: missing"):
        read(*copy)


# Stores that are whole, and whose digests fit them, but that no source has written


def _forge(store, digest, **forged):
    """Replace arrays by others, or by nothing, and make the digest fit."""
    group, body = zarr.open_group(store, mode="r+"), read_json(digest)
    for name, array in forged.items():
        shutil.rmtree(store / name)
        if array is None:
            del body["arrays"][name]
            continue
        create(group, name, array)[...] = np.arange(np.prod(list(array.axes.values()))).reshape(*array.axes.values())
        body["arrays"][name] = array._asdict()
    body["files"] = {p.relative_to(store).as_posix(): sha256(p) for p in sorted(store.rglob("*")) if p.is_file()}
    write_json(digest, body | {"content": fingerprint({k: v for k, v in body.items() if k != "content"})})


def _sized(array, **axes):
    return Array(array.dtype, array.axes | axes)


def _typed(array, dtype):
    return Array(dtype, array.axes)


def _policies_of(layout, d=4, h=64, a=1, **axes):
    """All arrays of policies for other environments."""
    fields = sizes(d, h, a)._asdict()
    return {
        f"policy_{f}": _sized(layout[f"policy_{f}"], **axes, **{f"{f}_{i}": n for i, n in enumerate(size)})
        for f, size in fields.items()
    }


FORGED = {
    "a layer of more inputs": ("policy_w0", lambda x: {"policy_w0": _sized(x["policy_w0"], w0_0=5)}),
    "a layer of fewer units": ("policy_w1", lambda x: {"policy_w1": _sized(x["policy_w1"], w1_1=63)}),
    "one bias for two units": ("policy_b0", lambda x: {"policy_b0": _sized(x["policy_b0"], b0_1=32)}),
    "policies of five observation dimensions": ("policy_w0", lambda x: _policies_of(x, d=5)),
    "policies of two action dimensions": ("policy_w2", lambda x: _policies_of(x, a=2)),
    "policies of fewer lifetimes": ("policy_w0", lambda x: _policies_of(x, lifetime=2)),
    "more policies than snapshots": ("policy_w0", lambda x: _policies_of(x, snapshot=4)),
    "fewer policies than snapshots": ("policy_b2", lambda x: {"policy_b2": _sized(x["policy_b2"], snapshot=2)}),
    "a normaliser of integers": ("policy_observation_std", lambda x: {"policy_observation_std": _typed(x["policy_observation_std"], "int64")}),
    "weights that are true or false": ("policy_w0", lambda x: {"policy_w0": _typed(x["policy_w0"], "bool")}),
    "a layer without an axis": ("policy_w0", lambda x: {"policy_w0": Array("float32", {"lifetime": 3})}),
    "means of integers": ("mean", lambda x: {"mean": _typed(x["mean"], "int64")}),
    "deviations of fewer updates": ("log_std", lambda x: {"log_std": _sized(x["log_std"], update=4)}),
    "deviations that are true or false": ("log_std", lambda x: {"log_std": _typed(x["log_std"], "bool")}),
    "snapshots at real numbers": ("snapshot_update", lambda x: {"snapshot_update": _typed(x["snapshot_update"], "float32")}),
    "snapshots of each lifetime": ("snapshot_update", lambda x: {"snapshot_update": Array("int64", {"lifetime": 3, "snapshot": 3})}),
    "updates at real numbers": ("env_steps", lambda x: {"env_steps": _typed(x["env_steps"], "float32")}),
    "no rewards": ("reward", lambda x: {"reward": None}),
}  # fmt: skip


@pytest.mark.parametrize("named, forged", FORGED.values(), ids=FORGED)
def test_arrays_of_other_sizes_or_types_than_the_stores_own_are_refused(copy, named, forged):
    store, digest = copy
    _forge(store, digest, **forged(arrays_of(read_digest(digest))))
    with pytest.raises(CorruptFile) as error:
        read(store, digest)
    assert (
        str(error.value).startswith(f"{store}/{named}: ")
        and "expected" in str(error.value)
        and "\n" not in str(error.value)
    )


def test_a_digest_whose_sizes_are_not_those_of_its_arrays_is_refused(copy):
    store, digest = copy
    layout = arrays_of(read_digest(digest))
    _forge(store, digest, mean=_sized(layout["mean"], action=2))
    with pytest.raises(CorruptFile) as error:
        read_digest(digest)
    assert str(error.value).startswith(
        f"{digest}: its parts do not agree (expected: action_size 2, as array 'mean' has); "
    )
    assert "\n" not in str(error.value)


def test_policies_are_refused_where_they_alone_are_read(copy):
    store, digest = copy
    _forge(store, digest, **_policies_of(arrays_of(read_digest(digest)), d=5))
    with pytest.raises(
        CorruptFile, match=r"policy_w0: float32 of \(3, 3, 5, 64\) \(expected float32 of \(3, 3, 4, 64\)\)"
    ):
        read(store, digest, {"observation", *POLICIES})
    assert read(store, digest, {"observation", "reward"}).reward.shape == (3, 2, 320)


def test_policies_of_integer_actions_have_an_output_for_each_of_them(tmp_path, grid_store):
    """Nothing else in the store says how many actions there are."""
    store, digest = (
        Path(shutil.copytree(grid_store[0], tmp_path / "history.zarr")),
        Path(shutil.copy(grid_store[1], tmp_path / "digest.json")),
    )
    layout = arrays_of(read_digest(digest))
    _forge(store, digest, **_policies_of(layout, d=9, a=5))
    with pytest.raises(CorruptFile, match=r"policy_w2: .*expected float32 of \(4, 6, 64, 4\)"):
        read(store, digest)
    _forge(store, digest, **_policies_of(layout, d=9, a=4), logits=_sized(layout["logits"], action=5))
    with pytest.raises(
        CorruptFile, match=r"digest.json: its parts do not agree \(expected: action_size 5, as array 'logits' has\)"
    ):
        read(store, digest)


def test_what_a_store_lacks_is_named_where_it_is_asked_for(copy):
    store, digest = copy
    _forge(store, digest, policy_b1=None, log_std=None)
    history = read(store, digest)
    with pytest.raises(CorruptFile) as error:
        _ = history.policy
    assert str(error.value).startswith(f"{store}/policy_b1: missing (expected snapshots of policies)")
    with pytest.raises(CorruptFile, match="history.zarr/log_std: missing"):
        read(store, digest, {"observation", "log_std"})


def test_types_that_no_store_has_are_refused_with_the_digest(copy):
    store, digest = copy
    body = read_json(digest)
    body["arrays"]["reward"]["dtype"] = "float64"
    write_json(digest, body | {"content": fingerprint({k: v for k, v in body.items() if k != "content"})})
    with pytest.raises(CorruptFile, match=r"digest.json: arrays.reward.dtype is 'float64'"):
        read(store, digest)


def test_counted_observations_are_stored_as_numbers_and_read_as_vectors(tmp_path):
    """A tenth of the memory, and the same windows as of vectors."""
    room = Environment(id="gla/DarkRoom-v0", kwargs={"size": 3, "max_episode_steps": 5}, tasks=[{"task": 1}])
    pair = str(tmp_path / "h.zarr"), str(tmp_path / "d.json")
    collect(uniform.Options(environment="room", lifetimes=2, num_envs=3, num_steps=12), room, "room", range(2), *pair)
    history, body = read(*pair), json.loads((tmp_path / "d.json").read_text())
    stored = history.arrays["observation"]
    assert stored.shape == (2, 3, 12) and stored.dtype == np.int64 and body["states"] == body["observation_size"] == 9
    assert (stored[:, :, 0] == 4).all()  # in the centre
    np.testing.assert_array_equal(history.observation.argmax(-1), stored)
    assert (history.observation.sum(-1) == 1).all()
    ended = history.terminated | history.truncated
    moves = np.abs(np.diff(np.stack(np.divmod(stored, 3)), axis=-1)).sum(0)
    assert (moves[~ended[..., :-1]] <= 1).all()
    body["states"] = 8
    write_json(tmp_path / "d.json", body)
    with pytest.raises(CorruptFile, match="8 states, and observations of size 9"):
        read(*pair)
