import json
import os
import shutil
import signal
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch

from gla import agent
from gla.code import Code, neutral, scan, scan_scripts
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.encoding import projected, tabular
from gla.encoding.making import encoding_of
from gla.encoding.tokens import Encoded, tokens
from gla.files import CorruptFile
from gla.in_context import run_agent
from gla.losses.kinds import LOSSES
from gla.manifests import read_manifest, write_manifest
from gla.models.kinds import MODELS
from gla.options import ConfigError
from gla.policies import NumericalError
from gla.processes import processes
from gla.sources import ppo
from gla.sources import random as uniform
from gla.storage.collecting import collect
from gla.train import Interrupted, train
from gla.trainers import distillation
from gla.trainers.distillation import Trainer, precision_for
from gla.trainers.options import learning_rate
from gla.windows.batches import Windows

OUTPUTS = ("weights.safetensors", "metrics.jsonl", "by_position.csv", "agent.json")
IMITATING = [kind for kind in MODELS if not MODELS.options(kind).plans]  # the other has a trainer of its own
TINY = Agent(
    dataset="d", windows={"kind": "rising_quality", "gap": "max", "chunks": 2, "chunk_steps": 4}, labels="later_policy", eta="return",
    loss={"prediction_weight": 1.0}, model={"layers": 1, "width": 16, "heads": 2},
    training={"steps": 9, "batch_size": 4, "warmup": 2, "evaluate_every": 3, "precision": "float32"},
)  # fmt: skip


def _with(config, key="training", **changes):
    """A config with other options of one part of it."""
    return config.model_copy(update={key: getattr(config, key).model_copy(update=changes)})


def _of_kind(kind):
    """TINY with a model of another kind, which predicts what follows where it can."""
    options = MODELS.options(kind)
    model = options(layers=1, width=16, **({"heads": 2} if "heads" in options.model_fields else {}))
    return _with(TINY.model_copy(update={"model": model}), "loss", prediction_weight=1.0 if options.predicts else 0.0)


def _train(config, manifest, folder, scratch=None, code=None):
    train(config, "x", code or {}, *manifest, folder, scratch or folder / "scratch")
    return folder


def _bytes(folder):
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, manifest):
    return _train(TINY, manifest, tmp_path_factory.mktemp("undisturbed"))


# The schedule


def test_the_learning_rate_rises_to_the_full_and_falls_to_a_tenth():
    config = _with(TINY, steps=100, warmup=10, learning_rate=1.0).training
    rates = [learning_rate(config, s) for s in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)


@pytest.mark.parametrize("warmup", [0, 9, 20])
def test_any_warm_up_gives_rates_that_can_be_used(warmup):
    rates = [learning_rate(_with(TINY, warmup=warmup).training, s) for s in range(9)]
    assert all(0 < r <= TINY.training.learning_rate for r in rates)


@pytest.fixture
def alone():
    with processes("cpu") as own:
        yield own


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_precision_is_as_configured(alone, name):
    assert precision_for(_with(TINY, precision=name).training, alone) == getattr(torch, name)


@pytest.mark.parametrize("speed, expected", [(6.8, "bfloat16"), (2.3, "bfloat16"), (1.1, "float32"), (0.2, "float32")])
def test_automatic_precision_is_bfloat16_where_its_products_are_faster(alone, monkeypatch, speed, expected):
    monkeypatch.setattr(distillation, "bfloat16_speed", lambda device: speed)
    assert precision_for(_with(TINY, precision="auto").training, alone) == getattr(torch, expected)


def test_the_speed_of_products_is_measured_in_both_types(alone, monkeypatch):
    """A clock that runs three seconds for each product in float32 and two for each in bfloat16."""
    ticks = iter([x for i in range(distillation.PRODUCTS) for x in (10 * i, 10 * i + 3, 10 * i + 5, 10 * i + 7)])
    monkeypatch.setattr(distillation.time, "perf_counter", lambda: next(ticks))
    assert distillation.bfloat16_speed(alone.device) == 1.5


