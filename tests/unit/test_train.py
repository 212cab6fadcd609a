import ast
import json
import os
import shutil
import signal
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gla import agent, augment, histories
from gla import train as train_module
from gla.config import PPO, Agent, Dataset, Environment, Model, Projections, model_kinds
from gla.files import CorruptFile
from gla.models.tokens import TOKEN, tokens
from gla.ppo import NumericalError
from gla.processes import processes
from gla.train import Interrupted, _Trainer, learning_rate, policy_loss, precision_for, train
from gla.windows import Windows

OUTPUTS = ("weights.safetensors", "metrics.jsonl", "by_position.csv", "agent.json")
TINY = Agent(
    dataset="d", sampling="relabelled", gap="max", eta="return", auxiliary_weight=1.0, pieces=2, piece_steps=4,
    model=Model(layers=1, width=16, heads=2), steps=9, batch=4, warmup=2, evaluate_every=3, precision="float32",
)  # fmt: skip


def _train(config, manifest, folder, scratch=None):
    train(config, "x", *manifest, folder, scratch or folder / "scratch")
    return folder


def _bytes(folder):
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, manifest):
    return _train(TINY, manifest, tmp_path_factory.mktemp("undisturbed"))


# The schedule


def test_the_learning_rate_rises_to_the_full_and_falls_to_a_tenth():
    config = TINY.model_copy(update={"steps": 100, "warmup": 10, "learning_rate": 1.0})
    rates = [learning_rate(config, s) for s in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)


@pytest.mark.parametrize("warmup", [0, 9, 20])
def test_any_warm_up_gives_rates_that_can_be_used(warmup):
    rates = [learning_rate(TINY.model_copy(update={"warmup": warmup}), s) for s in range(9)]
    assert all(0 < r <= TINY.learning_rate for r in rates)


@pytest.fixture
def alone():
    with processes("cpu") as own:
        yield own


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_precision_is_as_configured(alone, name):
    assert precision_for(TINY.model_copy(update={"precision": name}), alone) == getattr(torch, name)


@pytest.mark.parametrize("speed, expected", [(6.8, "bfloat16"), (2.3, "bfloat16"), (1.1, "float32"), (0.2, "float32")])
def test_automatic_precision_is_bfloat16_where_its_products_are_faster(alone, monkeypatch, speed, expected):
    monkeypatch.setattr(train_module, "bfloat16_speed", lambda device: speed)
    config = TINY.model_copy(update={"precision": "auto"})
    assert precision_for(config, alone) == getattr(torch, expected)


def test_the_speed_of_products_is_measured_in_both_types(alone, monkeypatch):
    """A clock that runs three seconds for each product in float32 and two for each in bfloat16."""
    ticks = iter([x for i in range(train_module.PRODUCTS) for x in (10 * i, 10 * i + 3, 10 * i + 5, 10 * i + 7)])
    monkeypatch.setattr(train_module.time, "perf_counter", lambda: next(ticks))
    assert train_module.bfloat16_speed(alone.device) == 1.5


# Bytes


def test_training_twice_gives_the_same_bytes(tmp_path, manifest, undisturbed):
    assert _bytes(_train(TINY, manifest, tmp_path)) == _bytes(undisturbed)
    other = _train(TINY.model_copy(update={"seed": 1}), manifest, tmp_path / "other")
    assert all(_bytes(other)[name] != content for name, content in _bytes(undisturbed).items())


def test_the_folder_is_what_is_documented(undisturbed, manifest):
    metrics = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in metrics] == [3, 6, 9]
    assert {"train_loss", "constant_loss", "validation_loss", "validation_constant_loss"} <= set(metrics[0])
    assert (undisturbed / "by_position.csv").read_text().count("\n") == 1 + 8
    body = json.loads((undisturbed / "agent.json").read_text())
    assert body["training"]["tokens"] == 9 * 4 * 8 and body["config"] == TINY.model_dump()
    assert not (undisturbed / "scratch/checkpoint.pt").exists()


def test_the_loss_on_training_lifetimes_is_not_taken_under_the_curriculum(tmp_path, manifest):
    """by_position.csv, beside the agent that was written, on the first batches as they are with and without it."""
    config = TINY.model_copy(update={"fixed_projection": 1.0, "batch": 16, "auxiliary_weight": 0.0})
    _train(config, manifest, tmp_path)
    found, model = pd.read_csv(tmp_path / "by_position.csv")["train_loss"], agent.load(tmp_path).model
    windows, losses, drawn = Windows(config, *augment.read_manifest(*manifest), "train"), {}, {}
    for curriculum in (False, True):
        batches = [windows.batch(i, config.batch, curriculum) for i in range(train_module.VALIDATION_BATCHES)]
        with torch.no_grad():
            each = [policy_loss(model(tokens(*b[:5]))[1], b, config.divergence).mean(0) for b in batches]
        losses[curriculum] = torch.stack(each).mean(0).numpy()
        drawn[curriculum] = [len(b.projection[~b.discrete].unique(dim=0)) for b in batches]
    assert min(drawn[False]) > 1 == drawn[True][0]
    np.testing.assert_allclose(found, losses[False], rtol=1e-4)
    assert not np.allclose(found, losses[True], rtol=1e-2)


