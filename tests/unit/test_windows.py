import errno
import gc
import mmap
import os
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gla import augment, histories
from gla.config import Agent, ConfigError
from gla.ppo import Policy
from gla.windows import NO_ACTION, STANDARD_CLIP, RunningStandardiser, Windows, memory_limit, standardise

UPDATES, STEPS, STREAMS = {"grid": 6, "pendulum": 5}, {"grid": 20, "pendulum": 64}, 2  # see conftest.py
TRAINED = {"grid": 3, "pendulum": 2}  # lifetimes that are not held out
GAPS = st.one_of(st.integers(1, 4), st.just("max"), st.sampled_from([[1, 1], [1, 4], [2, 3]]))


def _agent(**kwargs):
    return Agent(**{"dataset": "d", "pieces": 4, "piece_steps": 5, "normalize": False, **kwargs})


@pytest.fixture(scope="session")
def loaded(manifest):
    """Windows without a config; ``_windows`` gives them one without reading the stores again."""
    frame, summary = augment.read_manifest(*manifest)
    return {split: Windows(_agent(), frame, summary, split) for split in ("train", "validation")}


def _windows(loaded, split="train", names=("grid", "pendulum"), **kwargs):
    windows = Windows.__new__(Windows)
    windows.__dict__ |= loaded[split].__dict__ | {"agent": _agent(**kwargs)}
    windows.sources = [s for s, n in zip(windows.sources, ("grid", "pendulum"), strict=True) if n in names]
    return windows


def _spied(windows, index, size, monkeypatch):
    """A batch, and what its only source's windows are made of: rows (n, T), lifetimes (n,), target updates (n, M)."""
    seen = []
    original = Windows._targets

    def spy(self, source, raw, rows, lifetime, update):
        seen.append((rows.numpy(), lifetime, update))
        return original(self, source, raw, rows, lifetime, update)

    monkeypatch.setattr(Windows, "_targets", spy)
    batch = windows.batch(index, size)
    monkeypatch.undo()
    (found,) = seen
    return batch, *found


# The gap


@given(gap=GAPS, sampling=st.sampled_from(["recorded", "relabelled"]), from_start=st.sampled_from([0.0, 0.5, 1.0]),
       pieces=st.integers(1, 8), seed=st.integers(0, 1000))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_the_gap_counts_updates(loaded, gap, sampling, from_start, pieces, seed):
    windows = _windows(loaded, gap=gap, sampling=sampling, from_start=from_start, pieces=pieces)
    source, last = windows.sources[1], UPDATES["pendulum"] - 1
    piece, target, gaps = windows.piece_updates(source, 50, np.random.default_rng(seed))
    assert piece.shape == target.shape == (50, pieces) and gaps.shape == (50,)
    low, high = gap if isinstance(gap, list) else (last, last) if gap == "max" else (gap, gap)
    assert (gaps >= low).all() and (gaps <= high).all()
    assert (piece >= 0).all() and (piece <= last).all() and (np.diff(piece, axis=1) >= 0).all()
    if sampling == "relabelled":
        np.testing.assert_array_equal(target, np.minimum(piece + gaps[:, None], last))
        return
    np.testing.assert_array_equal(target, piece)
    if gap == "max":
        assert (piece == last).all()
        return
    np.testing.assert_array_equal(piece[:, 1:], np.minimum(piece[:, :-1] + gaps[:, None], last))
    if from_start == 1:
        assert (piece[:, 0] == 0).all()


def test_a_range_draws_every_gap_and_windows_start_everywhere(loaded):
    windows = _windows(loaded, gap=[1, 3], from_start=0.0)
    piece, _, gaps = windows.piece_updates(windows.sources[0], 500, np.random.default_rng(0))
    assert set(gaps) == {1, 2, 3} and set(piece[:, 0]) == set(range(6))