# Bytes


def test_training_twice_gives_the_same_bytes(tmp_path, manifest, undisturbed):
    assert _bytes(_train(TINY, manifest, tmp_path)) == _bytes(undisturbed)
    other = _train(TINY.model_copy(update={"seed": 1}), manifest, tmp_path / "other")
    assert all(_bytes(other)[name] != content for name, content in _bytes(undisturbed).items())


def test_runs_of_weights_and_biases_are_written_if_they_are_asked_for_and_change_nothing(
    tmp_path, manifest, undisturbed, monkeypatch
):
    assert not list(undisturbed.rglob("wandb"))
    monkeypatch.setenv("GLA_WANDB", "offline")
    assert _bytes(_train(TINY, manifest, tmp_path)) == _bytes(undisturbed)
    (run,) = (tmp_path / "scratch/wandb").glob("offline-run-*/*.wandb")
    assert b"validation_loss" in run.read_bytes() and (tmp_path / "scratch/tensorboard").exists()
    monkeypatch.setenv("GLA_WANDB", "on")
    with pytest.raises(ConfigError, match="GLA_WANDB: 'on' .expected offline or online, or nothing"):
        _train(TINY, manifest, tmp_path / "other")
    monkeypatch.setenv("GLA_WANDB", "offline")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="wandb is not installed .expected pip install wandb"):
        _train(TINY, manifest, tmp_path / "other")


def test_the_folder_is_what_is_documented(undisturbed, manifest):
    metrics = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in metrics] == [3, 6, 9]
    assert {"train_loss", "constant_loss", "validation_loss", "validation_constant_loss"} <= set(metrics[0])
    assert (undisturbed / "by_position.csv").read_text().count("\n") == 1 + 8
    body = json.loads((undisturbed / "agent.json").read_text())
    assert body["training"]["tokens"] == 9 * 4 * 8 and body["config"] == TINY.model_dump(exclude={"acting"})
    assert not (undisturbed / "scratch/checkpoint.pt").exists()


def _losses_that_were_written_are_those_of_the_agent(config, manifest, folder):
    """Compares by_position.csv with the losses of the loaded agent on the first batches of each split."""
    _train(config, manifest, folder)
    found, loaded = pd.read_csv(folder / "by_position.csv"), agent.load(folder)
    for split in ("train", "validation"):
        windows = Windows(config, *read_manifest(*manifest), split)
        batches = [windows.batch(i, config.training.batch_size) for i in range(distillation.VALIDATION_BATCHES)]
        with torch.no_grad():
            each = [
                LOSSES[config.loss.kind]
                .policy(config.loss, encoding_of(loaded.manifest), loaded.model(tokens(Encoded(*b[:4]), b.eta))[1], b)
                .mean(0)
                for b in batches
            ]
        np.testing.assert_allclose(found[f"{split}_loss"], torch.stack(each).mean(0).numpy(), rtol=1e-4)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if not LOSSES.options(loss)().slow])
def test_the_losses_that_are_written_are_those_of_the_agent_that_was_written(tmp_path, manifest, loss):
    labels = "later_policy" if "distribution" in LOSSES.options(loss)().wants else "recorded"
    config = _with(Agent(**TINY.model_dump() | {"loss": loss, "labels": labels}), batch_size=16)
    _losses_that_were_written_are_those_of_the_agent(config, manifest, tmp_path)


def _after(monkeypatch, steps, act):
    """Let ``act`` happen before the optimiser step with this number."""
    original = Trainer.train

    def wrapped(self, batch):
        if self.step == steps:
            act()
        original(self, batch)

    monkeypatch.setattr(Trainer, "train", wrapped)


def _die():
    raise KeyboardInterrupt


