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

from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.encoding import projected, tabular
from gla.encoding.standardise import Standardiser
from gla.encoding.tokens import NO_ACTION
from gla.environments.making import make
from gla.labels import trust_horizon
from gla.labels.kinds import LABELS
from gla.manifests import read_manifest, write_manifest
from gla.memory import memory_limit
from gla.options import ConfigError
from gla.policies import Policy
from gla.sources import noisy_oracle
from gla.sources import random as uniform
from gla.storage.collecting import collect
from gla.storage.reading import read
from gla.windows import consecutive
from gla.windows.batches import Windows
from gla.windows.chunks import ChunkOptions, starts
from gla.windows.kinds import WINDOWS

UPDATES, STEPS, STREAMS = {"grid": 6, "pendulum": 5}, {"grid": 20, "pendulum": 64}, 2  # see conftest.py
TRAINED = {"grid": 3, "pendulum": 2}  # lifetimes that are not held out
GAPS = st.one_of(st.integers(1, 4), st.just("max"), st.sampled_from([[1, 1], [1, 4], [2, 3]]))
CHUNKED = [kind for kind in WINDOWS if issubclass(WINDOWS.options(kind), ChunkOptions)]
POLICIES = [kind for kind in LABELS if "distribution" in LABELS.options(kind).needs]
KINDS, LABELLED = st.sampled_from(CHUNKED), st.sampled_from(POLICIES)


def _agent(
    kind="across_updates", labels="recorded", loss="divergence", eta="none", seed=0, log_std_floor=-3.0, **windows
):
    """An agent by the kinds of its windows, its labels and its loss, and further options of its windows."""
    own = {} if kind == "consecutive" else {"chunks": 4, "chunk_steps": 5}
    return Agent(
        dataset="d", eta=eta, seed=seed, windows={"kind": kind, **own, **windows},
        labels={"kind": labels, "log_std_floor": log_std_floor}, loss=loss,
    )  # fmt: skip


@pytest.fixture(scope="session")
def loaded(manifest):
    """Windows without a config; ``_windows`` gives them one without reading the stores again."""
    frame, summary = read_manifest(*manifest)
    return {
        (split, labels): Windows(_agent(labels=labels), frame, summary, split)
        for split in ("train", "validation")
        for labels in POLICIES
    }


def _windows(loaded, split="train", names=("grid", "pendulum"), standardise=False, **kwargs):
    windows, agent = Windows.__new__(Windows), _agent(**kwargs)
    own = loaded[split, agent.labels.kind].__dict__
    encoding = projected.Encoding(projected.Options(train=32, validation=8, standardise=standardise))
    windows.__dict__ |= own | {"agent": agent, "windows": WINDOWS[agent.windows.kind], "encoding": encoding}
    windows.sources = [s for s, n in zip(own["sources"], ("grid", "pendulum"), strict=True) if n in names]
    return windows


def _draw(windows, n, rng, source=0):
    """n windows of a source: updates of their chunks (n, M), updates of their labels (n, M), and gaps (n,)."""
    rows = windows.sources[source]
    drawn = windows.windows.draw(windows.agent.windows, rows, n, rng)
    return drawn.update, windows.labels.updates(drawn, rows.updates - 1), drawn.gap


def _spied(windows, index, size, monkeypatch):
    """A batch, and what its only source's windows are made of: rows (n, T), lifetimes (n,), updates of their labels (n, M)."""
    seen = []
    original = Windows._target

    def spy(self, rows, drawn, raw):
        updates = self.labels.updates(drawn, rows.updates - 1)
        seen.append((drawn.index, rows.stream_lifetime[drawn.stream], updates))
        return original(self, rows, drawn, raw)

    monkeypatch.setattr(Windows, "_target", spy)
    batch = windows.batch(index, size)
    monkeypatch.undo()
    (found,) = seen
    return batch, *found


# The gap


@given(gap=GAPS, kind=KINDS, labels=LABELLED, from_start=st.sampled_from([0.0, 0.5, 1.0]),
       chunks=st.integers(1, 8), seed=st.integers(0, 1000))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_the_gap_counts_updates(loaded, gap, kind, labels, from_start, chunks, seed):
    own = {"from_start": from_start} if kind == "across_updates" else {}
    windows, last = _windows(loaded, gap=gap, kind=kind, labels=labels, chunks=chunks, **own), UPDATES["pendulum"] - 1
    update, target, gaps = _draw(windows, 50, np.random.default_rng(seed), source=1)
    assert update.shape == target.shape == (50, chunks) and gaps.shape == (50,)
    low, high = gap if isinstance(gap, list) else (last, last) if gap == "max" else (gap, gap)
    assert (gaps >= low).all() and (gaps <= high).all()
    assert (update >= 0).all() and (update <= last).all() and (np.diff(update, axis=1) >= 0).all()
    np.testing.assert_array_equal(target, update if labels == "recorded" else np.minimum(update + gaps[:, None], last))
    if kind == "rising_quality":
        return
    if gap == "max":
        assert (update == last).all()
        return
    np.testing.assert_array_equal(update[:, 1:], np.minimum(update[:, :-1] + gaps[:, None], last))
    if from_start == 1:
        assert (update[:, 0] == 0).all()


