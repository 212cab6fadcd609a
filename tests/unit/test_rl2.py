"""RL^2 against closed forms, on a bandit whose best return is known, and through interruptions."""

import os
import signal

import numpy as np
import pytest
import torch

from gla import agent as agents
from gla import card
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.reading import load
from gla.encoding import tabular
from gla.in_context import run_agent
from gla.learners.ppo import PPO
from gla.manifests import read_manifest, write_manifest
from gla.options import ConfigError
from gla.processes import processes
from gla.sources import random
from gla.storage.collecting import collect
from gla.train import Interrupted, train
from gla.trainers import rl2
from gla.trainers.acting import ActingTrainerOptions, log_probability
from gla.trainers.rl2 import FOLLOWS, Trainer, entropy, lifetime_advantages

# One of two arms always pays. Whoever pulls one knows which: over four pulls the best return is 3.5.
BANDIT = Environment(
    id="gla/Bandit-v0", kwargs={"arms": 2}, tasks=[{"means": [1.0, 0.0]}, {"means": [0.0, 1.0]}, {"means": [1.0, 0.0]}]
)
CONFIG = Agent(
    dataset="d", model={"kind": "gru", "layers": 1, "width": 16},
    training={"kind": "rl2", "steps": 40, "batch_size": 64, "lifetime_steps": 4, "learning_rate": 1.0e-2, "evaluate_every": 10},
)  # fmt: skip
OUTPUTS = ("weights.safetensors", "metrics.jsonl", "by_position.csv", "agent.json")


