"""Training in several processes, through torchrun."""

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from gla.config.agents import Agent
from gla.devices import free_gpu
from gla.losses import divergence
from gla.models import transformer
from gla.options import ConfigError
from gla.processes import Processes
from gla.trainers import distillation
from gla.windows import rising_quality

OUTPUTS = ("weights.safetensors", "metrics.jsonl", "by_position.csv", "agent.json")
TINY = Agent(
    dataset="d", windows=rising_quality.Options(gap="max", chunks=2, chunk_steps=4), labels="later_policy", eta="return",
    loss=divergence.Options(prediction_weight=1.0), model=transformer.Options(layers=1, width=16, heads=2),
    training=distillation.Options(steps=9, batch_size=4, warmup=2, evaluate_every=3, precision="float32"),
)  # fmt: skip

# As workflow/scripts/train.py does it, and `before` each step of rank 1.
SCRIPT = """
import os, signal
from gla import processes, train
from gla.config.agents import Agent
from gla.job import job
from gla.trainers import distillation

def step(self, batch, original=distillation.Trainer.train):
    if self.own.rank == {processes} - 1 and self.step == {at}:
        {before}
    original(self, batch)

distillation.Trainer.train = step
with job(1):
    processes.launch({processes}, {machines}, {command!r})
    train.train(Agent.model_validate({config!r}), "x", {{}}, *{manifest!r}, "agent", "scratch")
"""


def _train(folder, manifest, config=TINY, processes=2, machines=1, command="", at=-1, before="pass"):
    """Output and exit status of training in ``folder``."""
    values = {"processes": processes, "machines": machines, "command": command, "at": at, "before": before}
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(SCRIPT.format(**values, config=config.model_dump(), manifest=manifest))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout + done.stderr, done.returncode


def _bytes(folder):
    return {name: (folder / "agent" / name).read_bytes() for name in OUTPUTS}


def _metrics(folder):
    return [json.loads(line) for line in (folder / "agent/metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one(tmp_path_factory, manifest):
    folder = tmp_path_factory.mktemp("one")
    assert _train(folder, manifest, processes=1)[1] == 0
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory, manifest):
    folder = tmp_path_factory.mktemp("two")
    output, status = _train(folder, manifest)
    assert status == 0, output
    return folder


def _same_numbers(folder, other):
    """Equal but for the order in which numbers are added."""
    for row, expected in zip(_metrics(folder), _metrics(other), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    weights, expected = (load_file(x / "agent/weights.safetensors") for x in (folder, other))
    for name, value in expected.items():
        assert (weights[name] - value).abs().max() < 1e-4 * value.abs().max().clamp_min(0.01), name


def test_two_processes_have_the_losses_and_weights_of_one(one, two):
    _same_numbers(two, one)
    assert not list(two.glob("scratch/checkpoint.pt"))


@pytest.mark.slow
def test_launchers_of_several_machines_find_each_other(tmp_path, manifest, two):
    """Two launchers, as srun would start them; here both on this machine."""
    output, status = _train(tmp_path, manifest, machines=2, command='bash -c \'"$@" & "$@" && wait $!\' both')
    assert status == 0, output
    assert _bytes(tmp_path) == _bytes(two)


@pytest.mark.slow
def test_one_that_is_told_to_stop_stops_both_and_both_go_on_to_the_same_bytes(tmp_path, manifest, two):
    output, status = _train(tmp_path, manifest, at=4, before="os.kill(os.getpid(), signal.SIGTERM)")
    assert status != 0 and "stopped at step 5 of 9" in output
    assert not (tmp_path / "agent/agent.json").exists()
    output, status = _train(tmp_path, manifest)
    assert status == 0 and "going on from step 5 of 9" in output
    assert _bytes(tmp_path) == _bytes(two)


@pytest.mark.slow
def test_one_that_dies_ends_both_and_both_go_on_to_the_same_bytes(tmp_path, manifest, two):
    output, status = _train(tmp_path, manifest, at=4, before="os.kill(os.getpid(), signal.SIGKILL)")
    assert status != 0 and not (tmp_path / "agent/agent.json").exists()
    output, status = _train(tmp_path, manifest)
    assert status == 0 and "going on from step 3 of 9" in output
    assert _bytes(tmp_path) == _bytes(two)


@pytest.mark.slow
def test_a_checkpoint_of_another_number_of_processes_is_ignored(tmp_path, manifest, one):
    assert _train(tmp_path, manifest, at=4, before="os.kill(os.getpid(), signal.SIGTERM)")[1] != 0
    output, status = _train(tmp_path, manifest, processes=1)
    assert status == 0 and "going on" not in output
    assert _bytes(tmp_path) == _bytes(one)


def test_a_batch_that_cannot_be_shared_is_named(tmp_path, manifest):
    output, status = _train(
        tmp_path,
        manifest,
        config=TINY.model_copy(update={"training": TINY.training.model_copy(update={"batch_size": 5})}),
    )
    assert status != 0
    assert "error: agents.x.training.batch_size: 5 (expected a multiple of the 2 processes that share it)" in output


def test_processes_that_cannot_be_shared_by_the_machines_are_named(tmp_path, manifest):
    output, status = _train(tmp_path, manifest, processes=3, machines=2)
    assert status == 1 and output.startswith("error: 3 processes on 2 machines (expected a multiple of 2)")


def test_more_processes_than_gpus_are_named(monkeypatch):
    for name, value in {"WORLD_SIZE": 100, "LOCAL_WORLD_SIZE": 100, "RANK": 0, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ConfigError, match=r"100 processes on a machine with \d+ GPUs"):
        Processes("cuda")


@pytest.mark.parametrize("visible", ["", "4,6", "GPU-a,GPU-b"])
def test_jobs_of_one_machine_take_a_gpu_each_while_there_are_any(tmp_path, monkeypatch, visible):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with free_gpu() as first, free_gpu() as second, free_gpu() as third:
        assert (first, second, third) == (0, 1, 0)
    with free_gpu() as first:  # as long as it is used, and no longer
        assert first == 0
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "9")  # what a scheduler gave to this job alone
        with free_gpu() as other:
            assert other == 0