def _after(monkeypatch, steps, act):
    """Let ``act`` happen before the optimiser step with this number."""
    original = _Trainer.train

    def wrapped(self, batch):
        if self.step == steps:
            act()
        original(self, batch)

    monkeypatch.setattr(_Trainer, "train", wrapped)


def _die():
    raise KeyboardInterrupt


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
    original, seen = _Trainer.train, []

    def wrapped(self, batch):
        seen.append(self.step)
        original(self, batch)

    monkeypatch.setattr(_Trainer, "train", wrapped)
    return seen


@pytest.mark.parametrize(
    "change, first", [({}, 6), ({"learning_rate": 1.0e-3}, 0), ({"steps": 12}, 0), ({"seed": 1}, 0)]
)
def test_a_checkpoint_of_another_config_is_ignored(tmp_path, manifest, monkeypatch, change, first):
    _after(monkeypatch, 7, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(TINY, manifest, tmp_path)
    monkeypatch.undo()
    seen, config = _first_step(monkeypatch), TINY.model_copy(update=change)
    again = _bytes(_train(config, manifest, tmp_path))
    assert seen == list(range(first, config.steps))
    assert again == _bytes(_train(config, manifest, tmp_path / "fresh"))


def test_a_checkpoint_of_other_data_is_ignored(tmp_path, manifest, grid_store, monkeypatch):
    other = str(tmp_path / "m.csv"), str(tmp_path / "m.json")
    augment.write_manifest(Dataset(environments=["grid"], projections=Projections(train=3)), [grid_store], *other)
    _after(monkeypatch, 7, _die)
    with pytest.raises(KeyboardInterrupt):
        _train(TINY, other, tmp_path)
    monkeypatch.undo()
    seen = _first_step(monkeypatch)
    _train(TINY, manifest, tmp_path)
    assert seen[0] == 0


PACKAGE = Path(train_module.__file__).parent
# What they hold decides no weight: sizes and defaults are in the config's own part of the fingerprint.
UNDECIDING = {"__init__.py", "config.py", "files.py", "progress.py", "watchdog.py", "environments/envpool.py"}


def _imported(name):
    """A module of the package and all of the package that it imports, as paths in it."""
    found, left = set(), [name]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gla":
                for full in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    path = "/".join(full.split(".")[1:])
                    left += [p for p in (f"{path}.py", f"{path}/__init__.py") if path and (PACKAGE / p).is_file()]
    return found


def test_a_checkpoint_knows_all_code_that_decides_the_weights():
    for kind in model_kinds():
        known = set(train_module._code(kind)) | UNDECIDING
        assert known >= _imported("train.py") | _imported(f"models/{kind}.py") >= {"ppo.py", f"models/{kind}.py"}


# What goes wrong


def test_a_loss_that_is_not_finite_names_the_agent_and_the_step(tmp_path, manifest, monkeypatch):
    original = Windows.batch

    def broken(self, index, size, *curriculum):
        batch = original(self, index, size, *curriculum)
        return batch._replace(reward=batch.reward / 0) if index == 5 else batch

    monkeypatch.setattr(Windows, "batch", broken)
    with pytest.raises(NumericalError, match="agent 'x', step 5: .*not finite"):
        _train(TINY, manifest, tmp_path)
    assert not any((tmp_path / name).exists() for name in OUTPUTS)
    assert (tmp_path / "scratch/checkpoint.pt").exists()


def test_a_held_out_loss_that_is_not_finite_is_not_saved(tmp_path, manifest, monkeypatch):
    original = _Trainer.evaluate

    def broken(self, windows):
        losses = original(self, windows)
        return losses | {"loss": losses["loss"] / 0} if self.step == 6 else losses

    monkeypatch.setattr(_Trainer, "evaluate", broken)
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
    entry, paths = Dataset(environments=["grid"]), (tmp_path / "n.csv", tmp_path / "n.json")
    augment.write_manifest(entry, [(str(store), str(digest))], *paths)
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
    assert loaded.config == TINY and loaded.manifest == augment.read_manifest(*manifest)[1]
    assert not loaded.identity_projection and not loaded.model.training
    x = torch.randn(1, 5, TOKEN)
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
    learner = {"epochs": 4, "minibatches": 4, "learning_rate": 3.0e-3, "anneal_learning_rate": False}
    ppo = PPO(updates=30, steps=20, normalize_observations=False, **learner)
    entry = Environment(id="gla/GridWorld-v0", kwargs={"goal": [2, 2]}, lifetimes=12, streams=4, ppo=ppo)
    store, paths = (str(folder / "h.zarr"), str(folder / "d.json")), (str(folder / "m.csv"), str(folder / "m.json"))
    histories.collect(entry, "grid", range(12), *store)
    augment.write_manifest(Dataset(environments=["grid"], projections=Projections(kind="identity")), [store], *paths)
    return paths


def test_the_model_beats_the_constant_predictor(tmp_path, learned_grid):
    config = Agent(
        dataset="d", gap="max", normalize=False, pieces=2, steps=60, batch=32, warmup=5, evaluate_every=60, divergence="forward",
        model=Model(layers=1, width=32, heads=2), learning_rate=1.0e-2, precision="float32",
    )  # fmt: skip
    _train(config, learned_grid, tmp_path)
    facts = json.loads((tmp_path / "agent.json").read_text())["training"]
    assert facts["constant_loss"] > 0.3
    assert facts["validation_loss"] < 0.6 * facts["constant_loss"]