def _with(**changes):
    return CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update=changes)})


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Lifetimes of both tasks to train on, and one of the second task held out."""
    folder = tmp_path_factory.mktemp("rl2")
    source = random.Options(environment="bandit", lifetimes=3, num_envs=1, num_steps=4)
    store, paths = (str(folder / "h.zarr"), str(folder / "d.json")), (str(folder / "m.csv"), str(folder / "m.json"))
    collect(source, BANDIT, "s", range(3), *store)
    write_manifest(Dataset(sources=["s"], encoding=tabular.Options(states=1, actions=2)), [store], *paths)
    return paths


def _train(config, manifest, folder, scratch=None):
    train(config, "x", {}, *manifest, folder, scratch or folder / "scratch", environments=[BANDIT])
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def test_advantages_are_sums_of_discounted_errors():
    rng, gamma, gae_lambda = np.random.default_rng(0), 0.9, 0.7
    reward, value = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    found = lifetime_advantages(torch.tensor(reward), torch.tensor(value), gamma, gae_lambda).numpy()
    following = np.concatenate([value[:, 1:], np.zeros((3, 1))], 1)
    error = reward + gamma * following - value
    for t in range(6):
        expected = sum((gamma * gae_lambda) ** k * error[:, t + k] for k in range(6 - t))
        np.testing.assert_allclose(found[:, t], expected)
    # With both at 1 they are what is still to be earned, less the value.
    whole = lifetime_advantages(torch.tensor(reward), torch.tensor(value), 1.0, 1.0).numpy()
    np.testing.assert_allclose(whole, reward[:, ::-1].cumsum(1)[:, ::-1] - value)


def test_probabilities_and_entropies_are_those_of_the_distributions():
    torch.manual_seed(0)
    mean, log_std = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    action, chosen = torch.randn(2, 3, 4), torch.randint(0, 4, (2, 3))
    normal, discrete = torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Categorical(logits=mean)
    torch.testing.assert_close(log_probability(mean, log_std, action, False), normal.log_prob(action).sum(-1))
    torch.testing.assert_close(log_probability(mean, log_std, chosen, True), discrete.log_prob(chosen))
    torch.testing.assert_close(entropy(mean, log_std, False), normal.entropy().sum(-1))
    torch.testing.assert_close(entropy(mean, log_std, True), discrete.entropy())


def test_what_is_learned_from_is_what_was_done(manifest):
    """The probabilities of actions, when whole lifetimes are gone through at once, are those with which they were chosen."""
    with processes("cpu") as own:
        trainer = Trainer(CONFIG, *read_manifest(*manifest), [BANDIT], own, None)
    for p in trainer.model.parameters():
        torch.nn.init.normal_(p, 0, 0.5)
    trainer.open()
    (found,) = (trainer.on_device(x) for x in trainer.lifetimes("train", 0))
    mean, log_std, _ = trainer._outputs(found)
    torch.testing.assert_close(log_probability(mean, log_std, found.action, True), found.log_probability)
    assert found.reward.shape == (64, 4) and set(found.reward.unique().tolist()) <= {0.0, 1.0}
    again = next(trainer.lifetimes("train", 0))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert not torch.equal(found.action, next(trainer.lifetimes("train", 1)).action)


def test_tasks_are_those_of_the_lifetimes_of_each_split(manifest):
    with processes("cpu") as own:
        trainer = Trainer(CONFIG, *read_manifest(*manifest), [BANDIT], own, None)
    trainer.open()
    assert trainer.tasks["train"] == {"s": [{"arms": 2, "means": [1.0, 0.0]}, {"arms": 2, "means": [0.0, 1.0]}]}
    assert trainer.tasks["validation"] == {"s": [{"arms": 2, "means": [1.0, 0.0]}]}


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_it_learns_to_find_out_which_arm_pays(tmp_path, manifest, model):
    options = {"kind": model, "layers": 1, "width": 16} | ({"heads": 2} if model == "transformer" else {})
    _train(Agent(**_with(steps=60).model_dump() | {"model": options}), manifest, tmp_path)
    evaluation = Evaluation(environment="bandit", split="training", seeds=100, episodes=4, conditions=["agent"])
    rows = run_agent(agents.load(tmp_path), BANDIT, evaluation, "agent").frame("x", "bandit", "agent")
    total = rows.groupby("seed")["episode_return"].sum().mean()
    assert 3.2 < total <= 3.7  # 2 by chance
    said = card.write(tmp_path).read_text()
    assert (
        "Its own actions in the tasks of these histories" in said
        and "60 steps of 64 lifetimes of 4 transitions" in said
    )
    hidden = run_agent(agents.load(tmp_path), BANDIT, evaluation, "rewards_hidden").frame("x", "bandit", "agent")
    assert hidden.groupby("seed")["episode_return"].sum().mean() < 2.6


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(tmp_path, manifest, monkeypatch):
    config, whole = (
        _with(steps=8, evaluate_every=3),
        _train(_with(steps=8, evaluate_every=3), manifest, tmp_path / "whole"),
    )
    original, seen = Trainer.advance, []

    def stopped(self):
        seen.append(self.step)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self)

    monkeypatch.setattr(Trainer, "advance", stopped)
    with pytest.raises(Interrupted):
        _train(config, manifest, tmp_path / "stopped")
    assert _train(config, manifest, tmp_path / "stopped") == whole
    assert seen == list(range(8))


def test_options_that_it_shares_with_ppo_have_the_same_names():
    own = rl2.Options.model_fields.keys() - ActingTrainerOptions.model_fields.keys() - {"kind"}
    assert "gae_lambda" in own and own <= PPO.model_fields.keys()


def test_options_that_belong_to_histories_are_refused():
    raw = {
        "environments": {"e": {"id": "gla/DarkRoom-v0"}},
        "sources": {"s": {"environment": "e", "kind": "random", "lifetimes": 2}},
        "datasets": {"d": {"sources": ["s"], "encoding": {"kind": "tabular", "states": 81, "actions": 5}}},
    }
    for own, expected in (
        ({"loss": "action_likelihood"}, "training.kind: 'rl2' with loss of kind 'action_likelihood' (expected no loss"),
        ({"windows": "consecutive"}, "training.kind: 'rl2' with windows of kind 'consecutive' (expected no windows"),
        ({"eta": "gap"}, "training.kind: 'rl2' with eta 'gap' (expected none)"),
        ({"training": {"kind": "rl2", "num_minibatches": 3}}, "training.num_minibatches: 3 of 256 lifetimes (expected a divisor of batch_size)"),
    ):  # fmt: skip
        agent = {"dataset": "d", "training": "rl2"} | own
        with pytest.raises(ConfigError) as caught:
            load(raw | {"agents": {"a": agent}})
        assert expected in str(caught.value)
    assert load(raw | {"agents": {"a": {"dataset": "d", "training": "rl2"}}}).agents["a"].training == rl2.Options()


def test_values_are_learned_in_units_of_recent_returns_and_a_new_unit_moves_no_value(manifest):
    with processes("cpu") as own:
        trainer = Trainer(CONFIG, *read_manifest(*manifest), [BANDIT], own, None)
    trainer.open()
    (found,) = (trainer.on_device(x) for x in trainer.lifetimes("train", 0))
    ahead = lifetime_advantages(found.reward, torch.zeros_like(found.reward), CONFIG.training.gamma, 1.0)
    trainer.advance()
    first = torch.stack([ahead.mean(), ahead.std()])
    torch.testing.assert_close(trainer.module.returns, first)
    torch.nn.init.normal_(trainer.module["value"].weight)

    def values():
        mean, scale = trainer.module.returns
        return mean + scale * trainer._outputs(found)[2]

    before = values()
    trainer._measure(100 * found.reward)
    torch.testing.assert_close(trainer.module.returns, first.lerp(100 * first, FOLLOWS))
    torch.testing.assert_close(values(), before, rtol=1e-4, atol=1e-4)
    assert "returns" in trainer.state()["module"]
