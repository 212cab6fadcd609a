"""Imitation of an oracle in the model's own contexts, in rooms whose best actions are known, and through interruptions."""

import os
import signal

import numpy as np
import pytest
import torch

from gla import agent as agents
from gla.checked import checked
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.reading import load
from gla.encoding import tabular
from gla.environments.dark_room import DarkRoom
from gla.in_context import run_agent
from gla.manifests import read_manifest, write_manifest
from gla.options import ConfigError
from gla.processes import processes
from gla.sources import random
from gla.storage.collecting import collect
from gla.train import Interrupted, train
from gla.trainers.dagger import Trainer, best_actions

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


def test_the_best_actions_lead_to_the_goal_by_the_shortest_ways_and_all_of_them_are_alike():
    room = DarkRoom(size=3, goal=[0, 0])
    best = best_actions([room.tables], 9, 8, 0.9)[0, -1]
    after = room.tables.successor[:, :, 0]
    distance = np.add.outer(np.arange(3), np.arange(3)).ravel()  # from the goal in the corner
    for state in range(9):
        nearer = distance[after[state]] == max(distance[state] - 1, 0)
        np.testing.assert_allclose(best[state], nearer / nearer.sum())


def test_the_oracle_knows_how_much_time_is_left():
    """Without enough of it to get to the goal, all actions are alike."""
    room = DarkRoom(size=3, goal=[0, 0])
    best = best_actions([room.tables], 9, 4, 0.9)[0]
    for left in (1, 2, 3, 4):
        assert (best[left - 1, 8] == 0.2).all() == (left < 4)  # the corner that is four steps away


def test_labels_are_those_of_the_states_that_the_model_was_in_and_temperatures_those_at_which_it_acted(manifest):
    trainer = _trainer(_with(temperatures=[2.0, 2.0]), manifest)
    for p in trainer.model.parameters():
        torch.nn.init.normal_(p, 0, 0.5)
    (found,) = (trainer.on_device(x) for x in trainer.lifetimes("train", 0))
    assert found.label.shape == (16, 48, 5)
    torch.testing.assert_close(found.label.sum(-1), torch.ones(16, 48))
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
                assert len(found.label[context][(state[context] == s) & (step == t)].unique(dim=0)) <= 1
    paid = (found.reward[:, :-1] == 1) & (state[:, 1:] != 4)  # steps into the goal that do not end an episode
    at = found.label[:, 1:][paid]
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