def test_a_range_draws_every_gap_and_windows_start_everywhere(loaded):
    update, _, gaps = _draw(_windows(loaded, gap=[1, 3], from_start=0.0), 500, np.random.default_rng(0))
    assert set(gaps) == {1, 2, 3} and set(update[:, 0]) == set(range(6))


def test_from_start_is_a_share_of_the_windows(loaded):
    update, _, _ = _draw(_windows(loaded, from_start=0.7), 4000, np.random.default_rng(0))
    assert (update[:, 0] == 0).mean() == pytest.approx(0.7 + 0.3 / 6, abs=0.03)


def _rising(loaded, **kwargs):
    return _windows(loaded, kind="rising_quality", labels="later_policy", **kwargs)


def test_contexts_of_rising_quality_are_mostly_poor_until_a_random_chunk(loaded):
    update, target, _ = _draw(_rising(loaded, gap="max", chunks=4), 20000, np.random.default_rng(0))
    assert set(update.ravel()) == set(range(6)) and (target == 5).all()
    # Switched from the first chunk on in one of five windows, at or before the last in four of five. In the others only a
    # ceiling of 5, one of six, leads there: with all of four draws, and with at least one of them.
    assert (update[:, 0] == 5).mean() == pytest.approx(1 / 5 + 4 / 5 * (1 / 6) ** 5, abs=0.01)
    assert (update[:, -1] == 5).mean() == pytest.approx(4 / 5 + 1 / 5 * (1 - (5 / 6) ** 4) / 6, abs=0.01)


def test_chunks_after_the_switch_are_a_gap_ahead(loaded):
    """With a single chunk, half of the windows are switched. Their draws are the plain draws plus the gap."""
    update, target, _ = _draw(_rising(loaded, gap=2, chunks=1), 40000, np.random.default_rng(0))
    plain = np.array([sum(1 / (c + 1) for c in range(u, 6)) / 6 for u in range(6)])
    ahead = np.array([0, 0, *plain[:3], plain[3:].sum()])
    np.testing.assert_allclose(np.bincount(update[:, 0], minlength=6) / 40000, (plain + ahead) / 2, atol=0.01)
    np.testing.assert_array_equal(target, np.minimum(update + 2, 5))


def test_without_the_switch_chunks_of_rising_quality_are_plain_draws(loaded):
    update, target, _ = _draw(_rising(loaded, gap=2, chunks=1, switch=False), 40000, np.random.default_rng(0))
    plain = [sum(1 / (c + 1) for c in range(u, 6)) / 6 for u in range(6)]
    np.testing.assert_allclose(np.bincount(update[:, 0], minlength=6) / 40000, plain, atol=0.01)
    np.testing.assert_array_equal(target, np.minimum(update + 2, 5))


