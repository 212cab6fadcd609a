"""Imitation of an oracle in the model's own contexts, in rooms whose best actions are known, and through interruptions."""

import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gla import agent as agents
from gla.checked import checked
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.reading import load
from gla.encoding import tabular
from gla.environments.anymdp import AnyMDP
from gla.environments.dark_room import DarkRoom
from gla.in_context import run_agent
from gla.manifests import read_manifest, write_manifest
from gla.options import ConfigError
from gla.processes import processes
from gla.sources import random
from gla.storage.collecting import collect
from gla.train import Interrupted, train
from gla.trainers.dagger import Labelled, Trainer, Worlds

ROOM = Environment(
    id="gla/DarkRoom-v0", kwargs={"size": 3, "max_episode_steps": 8}, tasks=[{"task": i} for i in range(8)]
)
CONFIG = Agent(
    dataset="d", model={"kind": "value_iteration", "layers": 6, "width": 16, "channels": 4},
    training={"kind": "dagger", "steps": 12, "batch_size": 16, "lifetime_steps": 48, "updates": 8, "minibatch_size": 8, "positions": 6, "evaluate_every": 4},
)  # fmt: skip
OUTPUTS = ("weights.safetensors", "metrics.jsonl", "by_position.csv", "agent.json")


def _with(**changes):
    return CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update=changes)})


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dagger")
    source = random.Options(environment="room", lifetimes=8, num_envs=1, num_steps=2)
    store, paths = (str(folder / "h.zarr"), str(folder / "d.json")), (str(folder / "m.csv"), str(folder / "m.json"))
    collect(source, ROOM, "s", range(8), *store)
    encoding = tabular.Options(states=9, actions=5)
    write_manifest(Dataset(sources=["s"], encoding=encoding, held_out_lifetimes=0.25), [store], *paths)
    return paths


def _trainer(config, manifest):
    with processes("cpu") as own:
        trainer = Trainer(config, *read_manifest(*manifest), [ROOM], own, None)
    trainer.open()
    return trainer


def _train(config, manifest, folder):
    train(config, "x", {}, *manifest, folder, folder / "scratch", environments=[ROOM])
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def _best(tables, state, left, gamma, untried=None):
    """What the oracle of one task does in states with so many remaining steps, (n, A), where it knows nothing of these pairs, (S, A)."""
    state, left = (torch.as_tensor(x).view(1, -1) for x in (state, left))
    untried = torch.zeros(tables.sizes[:2], dtype=torch.bool) if untried is None else torch.as_tensor(untried)
    worlds = Worlds.of([tables], np.zeros(1, int))
    return worlds.best_actions(untried.expand(1, state.numel(), -1, -1), state, left, gamma)[0].numpy()


def test_the_best_actions_lead_to_the_goal_by_the_shortest_ways_and_all_of_them_are_alike():
    room = DarkRoom(size=3, goal=[0, 0])
    best = _best(room.tables, range(9), [8] * 9, 0.9)
    after = room.tables.successor[:, :, 0]
    distance = np.add.outer(np.arange(3), np.arange(3)).ravel()  # from the goal in the corner
    for state in range(9):
        nearer = distance[after[state]] == max(distance[state] - 1, 0)
        np.testing.assert_allclose(best[state], nearer / nearer.sum())


def test_the_oracle_knows_how_much_time_is_left():
    """Without enough of it to get to the goal, all actions are alike."""
    best = _best(DarkRoom(size=3, goal=[0, 0]).tables, [8] * 4, [1, 2, 3, 4], 0.9)  # the corner that is four steps away
    assert (best == 0.2).all(1).tolist() == [True, True, True, False]


