"""Training of a model that plans, by how well it predicts histories."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gla import agent
from gla.code import Code, neutral, scan, scan_scripts
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.encoding import scaled
from gla.in_context import run_agent
from gla.manifests import write_manifest
from gla.sources import ppo
from gla.storage.collecting import collect
from gla.train import train
from gla.trainers.prediction import Trainer, alike
from gla.windows.batches import Batch

OUTPUTS = ("weights.safetensors", "metrics.jsonl", "by_position.csv", "agent.json")
ENTRIES = {
    "two": Environment(id="gla/RandomControl-v0", kwargs={"size": 2, "actions": 1}),
    "five": Environment(id="gla/RandomControl-v0", kwargs={"size": 5, "actions": 3}),
    "grid": Environment(id="gla/GridWorld-v0", kwargs={"goal": [2, 2]}),
}
AGENT = Agent(
    dataset="d", windows={"kind": "consecutive", "steps": 60}, model={"kind": "predictive_control", "width": 24},
    training={"kind": "prediction", "steps": 30, "batch_size": 6, "warmup": 2, "evaluate_every": 10, "learning_rate": 1.0e-2},
)  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Learners with few steps in three environments of different sizes, one of them with discrete actions."""
    folder, stores = tmp_path_factory.mktemp("histories"), []
    for name, entry in ENTRIES.items():
        source = ppo.Options(
            environment=name, lifetimes=6, num_envs=1, num_updates=4, num_steps=25, update_epochs=2, num_minibatches=1
        )
        stores.append((str(folder / f"{name}.zarr"), str(folder / f"{name}.json")))
        collect(source, entry, name, range(6), *stores[-1])
    paths = str(folder / "m.csv"), str(folder / "m.json")
    write_manifest(Dataset(sources=list(ENTRIES), encoding=scaled.Options(), held_out_lifetimes=0.3), stores, *paths)
    return paths


def _train(config, manifest, folder):
    train(config, "x", {}, *manifest, folder, folder / "scratch")
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, manifest):
    folder = tmp_path_factory.mktemp("trained")
    return folder, _train(AGENT, manifest, folder)


def test_training_makes_held_out_histories_likelier_than_before_and_than_a_constant(trained):
    folder, found = trained
    rows = [json.loads(line) for line in found["metrics.jsonl"].decode().splitlines()]
    losses = [row["validation_loss"] for row in rows]
    assert [row["step"] for row in rows] == [10, 20, 30] and losses[-1] < losses[0]
    facts = json.loads(found["agent.json"])["training"]
    assert facts["validation_loss"] < facts["constant_loss"] - 0.5
    positions = [int(line.split(",")[0]) for line in (folder / "by_position.csv").read_text().splitlines()[1:]]
    assert positions == [60 * (i + 1) // 8 for i in range(8)]


def test_a_run_that_dies_goes_on_to_the_same_bytes(tmp_path, manifest, trained, monkeypatch):
    own = Trainer.advance

    def dies(self):
        if self.step == 15:
            raise KeyboardInterrupt
        own(self)

    monkeypatch.setattr(Trainer, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        _train(AGENT, manifest, tmp_path)
    seen = []
    monkeypatch.setattr(Trainer, "advance", lambda self: seen.append(self.step) or own(self))
    assert _train(AGENT, manifest, tmp_path) == trained[1] and seen == list(range(10, 30))


def test_what_was_trained_acts_in_environments_of_other_sizes(trained):
    loaded = agent.load(trained[0])
    for entry in (Environment(id="CartPole-v1"), Environment(id="Pendulum-v1")):
        evaluation = Evaluation(environment="e", agents=["x"], seeds=2, env_steps=200)
        entry = entry.model_copy(update={"kwargs": {"max_episode_steps": 50}})
        rows = run_agent(loaded, entry, evaluation, "agent").frame("x", "e", "agent")
        assert len(rows) >= 8 and np.isfinite(rows.episode_return).all()


def test_a_checkpoint_knows_all_code_that_decides_the_weights(tmp_path, manifest):
    scripts = Path(__file__).parents[2] / "workflow/scripts"
    known = Code(scan() | scan_scripts(scripts)).training(AGENT.model_dump(), {"encoding": {"kind": "scaled"}})
    config, called = AGENT.model_copy(update={"training": AGENT.training.model_copy(update={"steps": 1})}), set()
    sys.setprofile(lambda frame, event, _: event == "call" and called.add(frame.f_globals.get("__name__", "")))
    try:
        _train(config, manifest, tmp_path)
    finally:
        sys.setprofile(None)
    own = {name for name in called if name.startswith("gla.")}
    assert {"gla.models.regression", "gla.trainers.prediction", "gla.encoding.scaled"} <= own
    assert {name for name in own if not neutral(name)} <= set(known)


def test_windows_of_several_sizes_are_read_without_their_padding():
    observation, action = torch.zeros(5, 4, 6), torch.zeros(5, 4, 3)
    for i, (d, a) in enumerate([(2, 1), (6, 3), (2, 1), (2, 3), (6, 3)]):
        observation[i, :, :d], action[i, :, :a] = i + 1, i + 1
    rest = (torch.arange(5.0).view(5, 1).expand(5, 4), torch.zeros(5, 4, dtype=torch.bool), torch.zeros(5, 4))
    batch = Batch(observation, action, *rest, (), torch.zeros(5, 4, 3), torch.zeros(5, dtype=torch.bool))
    found = {(d, a): part for part, d, a in alike(batch)}
    assert {key: part.reward[:, 0].tolist() for key, part in found.items()} == {
        (2, 1): [0, 2],
        (2, 3): [3],
        (6, 3): [1, 4],
    }
    assert all(part.observation.shape[-1] == d and (part.observation != 0).all() for (d, _), part in found.items())


@pytest.mark.parametrize(
    "changed, problem",
    [
        ({"training": {"kind": "distillation"}}, "training of kind 'distillation' (expected prediction"),
        ({"model": {"kind": "transformer"}}, "a model of kind 'transformer' (expected predictive_control)"),
        ({"labels": {"kind": "later_policy"}}, "labels of kind 'later_policy' (expected no labels"),
        ({"loss": {"kind": "action_likelihood"}}, "loss of kind 'action_likelihood' (expected no loss"),
        ({"eta": "gap"}, "eta 'gap' (expected none"),
    ],
)
def test_options_that_do_not_fit_are_named(changed, problem):
    config = Agent.model_validate(AGENT.model_dump() | changed)
    said = [*config.model.problems_of(config), *config.training.problems_of(config)]
    assert any(problem in line for line in said)
