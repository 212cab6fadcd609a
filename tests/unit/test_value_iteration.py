"""The value iteration network: its memory, its planning, and its symmetry."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from gla.agent import load as load_agent
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.reading import load
from gla.encoding.tokens import Encoded, Sizes, tokens
from gla.environments.tabular import values
from gla.in_context import run_agent
from gla.manifests import write_manifest
from gla.models.value_iteration import Options, SequenceModel, episodes
from gla.options import ConfigError
from gla.sources import q_learning
from gla.storage.collecting import collect
from gla.train import train


def _steps(b, t, states, actions, seed):
    """Random steps of b contexts: observation, action, reward, end."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(states, size=(b, t)), rng.integers(actions, size=(b, t))
    return (
        *map(torch.from_numpy, whole),
        torch.from_numpy(rng.normal(size=(b, t))).float(),
        torch.from_numpy(rng.random((b, t)) < 0.2),
    )


def _tokens(steps, sizes):
    observation, action, reward, end = steps
    encoded = Encoded(
        one_hot(observation, sizes.observation).float(), one_hot(action, sizes.action).float(), reward, end
    )
    return tokens(encoded, torch.zeros(reward.shape))


def _model(sizes, seed=0, doubt=True, **options):
    torch.manual_seed(seed)
    model = SequenceModel(Options(doubt=doubt, **options), sizes)
    torch.nn.init.normal_(model.head.weight)
    if doubt:
        torch.nn.init.normal_(model.unknown.weight)
        torch.nn.init.normal_(model.doubt)
    return model