@given(task=st.integers(0, 100), gamma=st.sampled_from([0.9, 0.998, 1.0]), seed=st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_who_knows_everything_does_what_backward_induction_says(task, gamma, seed):
    tables, rng = AnyMDP(task=task, states=8, actions=3).tables, np.random.default_rng(seed)
    state, left = rng.integers(0, 8, 12), rng.integers(1, 60, 12)
    best = tables.best_actions(60, gamma)[left - 1, state]
    np.testing.assert_allclose(_best(tables, state, left, gamma), best / best.sum(1, keepdims=True), atol=1e-6)


def test_who_knows_nothing_tries_anything_and_who_knows_a_part_goes_to_the_nearest_thing_that_was_not_tried():
    """In a room where everything was tried but one action in the corner opposite to the goal."""
    room = DarkRoom(size=3, goal=[0, 0])
    everything = np.ones((9, 5), bool)
    np.testing.assert_allclose(_best(room.tables, range(9), [8] * 9, 0.9, everything), 0.2)
    one = np.zeros((9, 5), bool)
    one[8, 1] = True
    after = room.tables.successor[:, :, 0]
    distance = np.add.outer(np.arange(3), np.arange(3)).ravel()[::-1]  # from that corner
    best = _best(room.tables, range(9), [8] * 9, 0.9, one)
    assert best[8].argmax() == 1 and best[8].max() == 1
    for state in range(1, 8):  # the goal pays in each step, and is as good as what the unknown promises
        if distance[state] < 4 - distance[state]:
            nearer = distance[after[state]] == distance[state] - 1
            np.testing.assert_allclose(best[state], nearer / nearer.sum())
    np.testing.assert_allclose(best[0], (after[0] == 0) / (after[0] == 0).sum())  # who is at the goal stays there


def test_labels_believe_what_was_tried_often_enough_before_a_step(manifest):
    """Against counts that are made step by step."""
    trainer = _trainer(_with(temperatures=[2.0, 2.0]), manifest)
    ((lifetimes, worlds),) = trainer.lifetimes("train", 0)
    state, left = lifetimes.noted.unbind(-1)
    positions = torch.tensor([0, 3, 4, 30, 47])
    for known in (0, 1, 2):
        found = Labelled(lifetimes, worlds).labels(positions, known, 0.9)
        for b in range(4):
            own = Worlds(*(x[b : b + 1] for x in worlds))
            for i, at in enumerate(positions):
                tried = torch.zeros(9, 5)
                for t in range(at):
                    tried[state[b, t], lifetimes.action[b, t]] += 1
                one = (x[b, at].view(1, 1) for x in (state, left))
                expected = own.best_actions((tried < known).view(1, 1, 9, 5), *one, 0.9)
                torch.testing.assert_close(found[b, i], expected[0, 0])


def test_an_expert_begins_some_lifetimes_and_is_imitated_where_it_was_seen(manifest):
    """Against counts that are made step by step. The expert takes the shortest way to the goal."""
    told = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"experts": True})})
    told = told.model_copy(update={"training": told.training.model_copy(update={"shown": 0.6, "gamma": 0.9})})
    ((lifetimes, worlds),) = _trainer(told, manifest).lifetimes("train", 0)
    shown, state = lifetimes.shown, lifetimes.noted[..., 0]
    steps = shown.sum(1)
    assert torch.equal(shown, torch.arange(48) < steps.unsqueeze(1))  # they begin lifetimes
    assert 3 < (steps > 0).sum() < 16 and 12 < steps.max() <= 24
    assert torch.equal(lifetimes.tokens[..., -1], shown.float())
    positions = torch.arange(48)
    known = Labelled(lifetimes, worlds).labels(positions, 0, 0.9)
    assert (known[shown].gather(1, lifetimes.action[shown].unsqueeze(1)) > 0).all()  # each action is one of the best
    found = Labelled(lifetimes, worlds).labels(positions, 1, 0.9)
    alone = Labelled(lifetimes._replace(shown=torch.zeros_like(shown)), worlds).labels(positions, 1, 0.9)
    seen = torch.zeros(16, 48, dtype=torch.bool)
    for b in range(16):
        for t in range(48):
            seen[b, t] = any(shown[b, i] and state[b, i] == state[b, t] for i in range(t))
    torch.testing.assert_close(found, torch.where(seen.unsqueeze(2), known, alone))
    assert not torch.equal(known, alone) and 0 < seen.float().mean() < 1
    untold = CONFIG.model_copy(update={"training": told.training})
    ((other, _),) = _trainer(untold, manifest).lifetimes("train", 0)
    assert other.shown.any() and not other.tokens[..., -1].any()
    with pytest.raises(ValueError, match="shown"):
        Agent.model_validate(CONFIG.model_dump() | {"training": {"kind": "dagger", "shown": 1.5}})