@given(gap=GAPS, chunks=st.integers(1, 8), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_chunks_from_the_switch_on_are_of_the_updates_that_were_their_labels_without_it(loaded, gap, chunks, seed):
    def draw(switch):
        return _draw(_rising(loaded, gap=gap, chunks=chunks, switch=switch), 200, np.random.default_rng(seed))

    (plain, plain_target, gaps), (update, target, same_gaps) = draw(False), draw(True)
    np.testing.assert_array_equal(gaps, same_gaps)
    # Any chunk, or none, may be the first that is moved, and where the last update holds both more than one fits.
    switched = np.arange(chunks) >= np.arange(chunks + 1)[:, None, None]  # (M + 1, 1, M)
    fits = (update == np.where(switched, plain_target, plain)).all(-1)  # (M + 1, n)
    assert fits.any(0).all() and fits.any(1).all()
    np.testing.assert_array_equal(target, np.minimum(update + gaps[:, None], UPDATES["grid"] - 1))


# Rows


@given(
    gap=GAPS,
    kind=KINDS,
    name=st.sampled_from(["grid", "pendulum"]),
    steps=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_chunks_stay_in_their_update_and_start_with_an_episode_where_one_fits(loaded, gap, kind, name, steps, seed):
    windows = _windows(loaded, gap=gap, kind=kind, chunk_steps=steps, names=[name])
    (rows,), t = windows.sources, STEPS[name]
    drawn = windows.windows.draw(windows.agent.windows, rows, 20, np.random.default_rng(seed))
    stream, step = np.divmod(drawn.index.reshape(20, -1, steps), rows.length)
    assert (stream == drawn.stream[:, None, None]).all() and (np.diff(step, axis=-1) == 1).all()
    start = step[..., 0]
    assert (start >= drawn.update * t).all() and (start + steps <= (drawn.update + 1) * t).all()
    done = rows.done.view(rows.streams, rows.length).numpy()
    for s, own, updates in zip(drawn.stream, start, drawn.update, strict=True):
        for begin, u in zip(own, updates, strict=True):
            fitting = [i for i in range(u * t, (u + 1) * t - steps + 1) if i == 0 or done[s, i - 1]]
            assert not fitting or begin in fitting


def test_every_episode_of_an_update_is_drawn(loaded):
    (rows,) = _windows(loaded, names=["grid"]).sources
    found = starts(rows, np.zeros(200, int), np.ones((200, 4), int), 5, np.random.default_rng(0))
    assert set(found.ravel()) == {20, 30}  # episodes of ten steps, updates of twenty


@pytest.mark.parametrize("name", ["grid", "pendulum"])
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("labels", POLICIES)
def test_rows_and_targets_are_the_histories(request, loaded, monkeypatch, name, split, kind, labels):
    """Everything in a batch is compared with the histories as they are read back."""
    h = read(*request.getfixturevalue(f"{name}_store"))
    t, p, last = STEPS[name], 5, UPDATES[name] - 1
    ahead = name == "pendulum" and labels == "later_policy"  # of its policies not all are kept, but the last is
    low, high = (last, last) if ahead else (1, 3)
    windows = _windows(
        loaded, split, [name], kind=kind, labels=labels, gap="max" if ahead else [low, high], log_std_floor=-0.01
    )
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
        if labels == "recorded":
            assert (target[i] == update).all()
        else:
            assert (np.minimum(update + low, last) <= target[i]).all() and (
                target[i] <= np.minimum(update + high, last)
            ).all()
        seed_w, seed_a = _projection_of(windows, batch.frame[i, :, :a], d)
        raw, reward = h.observation[k, e, step], h.reward[k, e, step]
        np.testing.assert_allclose(batch.observation[i], raw @ seed_w.T, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(batch.reward[i], reward)
        action = h.action[k, e, step]
        expected = seed_a[:, action].T if h.discrete else action @ seed_a.T
        np.testing.assert_allclose(batch.action[i], expected, rtol=1e-4, atol=1e-5)
        end = (h.terminated | h.truncated)[k, e, step].reshape(-1, p)
        end[:, -1] = True
        np.testing.assert_array_equal(batch.end[i], end.ravel())
        mean, log_std = _expected_targets(h, k, e, step, target[i], p, labels)
        np.testing.assert_allclose(batch.target[0][i, :, :a], mean, rtol=1e-4, atol=1e-5)
        if not h.discrete:
            np.testing.assert_allclose(batch.target[1][i, :, :a], np.maximum(log_std, -0.01), rtol=1e-6)


# Windows without gaps


def _drawn(loaded, name, n, seed=0, **kwargs):
    """n windows of one source: its rows, what was drawn, and streams and steps of each token, (n, T)."""
    windows = _windows(loaded, names=[name], **kwargs)
    (rows,) = windows.sources
    drawn = windows.windows.draw(windows.agent.windows, rows, n, np.random.default_rng(seed))
    stream, step = np.divmod(drawn.index, rows.length)
    assert (stream == drawn.stream[:, None]).all()
    np.testing.assert_array_equal(
        drawn.update.repeat(drawn.index.shape[1] // drawn.update.shape[1], 1), step // STEPS[name]
    )
    return rows, drawn, stream, step


@pytest.mark.parametrize("name", ["grid", "pendulum"])
def test_consecutive_steps_are_a_stretch_of_the_history_that_begins_with_an_episode(loaded, name):
    rows, drawn, stream, step = _drawn(loaded, name, 200, kind="consecutive", steps=30)
    assert (np.diff(step, axis=1) == 1).all() and not drawn.cut
    assert (rows.episode_start[stream[:, 0], step[:, 0]] == step[:, 0]).all()
    every = {int(s) for s in np.unique(rows.episode_start) if s + 30 <= rows.length}
    assert set(step[:, 0]) <= every and len(set(step[:, 0])) > len(every) / 2


@pytest.mark.parametrize("every", [2, 3])
def test_of_so_many_episodes_one_is_kept(loaded, every):
    """The grid's episodes have ten steps: those of a window are ``every`` episodes apart, and begin with any."""
    _, _, _, step = _drawn(loaded, "grid", 300, kind="consecutive", steps=30, every=every)
    episode = step[:, ::10] // 10
    np.testing.assert_array_equal(step % 10, np.tile(np.arange(10), 3)[None].repeat(300, 0))
    assert (np.diff(episode, axis=1) == every).all() and set(episode[:, 0] % every) == set(range(every))


def test_a_part_of_the_lifetime_is_all_that_windows_are_cut_from(loaded):
    _, _, _, step = _drawn(loaded, "grid", 200, kind="consecutive", steps=20, part=[0.5, 0.9])
    assert step.min() == 60 and step.max() == 107 or step.max() == 99  # whole episodes that begin at 60 or later


def test_more_steps_than_are_kept_are_refused_where_the_history_is_read(loaded):
    with pytest.raises(ConfigError, match=r"windows.steps: 70, but one of every 2 episodes leaves 60 steps"):
        _drawn(loaded, "grid", 1, kind="consecutive", steps=70, every=2)


def test_only_an_episodes_end_and_the_windows_are_marked(loaded):
    windows = _windows(loaded, names=["grid"], kind="consecutive", steps=25)
    end = windows.batch(0, 8).end
    expected = (torch.arange(25) % 10 == 9) | (torch.arange(25) == 24)
    assert torch.equal(end, expected.expand(8, -1))


@pytest.mark.parametrize("steps", [1, 4])
def test_shuffled_chunks_come_from_anywhere_and_in_no_order(loaded, steps):
    rows, drawn, _, step = _drawn(loaded, "grid", 500, kind="shuffled", chunks=20, chunk_steps=steps)
    chunks = step.reshape(500, 20, steps)
    assert (np.diff(chunks, axis=2) == 1).all() and drawn.cut
    first = chunks[..., 0]
    assert set(first.ravel()) == {s for s in range(rows.length) if s % 20 <= 20 - steps}
    assert abs(np.corrcoef(first[:, 0], first[:, 1])[0, 1]) < 0.15 and (
        np.diff(first, axis=1) < 0
    ).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "windows, said",
    [
        ({"kind": "consecutive", "part": [0.9, 0.1]}, "part"),
        ({"kind": "consecutive", "steps": 100, "every": 2}, "steps: 100 is longer"),
        ({"kind": "shuffled", "chunk_steps": 21}, "chunk_steps: 21 is longer"),
    ],
)
def test_windows_that_no_history_holds_are_refused_before(windows, said):
    agent = Agent(dataset="d", windows=windows, loss="action_likelihood")
    source = type("Source", (), {"updates": 6, "steps": 20})()
    problems = [*agent.windows.problems_of(agent), *agent.windows.problems_with(agent, "grid", source)]
    assert len(problems) == 1 and problems[0].startswith(said)


def test_later_policies_want_windows_that_have_a_gap():
    agent = Agent(dataset="d", windows="consecutive", labels="later_policy")
    assert [p for p in agent.labels.problems_of(agent) if "gap" in p]
    assert not list(agent.labels.problems_with(agent, "grid", None))


def _written(folder, entry, source, encoding, held_out=0.25):
    """A manifest of a source's lifetimes, and its only store."""
    folder.mkdir(exist_ok=True)
    store, paths = (str(folder / "h.zarr"), str(folder / "d.json")), (str(folder / "m.csv"), str(folder / "m.json"))
    collect(source, entry, "e", range(source.lifetimes), *store)
    write_manifest(Dataset(sources=["e"], encoding=encoding, held_out_lifetimes=held_out), [store], *paths)
    return paths, store


def _histories(folder, returns, tasks):
    """Rows of lifetimes whose episodes have these returns, (K, episodes), of so many tasks in turn."""
    entry = Environment(id="gla/Bandit-v0", kwargs={"arms": 2}, tasks=[{"task": t} for t in range(tasks)])
    source = uniform.Options(environment="e", lifetimes=len(returns), num_envs=1, num_steps=len(returns[0]))
    paths, _ = _written(folder, entry, source, tabular.Options(states=1, actions=2), 1e-6)
    windows = Windows(
        Agent(dataset="d", windows="consecutive", loss="action_likelihood"), *read_manifest(*paths), "train"
    )
    (rows,) = windows.sources
    rows.steps["reward"] = torch.tensor(returns[: rows.streams], dtype=torch.float32).view(-1)
    return rows


def test_histories_are_weighed_by_how_much_and_how_steadily_they_improve(tmp_path):
    """The histories of one task are rising, up and down, falling, and held out. R is 4."""
    rows = _histories(tmp_path / "one", [[0, 2, 4], [4, 0, 4], [4, 2, 0], [0, 0, 0]], 1)
    # Improvement (2 + 4) / 8, (8/3 + 4) / 8 and (2 + 4) / 8; steadiness 1, 1 - 2 / 4 and 1 - 2 / 4.
    value = np.array([0.75 + 1, 20 / 24 + 0.5, 0.75 + 0.5])
    expected = (value - value.min()) / (value.max() - value.min())
    np.testing.assert_allclose(consecutive.improvement(rows, 1.0), expected / expected.sum(), rtol=1e-6)
    # Without steadiness the rising and the falling one are alike, and the least.
    np.testing.assert_allclose(consecutive.improvement(rows, 0.0), [0, 1, 0], atol=1e-9)


def test_histories_are_weighed_among_those_of_their_own_task(tmp_path):
    """Tasks in turn: 0 and 2 are of one task, 1 of another, alone there; the fourth is held out."""
    rows = _histories(tmp_path / "two", [[0, 2, 4], [0, 0, 0], [4, 0, 4], [0, 0, 0]], 2)
    assert rows.stream_task.tolist() == [0, 1, 0]
    np.testing.assert_allclose(consecutive.improvement(rows, 1.0), [0.5, 0.5, 0])
    options = consecutive.Options(steps=2, by_improvement=True)
    drawn = consecutive.draw(options, rows, 400, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn.stream, minlength=3) / 400, [0.5, 0.5, 0], atol=0.08)


# Actions that random ones speak for


def test_what_comes_soon_is_added_up_to_the_episodes_end_or_the_horizon():
    reward = np.array([[1.0, 2, 4, 8, 16, 32]])
    done = np.array([[False, True, False, False, False, False]])
    total, known = trust_horizon.soon(reward, done, 3)
    np.testing.assert_array_equal(total, [[3, 2, 28, 56, 48, 32]])
    np.testing.assert_array_equal(known, [[True, True, True, True, False, False]])


def test_random_actions_tell_which_are_best_where_rewards_are_near(tmp_path):
    """In a small room whose goal is a step or two away, the labels are those of the oracle or equally good ones."""
    entry = Environment(id="gla/DarkRoom-v0", kwargs={"size": 3, "goal": [1, 2], "start": "random"})
    source = noisy_oracle.Options(environment="e", lifetimes=4, num_steps=4000, epsilon=[1.0, 1.0])
    paths, _ = _written(tmp_path, entry, source, tabular.Options(states=9, actions=5))
    agent = Agent(
        dataset="d", windows="shuffled", labels={"kind": "trust_horizon", "horizon": 4}, loss="action_likelihood"
    )
    batch = Windows(agent, *read_manifest(*paths), "train").batch(0, 30)
    tables = make(entry.id, **entry.kwargs).unwrapped.tables
    values = tables.expected(tables.optimal_values(20, 0.9)[-1], 0.9)
    label, state = batch.target[0].argmax(-1), batch.observation.argmax(-1)
    good = values[state.numpy(), label.numpy()] > values.max(1)[state.numpy()] - 1e-6
    assert good.mean() > 0.9


def test_labels_of_a_trust_horizon_need_states_that_are_counted(loaded):
    windows = _windows(loaded, names=["pendulum"], loss="action_likelihood", labels="recorded")
    windows.agent = windows.agent.model_copy(update={"labels": trust_horizon.Options()})
    windows.labels = trust_horizon
    with pytest.raises(ConfigError, match="counted"):
        windows.batch(0, 2)


# Optimal actions


def test_an_oracles_actions_are_labels_of_the_states_they_were_best_in(tmp_path):
    entry = Environment(id="gla/DarkRoom-v0", kwargs={"size": 3}, tasks=[{"task": 2}, {"task": 3}])
    source = noisy_oracle.Options(environment="e", lifetimes=4, num_updates=2, num_steps=40, epsilon=[1.0, 1.0])
    paths, store = _written(tmp_path, entry, source, tabular.Options(states=9, actions=5))
    agent = Agent(
        dataset="d", windows={"kind": "shuffled", "chunks": 10}, labels="optimal_action", loss="action_likelihood"
    )
    batch = Windows(agent, *read_manifest(*paths), "train").batch(0, 50)
    rooms = [make(entry.id, size=3, **task).unwrapped.tables for task in entry.tasks]
    plans = [room.optimal_actions(20, 0.99) for room in rooms]
    assert batch.end.all()
    found, state = batch.target[0].argmax(-1), batch.observation.argmax(-1)
    # Each window is of one goal. With no more than a step or two to go some goals are out of reach, and anything is best.
    fits = [np.mean([f == plan[19, s] for f, s in zip(found.numpy(), state.numpy(), strict=True)], 1) for plan in plans]
    best = np.max(fits, 0)
    assert best.shape == (50,) and best.mean() > 0.85
    h = read(*store)
    np.testing.assert_array_equal(np.sort(np.unique(found)), np.unique(h.optimal_action))


@pytest.mark.parametrize("name", ["grid", "pendulum"])
def test_a_loss_that_wants_actions_is_given_the_ones_that_were_taken(request, loaded, monkeypatch, name):
    h = read(*request.getfixturevalue(f"{name}_store"))
    expected = _windows(loaded, names=[name]).batch(0, 12)
    batch, rows, lifetime, _ = _spied(_windows(loaded, names=[name], loss="action_likelihood"), 0, 12, monkeypatch)
    (found,) = batch.target
    a = h.mean.shape[-1]
    for i in range(12):
        stream, step = np.divmod(rows[i], UPDATES[name] * STEPS[name])
        action = h.action[lifetime[i], stream % STREAMS, step]
        np.testing.assert_array_equal(found[i, :, :a], np.eye(a)[action] if h.discrete else action)
    assert (found[..., a:] == NO_ACTION).all()
    for x, y in zip(_flat(batch._replace(target=())), _flat(expected._replace(target=())), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize("gap", [1, 3, "max"])
def test_a_token_is_labelled_by_the_policy_of_its_labels_update_and_no_other(
    grid_store, loaded, monkeypatch, gap, switch
):
    h, last = read(*grid_store), UPDATES["grid"] - 1
    assert h.snapshot_update.tolist() == list(range(UPDATES["grid"]))  # snapshot_every 1
    windows = _rising(loaded, names=["grid"], gap=gap, switch=switch)
    batch, rows, lifetime, _ = _spied(windows, 0, 20, monkeypatch)
    stream, step = np.divmod(rows, UPDATES["grid"] * STEPS["grid"])
    target = np.minimum(
        step // STEPS["grid"] + (last if gap == "max" else gap), last
    )  # of each token, from its row alone
    for i in range(20):
        k, e = int(lifetime[i]), stream[i] % STREAMS
        state = torch.from_numpy(h.observation[k, e[0], step[i]])
        labels = torch.stack(
            [Policy(*(f[k : k + 1, u] for f in h.policy))(state[None])[0] for u in range(last + 1)]
        )  # (U, T, a)
        own = labels[target[i], np.arange(len(state))]
        torch.testing.assert_close(batch.target[0][i, :, :4], own, rtol=1e-4, atol=1e-5)
        nearest = (labels - batch.target[0][i, :, :4]).abs().sum(-1).argmin(0)
        np.testing.assert_array_equal(nearest, target[i])  # every other update's policy says something else


def test_a_policy_that_was_not_kept_is_no_target(loaded):
    """Not even where a store is other than its config says: another update's policy would be a wrong label."""
    windows = _rising(loaded, names=["pendulum"], gap=1)
    with pytest.raises(
        ConfigError, match=r"no snapshot of the policy of update [13] \(expected the source's snapshot_every 1\)"
    ):
        windows.batch(0, 20)


def _projection_of(windows, found, d):
    """The one projection of the split's range whose action matrix was found."""
    low, high = windows.sources[0].projection_range
    for seed in range(low, high):
        w, a = projected.projection(seed, d, found.shape[1])
        if np.array_equal(a, found.numpy()):
            return w, a
    raise AssertionError("a projection from outside of the split's range")


def _expected_targets(h, k, e, step, target, p, labels):
    if labels == "recorded":
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
    train, held_out = (loaded[split, "recorded"].sources for split in ("train", "validation"))
    for name, x, y in zip(("logits", "mean"), train, held_out, strict=True):
        assert x.projection_range[1] <= y.projection_range[0]
        both = set(map(bytes, x.steps[name].numpy())) & set(map(bytes, y.steps[name].numpy()))
        assert not both  # no two lifetimes' policies are alike
    assert [s.streams for s in train] == [6, 4]
    assert [s.streams for s in held_out] == [2, 2]


# Batches


@given(size=st.integers(1, 9), chunks=st.integers(1, 5), chunk_steps=st.integers(1, 8), index=st.integers(0, 2**40),
       standardise=st.booleans(), eta=st.sampled_from(["none", "gap", "return", "position"]))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_batches_have_the_documented_shapes(loaded, size, chunks, chunk_steps, index, standardise, eta):
    windows = _windows(loaded, chunks=chunks, chunk_steps=chunk_steps, standardise=standardise, eta=eta)
    batch, t = windows.batch(index, size), chunks * chunk_steps
    shapes = {"observation": (t, 64), "action": (t, 16), "reward": (t,), "end": (t,), "eta": (t,), "target": (t, 16),
              "frame": (16, 16), "discrete": ()}  # fmt: skip
    assert set(shapes) == set(batch._fields) and len(batch.target) == 2
    for name, shape in shapes.items():
        for x in batch.target if name == "target" else [getattr(batch, name)]:
            assert x.shape == (size, *shape), name
            assert x.dtype == (torch.bool if name in ("end", "discrete") else torch.float32), name
            assert x.isfinite().all(), name
    assert batch.end.view(size, chunks, chunk_steps)[..., -1].all()


def _flat(batch):
    """All tensors of a batch."""
    found = []
    batch.each(lambda x: (found.append(x), x)[1])
    return found


def _mapped(x):
    """Whether an array lies in a mapped file."""
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return isinstance(getattr(x, "obj", x), mmap.mmap)


@pytest.mark.parametrize(
    "kind, labels, gap", [("across_updates", "recorded", 1), ("rising_quality", "later_policy", "max")]
)
def test_batches_are_the_same_to_the_byte_where_histories_do_not_fit_into_memory(
    loaded, manifest, tmp_path, kind, labels, gap
):
    frame, summary = read_manifest(*manifest)
    settings = {"kind": kind, "labels": labels, "gap": gap}
    for split in ("train", "validation"):
        mapped = Windows(_agent(**settings), frame, summary, split, folder=tmp_path / "new", memory=10_000)
        assert all(_mapped(s.episode_start) for s in mapped.sources)
        for index in range(3):
            expected = _windows(loaded, split, standardise=True, **settings).batch(index, 7)
            for x, y in zip(_flat(expected), _flat(mapped.batch(index, 7)), strict=True):
                assert torch.equal(x, y)
    assert not list((tmp_path / "new").iterdir())  # nothing is left behind, however the process ends


def test_histories_are_mapped_from_files_only_where_they_would_not_fit(loaded, manifest, tmp_path):
    frame, summary = read_manifest(*manifest)
    size = sum(x.nbytes for s in loaded["train", "recorded"].sources for x in (
        *s.steps.values(), s.done, s.episode_start, s.next_episode_start))  # fmt: skip
    for memory, expected in ((size, False), (size - 1, True)):
        found = Windows(_agent(), frame, summary, "train", folder=tmp_path, memory=memory)
        assert {_mapped(s.episode_start) for s in found.sources} == {expected}
    assert 0 < memory_limit() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_disk_without_room_for_the_histories_is_named(manifest, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        Windows(_agent(), *read_manifest(*manifest), "train", folder=tmp_path, memory=0)


def test_only_one_store_is_in_memory_at_a_time(manifest, monkeypatch):
    """Two blocks of lifetimes in turns: what was read of one is gone when the next is."""
    frame, summary = read_manifest(*manifest)
    alive = []

    def watched(*args):
        gc.collect()
        assert not [r for r in alive if r() is not None]
        history = read(*args)
        alive.append(weakref.ref(history))
        return history

    monkeypatch.setattr("gla.storage.reading.read", watched)
    grid = frame[frame["source"] == "grid"]
    other = grid.assign(store=lambda x: x["store"] + "/.")  # the same files by another name
    Windows(_agent(), pd.concat([grid, other]), {**summary, "sources": {"grid": summary["sources"]["grid"]}}, "train")
    assert len(alive) == 2


def test_a_store_is_read_without_the_arrays_that_no_window_needs(manifest, monkeypatch):
    frame, summary = read_manifest(*manifest)
    names = []
    monkeypatch.setattr(
        "gla.storage.reading.read", lambda store, digest, wanted: (names.append(wanted), read(store, digest, wanted))[1]
    )
    Windows(_agent(), frame, summary, "train")
    assert [{"logits", "mean", "log_std"} & n for n in names] == [{"logits"}, {"mean", "log_std"}]
    assert not any(n.startswith(("policy", "snapshot", "final")) for own in names for n in own)
    names.clear()
    Windows(_agent(labels="later_policy"), frame, summary, "train")
    assert all(
        {f"policy_{f}" for f in Policy._fields} <= own and not own & {"logits", "mean", "log_std"} for own in names
    )


@pytest.mark.parametrize("noun", ["labels", "windows", "loss"])
def test_what_a_kind_needs_of_a_source_is_read_whatever_the_loss_wants(manifest, monkeypatch, noun):
    """Labels that are actions may be an oracle's: a distribution is not all that labels are made of."""
    agent = _agent(loss="action_likelihood")
    needs = {"action": frozenset({"env_steps"})} if noun == "labels" else frozenset({"env_steps"})
    monkeypatch.setattr(type(getattr(agent, noun)), "needs", needs)
    names = []
    monkeypatch.setattr(
        "gla.storage.reading.read", lambda store, digest, wanted: (names.append(wanted), read(store, digest, wanted))[1]
    )
    Windows(agent, *read_manifest(*manifest), "train")
    assert names and all("env_steps" in own and not own & {"logits", "mean", "log_std"} for own in names)


def test_sources_have_equal_shares_of_a_mixed_batch(loaded):
    windows = _windows(loaded)
    batch = windows.batch(0, 10)
    assert batch.discrete.sum() == 5
    for i in range(10):
        a = 4 if batch.discrete[i] else 1
        assert (batch.target[0][i, :, a:] == (NO_ACTION if batch.discrete[i] else 0)).all()
        assert (batch.frame[i, :, a:] == 0).all() and (batch.frame[i, :, :a].norm(dim=0) - 1).abs().max() < 1e-5


def test_no_source_is_left_out_of_batches_that_are_too_small(loaded):
    windows = _windows(loaded)
    assert {bool(windows.batch(i, 1).discrete) for i in range(30)} == {False, True}
    assert {int(windows.batch(i, 3).discrete.sum()) for i in range(30)} == {1, 2}


def test_a_batch_is_a_function_of_the_seed_and_its_index(loaded):
    first = _windows(loaded).batch(3, 6)
    for x, y in zip(_flat(first), _flat(_windows(loaded).batch(3, 6)), strict=True):
        assert torch.equal(x, y)
    for other in (
        _windows(loaded).batch(4, 6),
        _windows(loaded, seed=1).batch(3, 6),
        _windows(loaded, "validation").batch(3, 6),
    ):
        assert not torch.equal(first.observation, other.observation)


@pytest.mark.parametrize("mode", ["none", "gap", "position", "return"])
def test_eta_says_what_is_expected(loaded, monkeypatch, mode):
    windows = _rising(loaded, names=["grid"], eta=mode, gap=[1, 5])
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
    _, summary = read_manifest(*manifest)
    body, h = summary["sources"]["pendulum"], read(*pendulum_store)
    frame = read_manifest(*manifest)[0].assign(split="train")  # every lifetime
    rows = Windows(_agent(), frame, summary, "train").sources[1]
    seen = np.isfinite(h.mean_return)
    span = body["return_last"] - body["return_first"]
    if abs(span) < 1e-9:
        span = 1.0
    np.testing.assert_allclose(
        rows.progress[seen], (h.mean_return[seen] - body["return_first"]) / span, rtol=1e-4, atol=1e-5
    )
    assert np.isfinite(rows.progress).all()


def test_observations_are_standardised_before_they_are_projected(loaded, monkeypatch):
    raw = _windows(loaded, names=["pendulum"])
    scaled = _windows(loaded, names=["pendulum"], standardise=True)
    one, rows, *_ = _spied(raw, 0, 6, monkeypatch)
    two, again, *_ = _spied(scaled, 0, 6, monkeypatch)
    np.testing.assert_array_equal(rows, again)
    for i in range(6):
        w, _ = _projection_of(raw, one.frame[i, :, :1], 4)
        expected = Standardiser()(raw.sources[0].steps["observation"][rows[i]][None])[0] @ torch.from_numpy(w).T
        torch.testing.assert_close(two.observation[i], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(two.reward, Standardiser()(one.reward.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(one.target[0], two.target[0])  # targets see raw observations


def _encoded(tmp_path, store, encoding):
    """A batch of a source under an encoding, as it comes."""
    paths = tmp_path / "m.csv", tmp_path / "m.json"
    write_manifest(Dataset(sources=["grid"], encoding=encoding), [store], *paths)
    return Windows(_agent(), *read_manifest(*paths), "train").batch(0, 5)


def test_the_identity_leaves_observations_as_they_are(tmp_path, grid_store):
    batch = _encoded(tmp_path, grid_store, projected.Options(projections="identity", standardise=False))
    assert (batch.observation[..., :9].sum(-1) == 1).all() and (batch.observation[..., 9:] == 0).all()
    assert (batch.action[..., :4].sum(-1) == 1).all() and (batch.action[..., 4:] == 0).all()


def test_a_tabular_batch_is_the_projected_one_of_the_identity_in_other_sizes(tmp_path, grid_store):
    """The windows are the same ones, drawn alike, but for the seeds of projections, which come last."""
    expected = _encoded(tmp_path, grid_store, projected.Options(projections="identity", standardise=False))
    found = _encoded(tmp_path, grid_store, tabular.Options(states=9, actions=4))
    assert (
        found.observation.shape[-1] == 9
        and found.action.shape[-1] == found.frame.shape[-1] == found.target[0].shape[-1] == 4
    )
    assert torch.equal(found.observation, expected.observation[..., :9]) and torch.equal(
        found.action, expected.action[..., :4]
    )
    assert torch.equal(found.frame, expected.frame[:, :4, :4])
    for name in ("reward", "end", "eta", "discrete"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    for x, y in zip(found.target, expected.target, strict=True):
        assert torch.equal(x, y[..., :4])