def test_from_start_is_a_share_of_the_windows(loaded):
    windows = _windows(loaded, from_start=0.7)
    piece, _, _ = windows.piece_updates(windows.sources[0], 4000, np.random.default_rng(0))
    assert (piece[:, 0] == 0).mean() == pytest.approx(0.7 + 0.3 / 6, abs=0.03)


def test_relabelled_contexts_are_mostly_poor_until_a_random_piece(loaded):
    windows = _windows(loaded, sampling="relabelled", gap="max", pieces=4)
    piece, target, _ = windows.piece_updates(windows.sources[0], 20000, np.random.default_rng(0))
    assert set(piece.ravel()) == set(range(6)) and (target == 5).all()
    # Switched from the first piece on in one of five windows, at or before the last in four of five. In the others only a
    # ceiling of 5, one of six, leads there: with all of four draws, and with at least one of them.
    assert (piece[:, 0] == 5).mean() == pytest.approx(1 / 5 + 4 / 5 * (1 / 6) ** 5, abs=0.01)
    assert (piece[:, -1] == 5).mean() == pytest.approx(4 / 5 + 1 / 5 * (1 - (5 / 6) ** 4) / 6, abs=0.01)


def test_relabelled_pieces_after_the_switch_are_a_gap_ahead(loaded):
    """With a single piece, half of the windows are switched: draws plus the gap beside plain draws."""
    windows = _windows(loaded, sampling="relabelled", gap=2, pieces=1)
    piece, target, _ = windows.piece_updates(windows.sources[0], 40000, np.random.default_rng(0))
    plain = np.array([sum(1 / (c + 1) for c in range(u, 6)) / 6 for u in range(6)])
    ahead = np.array([0, 0, *plain[:3], plain[3:].sum()])
    np.testing.assert_allclose(np.bincount(piece[:, 0], minlength=6) / 40000, (plain + ahead) / 2, atol=0.01)
    np.testing.assert_array_equal(target, np.minimum(piece + 2, 5))


def test_without_the_switch_relabelled_pieces_are_plain_draws(loaded):
    windows = _windows(loaded, sampling="relabelled", gap=2, pieces=1, switch=False)
    piece, target, _ = windows.piece_updates(windows.sources[0], 40000, np.random.default_rng(0))
    plain = [sum(1 / (c + 1) for c in range(u, 6)) / 6 for u in range(6)]
    np.testing.assert_allclose(np.bincount(piece[:, 0], minlength=6) / 40000, plain, atol=0.01)
    np.testing.assert_array_equal(target, np.minimum(piece + 2, 5))