def test_labels_are_those_of_the_states_that_the_model_was_in_and_temperatures_those_at_which_it_acted(manifest):
    trainer = _trainer(_with(temperatures=[2.0, 2.0]), manifest)
    for p in trainer.model.parameters():
        torch.nn.init.normal_(p, 0, 0.5)
    (own,) = trainer.lifetimes("train", 0)
    found, label = own.lifetimes, own.labels(torch.arange(48), 0, 0.9)
    assert label.shape == (16, 48, 5)
    torch.testing.assert_close(label.sum(-1), torch.ones(16, 48))
    _, output = trainer.model(found.tokens)
    logits, _ = trainer.encoding.distribution(output, found.frame)
    chance = torch.log_softmax(logits / 2.0, -1).gather(-1, found.action.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(chance, found.log_probability, atol=1e-4, rtol=1e-4)
    # Each context is of one task. Its labels are a function of the state and the step, and best for the goal where it was paid.
    state = found.tokens.split(trainer.encoding.sizes.parts, -1)[4].argmax(-1)
    step = torch.arange(48) % 8  # episodes end at the time limit alone
    for context in range(16):
        for s in state[context].unique():
            for t in range(8):
                assert len(label[context][(state[context] == s) & (step == t)].unique(dim=0)) <= 1
    paid = (found.reward[:, :-1] == 1) & (state[:, 1:] != 4)  # steps into the goal that do not end an episode
    at = label[:, 1:][paid]
    assert len(at) and (at[:, 4] > 0).all()  # where to stay is best


def test_it_learns_to_find_goals_that_it_was_not_trained_on(tmp_path, manifest):
    _train(_with(steps=30), manifest, tmp_path)
    evaluation = Evaluation(
        environment="room", split="training", seeds=32, episodes=12, conditions=["agent"], temperature=0.5
    )
    rows = run_agent(agents.load(tmp_path), ROOM, evaluation, "agent").frame("x", "room", "agent")
    first, last = (rows[rows.episode.isin(e)].episode_return.mean() for e in ([0], [10, 11]))
    assert last > 4.0 > 2.5 > first  # of 6.3; random actions earn 0.9


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(tmp_path, manifest, monkeypatch):
    config = _with(steps=6, evaluate_every=4)
    whole, original, seen = _train(config, manifest, tmp_path / "whole"), Trainer.advance, []

    def stopped(self):
        seen.append(self.step)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self)

    monkeypatch.setattr(Trainer, "advance", stopped)
    with pytest.raises(Interrupted):
        _train(config, manifest, tmp_path / "stopped")
    assert _train(config, manifest, tmp_path / "stopped") == whole
    assert seen == list(range(6))


RAW = {
    "environments": {"e": {"id": "gla/DarkRoom-v0"}, "cart": {"id": "CartPole-v1"}},
    "sources": {n: {"environment": n, "kind": "random", "lifetimes": 2} for n in ("e", "cart")},
    "datasets": {
        "d": {"sources": ["e"], "encoding": {"kind": "tabular", "states": 81, "actions": 5}},
        "c": {"sources": ["cart"], "encoding": {"kind": "tabular", "states": 81, "actions": 5}},
    },
}


@pytest.mark.parametrize(
    "own, expected",
    [
        ({"minibatch_size": 65}, "training.minibatch_size: 65 of 64 lifetimes (expected at most batch_size)"),
        ({"positions": 1001}, "training.positions: 1001 of 1000 steps (expected at most lifetime_steps)"),
        ({"temperatures": [1.0, 0.5]}, "training.temperatures: [1.0, 0.5] (expected the smaller one first)"),
        ({"gamma": 1.1}, "training.gamma"),
    ],
)
def test_options_that_do_not_fit_are_refused(own, expected):
    with pytest.raises(ConfigError) as caught:
        load(RAW | {"agents": {"a": {"dataset": "d", "training": {"kind": "dagger", **own}}}})
    assert expected in str(caught.value)


def test_a_world_without_tables_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"agents.a.training.kind: 'dagger' in environment 'cart' \(expected a tabular world"
    ):
        checked(RAW | {"agents": {"a": {"dataset": "c", "training": "dagger"}}}, cache=tmp_path / "facts.json")


def test_scores_are_refused_where_no_best_policy_is_known_or_methods_take_different_numbers_of_steps(tmp_path):
    evaluation = {"agents": [], "conditions": [], "baselines": ["random"], "seeds": 2, "episodes": 2}
    own = {n: evaluation | {"environment": n} for n in ("cart", "e")}
    figures = {"table": {"kind": "normalised", "panels": [{"evaluation": "cart"}, {"evaluation": "e"}]}}
    with pytest.raises(ConfigError) as caught:
        checked(RAW | {"evaluations": own, "figures": figures}, cache=tmp_path / "facts.json")
    assert "panels[0].evaluation: 'cart' in 'cart' (expected one in a tabular world" in str(caught.value)
    assert "panels[1].evaluation: 'e' of 2 episodes (expected one with env_steps" in str(caught.value)