@given(states=st.integers(1, 7), actions=st.integers(2, 4), t=st.integers(2, 40), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_its_memory_counts_what_a_loop_counts(states, actions, t, seed):
    sizes = Sizes(states, actions, 2 * actions)
    model, steps = _model(sizes, layers=2), _steps(2, t, states, actions, seed)
    memory, x = model.initial_state(2, t), _tokens(steps, sizes)
    for i in range(t):
        model.step(x[:, i], memory)
    moves, sums, earned = np.zeros((2, states, actions, states)), np.zeros((2, 3, actions, states)), np.zeros((2, 2))
    observation, action, reward, end = (x.numpy() for x in steps)
    for b in range(2):
        for i in range(t - 1):
            pair = action[b, i], observation[b, i]
            moves[(b, observation[b, i + 1], *pair)] += not end[b, i]
            sums[(b, slice(None), *pair)] += end[b, i], reward[b, i], reward[b, i] ** 2
            earned[b] = 0 if end[b, i] else earned[b] + (reward[b, i], 1)
    for b in range(2):  # states have the numbers in which they were first seen
        order = list(dict.fromkeys(observation[b].tolist()))
        assert [int(memory.numbers[b, o]) for o in order] == list(range(1, len(order) + 1))
        k = len(order)
        np.testing.assert_allclose(memory.moves[b, :k, :, :k], moves[b][order][..., order], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(memory.sums[b, ..., :k], sums[b][..., order], rtol=1e-5, atol=1e-5)
        assert memory.moves[b].sum() == moves[b].sum()
    np.testing.assert_allclose(memory.episode, earned, rtol=1e-5, atol=1e-5)
    # Planning with all states, in their own order, comes to the same.
    whole = [torch.as_tensor(values, dtype=torch.float32) for values in (moves, sums, earned)]
    expected = model._scores(*whole, steps[0][:, -1])[1]
    torch.testing.assert_close(model(x)[1][:, -1, :actions], expected, rtol=1e-3, atol=1e-4)


@given(t=st.integers(2, 30), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_what_an_expert_did_is_counted_apart_and_only_by_a_model_that_is_told(t, seed):
    sizes, steps = Sizes(5, 3, 6), _steps(2, t, 5, 3, seed)
    expert = torch.from_numpy(np.random.default_rng(seed).random((2, t)) < 0.5)
    plain = _tokens(steps, sizes)
    told = torch.cat([plain[..., :-1], expert.float().unsqueeze(-1)], -1)
    model = _model(sizes, layers=2, experts=True)
    memory = model.initial_state(2, t)
    outputs = torch.stack([model.step(told[:, i], memory) for i in range(t)], 1)
    torch.testing.assert_close(outputs, model(told)[1], rtol=1e-3, atol=1e-4)
    chosen = np.zeros((2, 3, 5))
    for b in range(2):
        for i in range(t - 1):
            chosen[b, steps[1][b, i], steps[0][b, i]] += float(expert[b, i])
        order = list(dict.fromkeys(steps[0][b].tolist()))
        np.testing.assert_allclose(memory.sums[b, 3][:, : len(order)], chosen[b][:, order])
    if chosen.any():
        assert not torch.equal(model(told)[1], model(plain)[1])
    memory.forget(torch.tensor([True, False]))
    assert not memory.sums[0].any() and memory.expert.tolist() == [0, float(expert[1, -1])]
    untold = _model(sizes, layers=2)
    assert torch.equal(untold(told)[1], untold(plain)[1])


@given(t=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_return_and_length_of_an_episode_begin_anew_at_its_end(t, seed):
    rng = np.random.default_rng(seed)
    reward, end = torch.from_numpy(rng.normal(size=(2, t))), torch.from_numpy(rng.random((2, t)) < 0.3)
    expected = np.zeros((2, t, 2))
    for b in range(2):
        now = np.zeros(2)
        for i in range(t):
            now = np.zeros(2) if end[b, i] else now + (reward[b, i], 1)
            expected[b, i] = now
    np.testing.assert_allclose(episodes(reward, end.double()).numpy(), expected, atol=1e-9)


@given(count=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_outputs_at_some_positions_are_those_of_all(count, seed):
    sizes = Sizes(5, 3, 6)
    model, x = _model(sizes, layers=3), _tokens(_steps(2, 30, 5, 3, seed), sizes)
    positions = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(30)[:count]))
    for found, expected in zip(model(x, positions), model(x), strict=True):
        torch.testing.assert_close(found, expected[:, positions], rtol=1e-5, atol=1e-5)


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_other_names_of_states_and_actions_change_only_the_names_of_its_outputs_and_more_states_change_nothing(seed):
    rng = np.random.default_rng(seed)
    small, large = Sizes(5, 3, 6), Sizes(9, 3, 6)
    steps = _steps(2, 30, 5, 3, seed)
    model = _model(small, layers=4)
    expected = model(_tokens(steps, small))[1]
    states, actions = torch.from_numpy(rng.permutation(9)), torch.from_numpy(rng.permutation(3))
    again = SequenceModel(model.options, large)
    again.load_state_dict(model.state_dict())
    found = again(_tokens((states[steps[0]], actions[steps[1]], *steps[2:]), large))[1]
    torch.testing.assert_close(found[..., actions], expected[..., :3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[..., 3:], torch.zeros(2, 30, 3))


@torch.no_grad()
def test_a_memory_of_more_tries_than_it_tells_apart_is_the_same_to_it():
    """So that contexts may be longer than those of training."""
    sizes = Sizes(3, 2, 4)
    model, rng = _model(sizes, tries=5, doubt=False), np.random.default_rng(0)
    moves = torch.from_numpy(rng.integers(5, 9, (1, 3, 2, 3))).float()
    sums = torch.from_numpy(rng.integers(0, 9, (1, 3, 2, 3))).float()
    state, episode = torch.tensor([1]), torch.zeros(1, 2)
    expected = model._scores(moves, sums, episode, state)[1]
    torch.testing.assert_close(model._scores(100 * moves, 100 * sums, episode, state)[1], expected)
    assert not torch.allclose(model._scores(0.1 * moves, 0.1 * sums, episode, state)[1], expected)


@pytest.mark.parametrize("discount", [0.5, 0.9])
@pytest.mark.parametrize("often, unknown", [(1e4, None), (4.0, 1.5), (1.0, -0.5)])
@torch.no_grad()
def test_without_learned_rewards_its_values_are_those_of_the_world_that_it_has_seen(discount, often, unknown):
    """Values are (1 - discount) times discounted returns, in units of the largest mean reward. With doubt, pairs that were tried n times lead
    with probability 2 / (n + 2) to a state that is never left and pays a constant."""
    rng, states, actions = np.random.default_rng(0), 6, 3
    probability = rng.dirichlet(np.full(states, 0.3), (states, actions))
    reward = rng.normal(size=(states, actions))
    doubt = 0.0 if unknown is None else 2 / (often + 2)
    whole, paid = np.zeros((states + 1, actions, states + 1)), np.zeros((states + 1, actions))
    whole[:states, :, :states], whole[:states, :, states], whole[states, :, states] = (
        (1 - doubt) * probability,
        doubt,
        1,
    )
    paid[:states], paid[states] = reward, (unknown or 0.0) * np.abs(reward).max()
    expected = values(whole, paid, np.zeros(states + 1, bool), discount)[:states]
    expected *= (1 - discount) / np.abs(reward).max()
    options = Options(layers=200, channels=1, width=4, doubt=unknown is not None)
    model = SequenceModel(options, Sizes(states, actions, 2 * actions))
    for p in model.rewards.parameters():
        p.zero_()
    model.horizon.fill_(-np.log(1 - discount))
    if unknown is not None:
        model.unknown.bias.fill_(unknown)
        model.doubt.fill_(np.log(2))
    moves = torch.from_numpy(often * probability).float().permute(2, 1, 0).unsqueeze(0)
    sums = torch.from_numpy(often * np.stack([0 * reward, reward, reward**2])).float().transpose(1, 2).unsqueeze(0)
    model.hidden = (
        torch.nn.Identity()
    )  # shows what the second network is given: facts, losses, values and the state's standing
    model.head = torch.nn.Linear(15, 1)
    seen = []
    model.hidden.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    for s in range(states):
        model._scores(moves, sums, torch.zeros(1, 2), torch.tensor([s]))
    found = torch.stack([x[0, :, 13] for x in seen]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def _raw(**agent):
    return {
        "environments": {"e": {"id": "gla/DarkRoom-v0", "tasks": {"task": [0, 4]}}},
        "sources": {"s": {"environment": "e", "kind": "q_learning", "lifetimes": 4, "num_steps": 64}},
        "datasets": {
            "d": {"sources": ["s"], "encoding": {"kind": "tabular", "states": 81, "actions": 5}},
            "p": {"sources": ["s"]},
        },
        "agents": {"a": {"dataset": "d", "windows": {"kind": "consecutive", "steps": 60}, "loss": "action_likelihood",
                         "model": "value_iteration"} | agent},
    }  # fmt: skip


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"dataset": "p"}, "agents.a.model.kind: 'value_iteration' with the encoding 'projected' of dataset 'p' (expected one with the encoding tabular)"),
        ({"eta": "position"}, "agents.a.model.kind: 'value_iteration' with eta 'position' (expected none"),
        ({"training": {"positions": 61}}, "agents.a.training.positions: 61 of windows of 60 steps (expected at most that)"),
        ({"training": {"positions": 4}, "loss": "q_values"}, "agents.a.training.positions: 4 with loss 'q_values' (expected none"),
        ({"training": {"positions": 4}, "model": "gru", "loss": {"kind": "action_likelihood", "prediction_weight": 1.0}},
         "agents.a.training.positions: 4 with prediction_weight 1.0 (expected none"),
        ({"training": {"segment": 20}}, "agents.a.training.segment: 20 with a model of kind 'value_iteration' (expected none: its state grows"),
        ({"training": {"positions": 4, "segment": 20}, "model": "gru"}, "agents.a.training.segment: 20 with positions 4 (expected none"),
        ({"training": {"segment": 20}, "model": "gru", "loss": "q_values"}, "agents.a.training.segment: 20 with loss 'q_values' (expected none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change, expected):
    assert load(_raw()).agents["a"].model.kind == "value_iteration"
    with pytest.raises(ConfigError) as caught:
        load(_raw(**change))
    assert expected in str(caught.value)


def test_it_learns_from_histories_to_find_a_goal_that_no_history_has_and_hidden_rewards_take_it_away(tmp_path):
    """A 3x3 room: four goals to train on, and four others. It is trained, written, loaded and tested as any agent is."""
    entry = Environment(
        id="gla/DarkRoom-v0", kwargs={"size": 3, "max_episode_steps": 8}, tasks={"task": [0, 4]}, test_tasks={"task": [4, 8]}
    )  # fmt: skip
    source = q_learning.Options(environment="room", lifetimes=16, num_updates=8, num_steps=64)
    collect(source, entry, "s", range(16), tmp_path / "history.zarr", tmp_path / "digest.json")
    dataset = Dataset(sources=["s"], encoding={"kind": "tabular", "states": 9, "actions": 5}, held_out_lifetimes=0.25)
    manifest = tmp_path / "m.csv", tmp_path / "m.json"
    write_manifest(dataset, [(str(tmp_path / "history.zarr"), str(tmp_path / "digest.json"))], *manifest)
    agent = Agent(
        dataset="d", windows={"kind": "consecutive", "steps": 120, "every": 4}, loss="action_likelihood", model={"kind": "value_iteration", "layers": 8},
        training={"steps": 60, "batch_size": 8, "positions": 8, "learning_rate": 1e-2, "warmup": 5, "evaluate_every": 20},
    )  # fmt: skip
    train(agent, "a", {}, *manifest, tmp_path / "a", tmp_path / "scratch", environments=[])
    by_position = pd.read_csv(tmp_path / "a/by_position.csv")
    assert by_position["position"].tolist() == [int(120 * ((i + 0.5) / 8) ** 2) for i in range(8)]
    evaluation = Evaluation(environment="room", seeds=32, episodes=30)
    found = {
        c: run_agent(load_agent(tmp_path / "a"), entry, evaluation, c).frame("a", "room", c)
        for c in ("agent", "rewards_hidden")
    }
    last = {c: f.loc[f["episode"] >= 24, "episode_return"].mean() for c, f in found.items()}
    first = found["agent"].loc[found["agent"]["episode"] == 0, "episode_return"].mean()
    assert last["agent"] > first + 1.5 and last["agent"] > last["rewards_hidden"] + 1.5