@given(gap=GAPS, pieces=st.integers(1, 8), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_pieces_from_the_switch_on_are_of_the_updates_that_were_their_targets_without_it(loaded, gap, pieces, seed):
    def draw(switch):
        windows = _windows(loaded, sampling="relabelled", gap=gap, pieces=pieces, switch=switch)
        return windows.piece_updates(windows.sources[0], 200, np.random.default_rng(seed))

    (plain, plain_target, gaps), (piece, target, same_gaps) = draw(False), draw(True)
    np.testing.assert_array_equal(gaps, same_gaps)
    # Any piece, or none, may be the first that is moved, and where the last update holds both more than one fits.
    switched = np.arange(pieces) >= np.arange(pieces + 1)[:, None, None]  # (M + 1, 1, M)
    fits = (piece == np.where(switched, plain_target, plain)).all(-1)  # (M + 1, n)
    assert fits.any(0).all() and fits.any(1).all()
    np.testing.assert_array_equal(target, np.minimum(piece + gaps[:, None], UPDATES["grid"] - 1))


# Rows


@given(gap=GAPS, sampling=st.sampled_from(["recorded", "relabelled"]), name=st.sampled_from(["grid", "pendulum"]),
       piece_steps=st.integers(1, 20), seed=st.integers(0, 1000))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_pieces_stay_in_their_update_and_start_with_an_episode_where_one_fits(
    loaded, gap, sampling, name, piece_steps, seed
):
    windows = _windows(loaded, gap=gap, sampling=sampling, piece_steps=piece_steps, names=[name])
    (source,), rng, t = windows.sources, np.random.default_rng(seed), STEPS[name]
    stream = rng.integers(0, source.streams, 20)
    update = windows.piece_updates(source, 20, rng)[0]
    start = windows.piece_starts(source, stream, update, rng)
    assert (start >= update * t).all() and (start + piece_steps <= (update + 1) * t).all()
    done = source.done.view(source.streams, source.steps).numpy()
    for s, starts, updates in zip(stream, start, update, strict=True):
        for begin, u in zip(starts, updates, strict=True):
            fitting = [i for i in range(u * t, (u + 1) * t - piece_steps + 1) if i == 0 or done[s, i - 1]]
            assert not fitting or begin in fitting


def test_every_episode_of_an_update_is_drawn(loaded):
    windows = _windows(loaded, names=["grid"])
    starts = windows.piece_starts(
        windows.sources[0], np.zeros(200, int), np.ones((200, 4), int), np.random.default_rng(0)
    )
    assert set(starts.ravel()) == {20, 30}  # episodes of ten steps, updates of twenty


@pytest.mark.parametrize("name", ["grid", "pendulum"])
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("sampling", ["recorded", "relabelled"])
def test_rows_and_targets_are_the_histories(request, loaded, monkeypatch, name, split, sampling):
    """Everything in a batch, beside the histories as they are read back."""
    h = histories.read(*request.getfixturevalue(f"{name}_store"))
    t, p, last = STEPS[name], 5, UPDATES[name] - 1
    ahead = name == "pendulum" and sampling == "relabelled"  # of its policies not all are kept, but the last is
    low, high = (last, last) if ahead else (1, 3)
    windows = _windows(loaded, split, [name], sampling=sampling, gap="max" if ahead else [low, high], log_std_floor=-0.01)
    batch, rows, lifetime, target = _spied(windows, 0, 12, monkeypatch)
    first = 0 if split == "train" else TRAINED[name]
    a, d = h.mean.shape[-1], h.observation.shape[-1]
    for i in range(12):
        stream, step = np.divmod(rows[i], UPDATES[name] * t)
        assert len(set(stream)) == 1
        k, e = first + stream[0] // STREAMS, stream[0] % STREAMS
        assert k == first + lifetime[i] < h.observation.shape[0] and (split == "train") == (k < TRAINED[name])
        step = step.reshape(-1, p)
        assert (np.diff(step, axis=1) == 1).all()
        update = step // t
        assert (update == update[:, :1]).all()
        update, step = update[:, 0], step.ravel()
        assert sampling == "relabelled" or (target[i] == update).all()
        if sampling == "relabelled":
            assert (np.minimum(update + low, last) <= target[i]).all() and (target[i] <= np.minimum(update + high, last)).all()
        seed_w, seed_a = _projection_of(windows, batch.projection[i, :, :a], d)
        raw, reward = h.observation[k, e, step], h.reward[k, e, step]
        np.testing.assert_allclose(batch.observation[i], raw @ seed_w.T, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(batch.reward[i], reward)
        action = h.action[k, e, step]
        expected = seed_a[:, action].T if h.discrete else action @ seed_a.T
        np.testing.assert_allclose(batch.action[i], expected, rtol=1e-4, atol=1e-5)
        end = (h.terminated | h.truncated)[k, e, step].reshape(-1, p)
        end[:, -1] = True
        np.testing.assert_array_equal(batch.end[i], end.ravel())
        mean, log_std = _expected_targets(h, k, e, step, target[i], p, sampling)
        np.testing.assert_allclose(batch.target_mean[i, :, :a], mean, rtol=1e-4, atol=1e-5)
        if not h.discrete:
            np.testing.assert_allclose(batch.target_log_std[i, :, :a], np.maximum(log_std, -0.01), rtol=1e-6)


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize("gap", [1, 3, "max"])
def test_a_relabelled_token_is_labelled_by_the_policy_of_its_targets_update_and_no_other(grid_store, loaded, monkeypatch, gap, switch):
    h, last = histories.read(*grid_store), UPDATES["grid"] - 1
    assert h.snapshot_update.tolist() == list(range(UPDATES["grid"]))  # snapshot_every 1
    windows = _windows(loaded, "train", ["grid"], sampling="relabelled", gap=gap, switch=switch)
    batch, rows, lifetime, _ = _spied(windows, 0, 20, monkeypatch)
    stream, step = np.divmod(rows, UPDATES["grid"] * STEPS["grid"])
    target = np.minimum(step // STEPS["grid"] + (last if gap == "max" else gap), last)  # of each token, from its row alone
    for i in range(20):
        k, e = int(lifetime[i]), stream[i] % STREAMS
        state = torch.from_numpy(h.observation[k, e[0], step[i]])
        labels = torch.stack([Policy(*(f[k : k + 1, u] for f in h.policy))(state[None])[0] for u in range(last + 1)])  # (U, T, a)
        own = labels[target[i], np.arange(len(state))]
        torch.testing.assert_close(batch.target_mean[i, :, :4], own, rtol=1e-4, atol=1e-5)
        nearest = (labels - batch.target_mean[i, :, :4]).abs().sum(-1).argmin(0)
        np.testing.assert_array_equal(nearest, target[i])  # every other update's policy says something else


def test_a_policy_that_was_not_kept_is_no_target(loaded):
    """Not even where a store is other than its config says: another update's policy would be a wrong label."""
    windows = _windows(loaded, "train", ["pendulum"], sampling="relabelled", gap=1)
    with pytest.raises(ConfigError, match=r"no snapshot of the policy of update [13] \(expected ppo.snapshot_every 1\)"):
        windows.batch(0, 20)


def _projection_of(windows, found, d):
    """The one projection of the split's range whose action matrix was found."""
    low, high = windows.sources[0].projection_range
    for seed in range(low, high):
        w, a = augment.projection(seed, d, found.shape[1])
        if np.array_equal(a, found.numpy()):
            return w, a
    raise AssertionError("a projection from outside of the split's range")


def _expected_targets(h, k, e, step, target, p, sampling):
    if sampling == "recorded":
        log_std = None if h.discrete else np.repeat(h.log_std[k, target], p, 0)
        return h.mean[k, e, step], log_std
    mean, log_std = [], []
    for u, own in zip(target, step.reshape(-1, p), strict=True):
        (n,) = np.flatnonzero(h.snapshot_update == u)
        policy = Policy(*(f[k : k + 1, n] for f in h.policy))
        mean.append(policy(torch.from_numpy(h.observation[k, e, own])[None])[0])
        log_std.append(policy.log_std.expand(p, -1))
    return torch.cat(mean).numpy(), torch.cat(log_std).numpy()


def test_splits_share_neither_lifetimes_nor_projections(loaded):
    for train, held_out in zip(loaded["train"].sources, loaded["validation"].sources, strict=True):
        assert train.projection_range[1] <= held_out.projection_range[0]
        both = set(map(bytes, train.mean.numpy())) & set(map(bytes, held_out.mean.numpy()))
        assert not both  # no two lifetimes' policies are alike
    assert [s.streams for s in loaded["train"].sources] == [6, 4]
    assert [s.streams for s in loaded["validation"].sources] == [2, 2]


def test_a_fixed_projection_is_annealed_away_and_never_validated_with(loaded, monkeypatch):
    drawn = []
    original = augment.projections
    monkeypatch.setattr(augment, "projections", lambda seeds, *sizes: (drawn.append(seeds), original(seeds, *sizes))[1])

    def share(index, split="train", fixed=0.9):
        drawn.clear()
        _windows(loaded, split, ("pendulum",), steps=100, fixed_projection=fixed).batch(index, 400)
        (seeds,) = drawn
        values, counts = np.unique(seeds, return_counts=True)
        return counts.max() / 400, values[counts.argmax()]

    for index, expected in ((0, 0.9), (25, 0.45), (40, 0.18)):
        found, value = share(index)
        assert abs(found - expected) < 0.08 and value == augment.TRAIN
    for args in ((50,), (90,), (0, "train", 0.0)):
        assert share(*args)[0] < 0.1  # of 32 projections
    assert share(0, "validation")[0] < 0.25  # of 8


# Batches


@given(size=st.integers(1, 9), pieces=st.integers(1, 5), piece_steps=st.integers(1, 8), index=st.integers(0, 2**40),
       normalize=st.booleans(), eta=st.sampled_from(["none", "gap", "return", "position"]))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_batches_have_the_documented_shapes(loaded, size, pieces, piece_steps, index, normalize, eta):
    windows = _windows(loaded, pieces=pieces, piece_steps=piece_steps, normalize=normalize, eta=eta)
    batch, t = windows.batch(index, size), pieces * piece_steps
    shapes = {"observation": (t, 64), "action": (t, 16), "reward": (t,), "end": (t,), "eta": (t,), "target_mean": (t, 16),
              "target_log_std": (t, 16), "projection": (16, 16), "discrete": ()}  # fmt: skip
    for name, shape in shapes.items():
        x = getattr(batch, name)
        assert x.shape == (size, *shape), name
        assert x.dtype == (torch.bool if name in ("end", "discrete") else torch.float32), name
        assert x.isfinite().all(), name
    assert batch.end.view(size, pieces, piece_steps)[..., -1].all()


def _mapped(x):
    """Whether an array lies in a mapped file."""
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return isinstance(getattr(x, "obj", x), mmap.mmap)


@pytest.mark.parametrize("sampling", ["recorded", "relabelled"])
def test_batches_are_the_same_to_the_byte_where_histories_do_not_fit_into_memory(loaded, manifest, tmp_path, sampling):
    frame, summary = augment.read_manifest(*manifest)
    settings = {"sampling": sampling, "gap": "max" if sampling == "relabelled" else 1}
    for split in ("train", "validation"):
        mapped = Windows(_agent(**settings), frame, summary, split, folder=tmp_path / "new", memory=10_000)
        assert all(_mapped(s.episode_start) for s in mapped.sources)
        for index in range(3):
            for x, y in zip(_windows(loaded, split, **settings).batch(index, 7), mapped.batch(index, 7), strict=True):
                assert torch.equal(x, y)
    assert not list((tmp_path / "new").iterdir())  # nothing is left behind, however the process ends


def test_histories_are_mapped_from_files_only_where_they_would_not_fit(loaded, manifest, tmp_path):
    frame, summary = augment.read_manifest(*manifest)
    size = sum(x.nbytes for s in loaded["train"].sources for x in (
        s.observation, s.action, s.mean, s.reward, s.done, s.episode_start, s.next_episode_start))  # fmt: skip
    for memory, expected in ((size, False), (size - 1, True)):
        found = Windows(_agent(), frame, summary, "train", folder=tmp_path, memory=memory)
        assert {_mapped(s.episode_start) for s in found.sources} == {expected}
    assert 0 < memory_limit() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_disk_without_room_for_the_histories_is_named(manifest, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        Windows(_agent(), *augment.read_manifest(*manifest), "train", folder=tmp_path, memory=0)


def test_only_one_store_is_in_memory_at_a_time(manifest, monkeypatch):
    """Two blocks of lifetimes in turns: what was read of one is gone when the next is."""
    frame, summary = augment.read_manifest(*manifest)
    alive, read = [], histories.read

    def watched(*paths):
        gc.collect()
        assert not [r for r in alive if r() is not None]
        history = read(*paths)
        alive.append(weakref.ref(history))
        return history

    monkeypatch.setattr(histories, "read", watched)
    grid = frame[frame["environment"] == "grid"]
    other = grid.assign(store=lambda x: x["store"] + "/.")  # the same files by another name
    Windows(_agent(), pd.concat([grid, other]), {**summary, "environments": {"grid": summary["environments"]["grid"]}}, "train")
    assert len(alive) == 2


def test_environments_have_equal_shares_of_a_mixed_batch(loaded):
    windows = _windows(loaded)
    batch = windows.batch(0, 10)
    assert batch.discrete.sum() == 5
    for i in range(10):
        a = 4 if batch.discrete[i] else 1
        assert (batch.target_mean[i, :, a:] == (NO_ACTION if batch.discrete[i] else 0)).all()
        assert (batch.projection[i, :, a:] == 0).all() and (
            batch.projection[i, :, :a].norm(dim=0) - 1
        ).abs().max() < 1e-5


def test_no_environment_is_left_out_of_batches_that_are_too_small(loaded):
    windows = _windows(loaded)
    assert {bool(windows.batch(i, 1).discrete) for i in range(30)} == {False, True}
    assert {int(windows.batch(i, 3).discrete.sum()) for i in range(30)} == {1, 2}


def test_a_batch_is_a_function_of_the_seed_and_its_index(loaded):
    first = _windows(loaded).batch(3, 6)
    for x, y in zip(first, _windows(loaded).batch(3, 6), strict=True):
        assert torch.equal(x, y)
    for other in (
        _windows(loaded).batch(4, 6),
        _windows(loaded, seed=1).batch(3, 6),
        _windows(loaded, "validation").batch(3, 6),
    ):
        assert not torch.equal(first.observation, other.observation)


@pytest.mark.parametrize("mode", ["none", "gap", "position", "return"])
def test_eta_says_what_is_expected(loaded, monkeypatch, mode):
    windows = _windows(loaded, names=["grid"], eta=mode, gap=[1, 5], sampling="relabelled")
    batch, _, lifetime, target = _spied(windows, 0, 40, monkeypatch)
    eta = batch.eta.view(40, 4, 5)
    assert (eta == eta[..., :1]).all()
    eta = eta[..., 0].numpy()
    if mode == "none":
        assert (eta == 0).all()
    elif mode == "gap":
        assert (eta == eta[:, :1]).all() and set(np.round(eta.ravel() * 5, 4)) == {1, 2, 3, 4, 5}
    elif mode == "position":
        np.testing.assert_allclose(eta, target / 5)
    else:
        np.testing.assert_allclose(eta, windows.sources[0].progress[lifetime[:, None], target], rtol=1e-5)


def test_progress_runs_from_zero_to_one(manifest, pendulum_store):
    _, summary = augment.read_manifest(*manifest)
    body, h = summary["environments"]["pendulum"], histories.read(*pendulum_store)
    frame = augment.read_manifest(*manifest)[0].assign(split="train")  # every lifetime
    source = Windows(_agent(), frame, summary, "train").sources[1]
    seen = np.isfinite(h.mean_return)
    span = body["return_last"] - body["return_first"]
    if abs(span) < 1e-9:
        span = 1.0
    np.testing.assert_allclose(
        source.progress[seen], (h.mean_return[seen] - body["return_first"]) / span, rtol=1e-4, atol=1e-5
    )
    assert np.isfinite(source.progress).all()


def test_normalising_standardises_before_it_projects(loaded, monkeypatch):
    raw = _windows(loaded, names=["pendulum"])
    scaled = _windows(loaded, names=["pendulum"], normalize=True)
    one, rows, *_ = _spied(raw, 0, 6, monkeypatch)
    two, again, *_ = _spied(scaled, 0, 6, monkeypatch)
    np.testing.assert_array_equal(rows, again)
    for i in range(6):
        w, _ = _projection_of(raw, one.projection[i, :, :1], 4)
        expected = standardise(raw.sources[0].observation[rows[i]][None])[0] @ torch.from_numpy(w).T
        torch.testing.assert_close(two.observation[i], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(two.reward, standardise(one.reward.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(one.target_mean, two.target_mean)  # targets see raw observations


def test_the_identity_leaves_observations_as_they_are(tmp_path, grid_store):
    from gla.config import Dataset, Projections

    paths = tmp_path / "m.csv", tmp_path / "m.json"
    augment.write_manifest(
        Dataset(environments=["grid"], projections=Projections(kind="identity")), [grid_store], *paths
    )
    frame, summary = augment.read_manifest(*paths)
    batch = Windows(_agent(), frame, summary, "train").batch(0, 5)
    assert (batch.observation[..., :9].sum(-1) == 1).all() and (batch.observation[..., 9:] == 0).all()
    assert (batch.action[..., :4].sum(-1) == 1).all() and (batch.action[..., 4:] == 0).all()


# Standardising


def _steps(b, t, d, seed, low=-50, high=50):
    """Integers, so that differences are 0 or far above the standardiser's epsilon."""
    return torch.from_numpy(np.random.default_rng(seed).integers(low, high, (b, t, d)).astype(np.float32))


@given(
    b=st.integers(1, 3),
    t=st.integers(1, 30),
    d=st.integers(1, 4),
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0, 1e4]),
)
@settings(max_examples=50, deadline=None)
def test_standardising_a_window_equals_doing_it_step_by_step(b, t, d, seed, offset):
    x, running = _steps(b, t, d, seed) + offset, RunningStandardiser()
    found = torch.stack([running(x[:, i]) for i in range(t)], 1)
    torch.testing.assert_close(standardise(x), found, rtol=1e-6, atol=1e-6)


@given(t=st.integers(2, 30), cut=st.integers(1, 29), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_standardising_does_not_look_ahead(t, cut, seed):
    x = _steps(2, t, 3, seed)
    changed = x.clone()
    changed[:, cut:] += 1000
    torch.testing.assert_close(standardise(x)[:, :cut], standardise(changed)[:, :cut], rtol=0, atol=0)


@given(t=st.integers(1, 30), seed=st.integers(0, 1000), shift=st.integers(-1000, 1000), scale=st.integers(1, 1000))
@settings(max_examples=50, deadline=None)
def test_standardising_forgets_shift_and_scale(t, seed, shift, scale):
    x = _steps(2, t, 3, seed)
    torch.testing.assert_close(standardise(x * scale + shift), standardise(x), rtol=1e-3, atol=1e-3)


def test_standardised_steps_have_mean_zero_deviation_one_and_a_bound():
    x = standardise(_steps(1, 2000, 2, 0))
    assert (x[:, 0] == 0).all()
    torch.testing.assert_close(x.mean(1), torch.zeros(1, 2), atol=0.1, rtol=0)
    torch.testing.assert_close(x.std(1), torch.ones(1, 2), atol=0.1, rtol=0)
    spike = torch.zeros(1, 100, 1)
    spike[:, -1] = 1e6
    assert standardise(spike).max() == STANDARD_CLIP
    assert (standardise(torch.full((1, 50, 1), 3e6)) == 0).all()


def test_a_standardiser_that_forgets_goes_on_as_a_fresh_one_and_the_other_rows_as_before():
    x, running = _steps(2, 6, 3, 0), RunningStandardiser()
    found = []
    for i in range(6):
        if i == 4:
            running.forget(torch.tensor([True, False]))
        found.append(running(x[:, i]))
    found = torch.stack(found, 1)
    torch.testing.assert_close(found[1], standardise(x)[1])
    torch.testing.assert_close(found[0, 4:], standardise(x[:, 4:])[0])