def _goes_on_to_the_same_bytes(config, paths, folder, monkeypatch):
    """Trains an agent once undisturbed, and once with a death in between. Returns the bytes of the agent."""
    undisturbed = _bytes(_train(config, paths, folder / "undisturbed"))
    _after(monkeypatch, 5, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(config, paths, folder / "dies")
    monkeypatch.undo()
    assert _bytes(_train(config, paths, folder / "dies")) == undisturbed
    return undisturbed


@pytest.mark.parametrize("steps", [2, 5, 8])
def test_a_run_that_dies_goes_on_to_the_same_bytes(tmp_path, manifest, undisturbed, monkeypatch, steps):
    _after(monkeypatch, steps, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(TINY, manifest, tmp_path)
    assert not any((tmp_path / name).exists() for name in OUTPUTS)
    assert (tmp_path / "scratch/checkpoint.pt").exists() == (steps > 3)
    monkeypatch.undo()
    assert _bytes(_train(TINY, manifest, tmp_path)) == _bytes(undisturbed)


def test_a_run_that_is_told_to_stop_saves_first_and_goes_on_to_the_same_bytes(
    tmp_path, manifest, undisturbed, monkeypatch
):
    before = signal.getsignal(signal.SIGTERM)
    _after(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="stopped at step 5 of 9"):
        _train(TINY, manifest, tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.undo()
    seen = []
    _after(monkeypatch, 5, lambda: seen.append(5))
    assert _bytes(_train(TINY, manifest, tmp_path)) == _bytes(undisturbed)
    assert seen == [5]


def _first_step(monkeypatch):
    """The list that the first step's number of the next run goes into."""
    original, seen = Trainer.train, []

    def wrapped(self, batch):
        seen.append(self.step)
        original(self, batch)

    monkeypatch.setattr(Trainer, "train", wrapped)
    return seen


@pytest.mark.parametrize("kind", [kind for kind in IMITATING if kind != TINY.model.kind])
def test_a_run_of_any_kind_of_model_that_dies_goes_on_to_the_same_bytes(tmp_path, manifest, monkeypatch, kind):
    """The transformer is TINY's, and above."""
    config = _of_kind(kind)
    undisturbed = _bytes(_train(config, manifest, tmp_path / "undisturbed"))
    _after(monkeypatch, 5, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(config, manifest, tmp_path / "again")
    monkeypatch.undo()
    seen = _first_step(monkeypatch)
    assert _bytes(_train(config, manifest, tmp_path / "again")) == undisturbed and seen == list(range(3, 9))
    loaded = agent.load(tmp_path / "again")
    with torch.no_grad():
        assert (
            loaded.config == config
            and loaded.model(torch.randn(1, 5, encoding_of(loaded.manifest).sizes.token))[1].abs().sum() > 0
        )


@pytest.mark.parametrize(
    "change, first", [({}, 6), ({"learning_rate": 1.0e-3}, 0), ({"steps": 12}, 0), ({"seed": 1}, 0)]
)
def test_a_checkpoint_of_another_config_is_ignored(tmp_path, manifest, monkeypatch, change, first):
    _after(monkeypatch, 7, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(TINY, manifest, tmp_path)
    monkeypatch.undo()
    seen, config = (
        _first_step(monkeypatch),
        TINY.model_copy(update=change) if "seed" in change else _with(TINY, **change),
    )
    again = _bytes(_train(config, manifest, tmp_path))
    assert seen == list(range(first, config.training.steps))
    assert again == _bytes(_train(config, manifest, tmp_path / "fresh"))


@pytest.mark.parametrize("code, first", [({"gla.train": "a"}, 6), ({"gla.train": "b"}, 0), ({}, 0)])
def test_a_checkpoint_of_other_code_is_ignored(tmp_path, manifest, undisturbed, monkeypatch, code, first):
    _after(monkeypatch, 7, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(TINY, manifest, tmp_path, code={"gla.train": "a"})
    monkeypatch.undo()
    seen = _first_step(monkeypatch)
    assert _bytes(_train(TINY, manifest, tmp_path, code=code)) == _bytes(
        undisturbed
    )  # the code is no part of what is written
    assert seen == list(range(first, 9))


def test_a_checkpoint_of_other_data_is_ignored(tmp_path, manifest, grid_store, monkeypatch):
    other = str(tmp_path / "m.csv"), str(tmp_path / "m.json")
    write_manifest(Dataset(sources=["grid"], encoding=projected.Options(train=3)), [grid_store], *other)
    _after(monkeypatch, 7, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(TINY, other, tmp_path)
    monkeypatch.undo()
    seen = _first_step(monkeypatch)
    _train(TINY, manifest, tmp_path)
    assert seen[0] == 0


@pytest.mark.parametrize("kind", IMITATING)
@pytest.mark.parametrize("labels, loss", [("later_policy", "divergence"), ("recorded", "action_likelihood")])
def test_a_checkpoint_knows_all_code_that_decides_the_weights(tmp_path, manifest, kind, labels, loss):
    """Every function of the package that is called in training is in a module that is known, or that decides no number."""
    config = Agent(**_with(_of_kind(kind), steps=1).model_dump() | {"labels": labels, "loss": loss})
    scripts = Path(__file__).parents[2] / "workflow/scripts"
    known = Code(scan() | scan_scripts(scripts)).training(config.model_dump(), {"encoding": {"kind": "projected"}})
    called = set()
    sys.setprofile(lambda frame, event, _: event == "call" and called.add(frame.f_globals.get("__name__", "")))
    try:
        _train(config, manifest, tmp_path)
    finally:
        sys.setprofile(None)
    own = {name for name in called if name == "gla" or name.startswith("gla.")}
    assert {
        "gla.train",
        MODELS[kind].SequenceModel.forward.__module__,
        f"gla.losses.{loss}",
        f"gla.labels.{labels}",
        "gla.windows.rising_quality",
    } <= own
    assert {f"gla.models.{kind}"} | {name for name in own if not neutral(name)} <= set(known)
    other = next(k for k in MODELS if k != kind)
    assert f"gla.models.{other}" not in known


# What goes wrong


def test_a_loss_that_is_not_finite_names_the_agent_and_the_step(tmp_path, manifest, monkeypatch):
    original = Windows.batch

    def broken(self, index, size):
        batch = original(self, index, size)
        return batch._replace(reward=batch.reward / 0) if index == 5 else batch

    monkeypatch.setattr(Windows, "batch", broken)
    with pytest.raises(NumericalError, match="agent 'x', step 5: .*not finite"):
        _train(TINY, manifest, tmp_path)
    assert not any((tmp_path / name).exists() for name in OUTPUTS)
    assert (tmp_path / "scratch/checkpoint.pt").exists()


def test_a_held_out_loss_that_is_not_finite_is_not_saved(tmp_path, manifest, monkeypatch):
    original = Trainer.evaluated

    def broken(self, windows):
        losses = original(self, windows)
        return losses | {"loss": losses["loss"] / 0} if self.step == 6 else losses

    monkeypatch.setattr(Trainer, "evaluated", broken)
    with pytest.raises(NumericalError, match="agent 'x', step 6: .*not finite"):
        _train(TINY, manifest, tmp_path)
    state = torch.load(tmp_path / "scratch/checkpoint.pt", weights_only=True)
    assert state["step"] == 3 and not any((tmp_path / name).exists() for name in OUTPUTS)


def test_a_damaged_checkpoint_is_named_or_ignored(tmp_path, manifest, undisturbed, monkeypatch):
    _after(monkeypatch, 7, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(TINY, manifest, tmp_path)
    monkeypatch.undo()
    _cut(tmp_path / "scratch/checkpoint.pt")
    try:
        _train(TINY, manifest, tmp_path)
    except CorruptFile as error:
        assert "checkpoint.pt" in str(error)
    else:
        assert _bytes(tmp_path) == _bytes(undisturbed)


def test_damaged_inputs_are_named_and_nothing_is_written(tmp_path, manifest, grid_store):
    folder = tmp_path / "m"
    folder.mkdir()
    paths = [str(shutil.copy(p, folder)) for p in manifest]
    with open(paths[0], "a") as f:
        f.write("x\n")
    with pytest.raises(CorruptFile, match="m.csv"):
        _train(TINY, paths, tmp_path)
    store, digest = tmp_path / "h.zarr", tmp_path / "d.json"
    shutil.copytree(grid_store[0], store)
    shutil.copy(grid_store[1], digest)
    entry, paths = Dataset(sources=["grid"]), (tmp_path / "n.csv", tmp_path / "n.json")
    write_manifest(entry, [(str(store), str(digest))], *paths)
    (store / "reward/zarr.json").unlink()
    with pytest.raises(CorruptFile, match="h.zarr/reward/zarr.json: missing"):
        _train(TINY, paths, tmp_path)
    assert not any((tmp_path / name).exists() for name in OUTPUTS)


@pytest.mark.parametrize("packed", [False, True])
def test_a_forged_checkpoint_is_left_aside(tmp_path, undisturbed, manifest, monkeypatch, capsys, packed):
    """One that says it fits and holds nothing, and one that would unpack to more than it is long."""
    path = tmp_path / "scratch/checkpoint.pt"
    path.parent.mkdir()
    monkeypatch.setattr("gla.train.fingerprint", lambda _: "forged")
    torch.save({"fingerprint": "forged"}, path)
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/0", bytes(10**6))
    _train(TINY, manifest, tmp_path)
    assert _bytes(tmp_path) == _bytes(undisturbed)
    said = "a packed archive" if packed else "checkpoint.pt: not readable (KeyError)"
    assert said in capsys.readouterr().err


def test_an_agent_is_loaded_as_it_was_written(undisturbed, manifest):
    loaded = agent.load(undisturbed)
    assert loaded.config == TINY and loaded.manifest == read_manifest(*manifest)[1]
    assert encoding_of(loaded.manifest).varies and not loaded.model.training
    x = torch.randn(1, 5, encoding_of(loaded.manifest).sizes.token)
    with torch.no_grad():
        assert torch.equal(loaded.model(x)[1], agent.load(undisturbed).model(x)[1])
        assert loaded.model(x)[1].abs().sum() > 0


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def _remove(path):
    path.unlink()


def _empty(path):
    path.write_text("{}")


@pytest.mark.parametrize(
    "name, damage",
    [("weights.safetensors", _flip), ("weights.safetensors", _cut), ("weights.safetensors", _remove),
     ("agent.json", _cut), ("agent.json", _remove), ("agent.json", _empty)],
)  # fmt: skip
def test_a_damaged_agent_is_refused_and_named(tmp_path, undisturbed, name, damage):
    for output in OUTPUTS:
        shutil.copy(undisturbed / output, tmp_path)
    damage(tmp_path / name)
    with pytest.raises(CorruptFile) as error:
        agent.load(tmp_path)
    assert str(tmp_path / name) in str(error.value)


def test_an_altered_description_is_refused(tmp_path, undisturbed):
    for output in OUTPUTS:
        shutil.copy(undisturbed / output, tmp_path)
    body = json.loads((tmp_path / "agent.json").read_text())
    body["config"]["model"]["width"] = 32
    (tmp_path / "agent.json").write_text(json.dumps(body))
    with pytest.raises(CorruptFile, match="does not hold this agent's weights"):
        agent.load(tmp_path)


# Learning


@pytest.fixture(scope="module")
def learned_grid(tmp_path_factory):
    """Lifetimes that end near the optimum, under the identity: the best action depends on the position."""
    folder = tmp_path_factory.mktemp("learned")
    source = ppo.Options(
        environment="grid", lifetimes=12, num_envs=4, num_updates=30, num_steps=20, normalize_observations=False,
        update_epochs=4, num_minibatches=4, learning_rate=3.0e-3, anneal_learning_rate=False,
    )  # fmt: skip
    entry = Environment(id="gla/GridWorld-v0", kwargs={"goal": [2, 2]})
    store, paths = (str(folder / "h.zarr"), str(folder / "d.json")), (str(folder / "m.csv"), str(folder / "m.json"))
    collect(source, entry, "grid", range(12), *store)
    write_manifest(
        Dataset(sources=["grid"], encoding=projected.Options(projections="identity", standardise=False)),
        [store],
        *paths,
    )
    return paths


def _learn(manifest, folder, loss, model=None, **training):
    config = Agent(
        dataset="d", windows={"gap": "max", "chunks": 2}, loss=loss, model=model or {"layers": 1, "width": 32, "heads": 2},
        training={"steps": 60, "batch_size": 32, "warmup": 5, "evaluate_every": 60, "learning_rate": 1.0e-2, "precision": "float32"} | training,
    )  # fmt: skip
    _train(config, manifest, folder)
    return json.loads((folder / "agent.json").read_text())["training"]


def test_the_model_beats_the_constant_predictor(tmp_path, learned_grid):
    facts = _learn(learned_grid, tmp_path, {"direction": "forward"})
    assert facts["constant_loss"] > 0.3
    assert facts["validation_loss"] < 0.6 * facts["constant_loss"]


@pytest.mark.parametrize("kind", [kind for kind in IMITATING if kind != "transformer"])
def test_any_kind_of_model_beats_the_constant_predictor(tmp_path, learned_grid, kind):
    facts = _learn(learned_grid, tmp_path, {"direction": "forward"}, {"kind": kind, "layers": 1, "width": 32})
    assert facts["validation_loss"] < 0.75 * facts["constant_loss"]


def test_the_model_beats_the_constant_predictor_by_the_likelihood_of_actions(tmp_path, learned_grid):
    """A constant is at best as good as the actions' shares; no loss is below the entropy of what acted."""
    facts = _learn(learned_grid, tmp_path, "action_likelihood")
    assert 0 < facts["validation_loss"] < 0.8 * facts["constant_loss"] and facts["constant_loss"] < np.log(4) + 0.1


# Uniform actions, in a world that only a tabular encoding can hold


class _Ring(gym.Env):
    """300 states in a ring, of which one is left by as many steps as the action says, of 20."""

    observation_space, action_space = gym.spaces.Discrete(300), gym.spaces.Discrete(20)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0
        return self.state, {}

    def step(self, action):
        self.state = (self.state + int(action)) % 300
        return self.state, float(self.state % 7 == 0), False, False, {}


gym.register("Ring-v0", entry_point=_Ring, max_episode_steps=15)
RING = Environment(id="Ring-v0")


def _random(folder, entry, encoding):
    """A manifest of histories of uniform actions, under an encoding."""
    source = uniform.Options(environment="e", lifetimes=4, num_envs=4, num_updates=2, num_steps=60)
    store, paths = (str(folder / "h.zarr"), str(folder / "d.json")), (str(folder / "m.csv"), str(folder / "m.json"))
    collect(source, entry, "e", range(4), *store)
    write_manifest(Dataset(sources=["e"], encoding=encoding, held_out_lifetimes=0.25), [store], *paths)
    return paths


@pytest.mark.parametrize("kind", ["transformer", "lstm", "gated_delta"])
def test_actions_of_a_source_without_distributions_are_learned_from_and_acted_on(tmp_path, kind):
    """The agent can only learn that all 20 actions are equally likely, and that the other 12 in the encoding do not exist."""
    paths = _random(tmp_path, RING, tabular.Options(states=310, actions=32))
    facts = _learn(
        paths,
        tmp_path,
        "action_likelihood",
        {"kind": kind, "layers": 1, "width": 16},
        steps=20,
        batch_size=16,
        learning_rate=1e-3,
    )
    assert facts["constant_loss"] == pytest.approx(np.log(20), abs=0.1)
    assert facts["validation_loss"] == pytest.approx(np.log(20), abs=0.3)
    evaluation = Evaluation(environment="e", seeds=3, env_steps=40, context_length=8)
    found = run_agent(agent.load(tmp_path), RING, evaluation, "agent")
    assert (
        found.env_steps == 40 and len(found.rows) == 3 * 2 and (found.length == 10).all()
    )  # episodes of 15 steps, and a begun one


# Windows that are read in parts


def _in_parts(segment=16, kind="gated_delta", **options):
    return Agent(
        dataset="d", model={"kind": kind, "layers": 1, "width": 16}, windows={"kind": "consecutive", "steps": 40}, labels="recorded",
        loss={"kind": "action_likelihood", "prediction_weight": 1.0}, eta="none",
        training=TINY.training.model_dump() | {"learning_rate": 0.01, "segment": segment} | options,
    )  # fmt: skip


def test_windows_in_parts_have_the_losses_of_whole_ones_and_a_part_of_the_whole_length_is_the_window(tmp_path):
    paths = _random(tmp_path, RING, tabular.Options(states=300, actions=20))
    _losses_that_were_written_are_those_of_the_agent(_in_parts(), paths, tmp_path / "parts")
    whole, one_part = (_train(_in_parts(n), paths, tmp_path / str(n)) / "weights.safetensors" for n in (None, 40))
    assert whole.read_bytes() == one_part.read_bytes() != (tmp_path / "parts" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["gru", "gated_delta"])
def test_a_run_with_windows_in_parts_that_dies_goes_on_to_the_same_bytes(tmp_path, monkeypatch, kind):
    paths, config = _random(tmp_path, RING, tabular.Options(states=300, actions=20)), _in_parts(kind=kind)
    _goes_on_to_the_same_bytes(config, paths, tmp_path, monkeypatch)


@pytest.mark.parametrize("id, kwargs", [("gla/GridWorld-v0", {}), ("InvertedPendulum-v5", {"max_episode_steps": 40})])
def test_uniform_actions_are_labels_under_projections_too(tmp_path, id, kwargs):
    """The constant predictor has the entropy of what acted: a uniform distribution, or the Gaussian that is nearest to it."""
    paths = _random(tmp_path, Environment(id=id, kwargs=kwargs), projected.Options(projections="identity"))
    facts = _learn(paths, tmp_path, "action_likelihood", steps=150, batch_size=16, learning_rate=1e-3)
    # Uniform on [-3, 3] has variance 3.
    entropy = np.log(4) if "Grid" in id else 0.5 * np.log(2 * np.pi * np.e * 3)
    assert facts["constant_loss"] == pytest.approx(entropy, abs=0.1)
    assert facts["validation_loss"] < entropy + 0.3


# A copy of the model that follows it slowly


def test_a_run_with_a_slow_copy_that_dies_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    paths = _random(tmp_path, RING, tabular.Options(states=300, actions=20))
    config = Agent(**TINY.model_dump() | {"windows": {"kind": "consecutive", "steps": 12}, "labels": "recorded", "loss": "q_values", "eta": "none"})  # fmt: skip
    undisturbed = _goes_on_to_the_same_bytes(config, paths, tmp_path, monkeypatch)
    # The copy decides the weights, and is no part of them.
    at_once = _with(config, "loss", follows=1.0)
    assert (
        _bytes(_train(at_once, paths, tmp_path / "other"))["weights.safetensors"] != undisturbed["weights.safetensors"]
    )
    assert not [name for name in agent.load(tmp_path / "dies").model.state_dict() if "slow" in name]
