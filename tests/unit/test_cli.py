"""The command, in this process where its status and words are looked at, and in its own where imports or a terminal are."""

import contextlib
import os
import pty
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import torch

import gla
from gla import cli
from gla.sources import random
from gla.storage.collecting import collect

ROOT = Path(__file__).parents[2]
SHORT = ["--kwargs", "{max_episode_steps: 20}", "--episodes", "2", "--seeds", "2"]


def _run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    return status, *capsys.readouterr()


def test_the_entry_point_is_there():
    module, _, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["gla"].partition(
        ":"
    )
    assert getattr(import_module(module), function) is cli.main


@pytest.mark.parametrize(
    "command", [[], *[[c] for c in ("learn", "verify", "inspect", "export", "card", "new", "run")]]
)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--help"])
    assert stopped.value.code == 0
    assert f"\n  gla {' '.join(command)}".rstrip() in capsys.readouterr().out.partition("example")[2]


def test_help_and_the_package_import_no_torch():
    code = "import sys, gla, gla.cli\ntry: gla.cli.main(['learn', '--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_that_a_user_asks_for_come_alone_and_rows_of_one_seed_have_no_interval(agent_folder, tmp_path, capsys):
    plot, rows = tmp_path / "out.png", tmp_path / "out.parquet"
    short = ["--kwargs", "{max_episode_steps: 20}", "--episodes", "2", "--seeds", "1", "--conditions", "agent"]
    status, out, _ = _run(
        capsys, "learn", "--agent", agent_folder, "--env", "InvertedPendulum-v5", *short, "--plot", plot, "--rows", rows
    )
    assert status == 0 and {p.name for p in tmp_path.iterdir()} == {"out.png", "out.parquet"}
    assert len(pd.read_parquet(rows)) == 2 and "[" not in out and "interval" not in out


@pytest.mark.parametrize("command", [["-m", "gla"], ["-m", "gla.cli"]])
def test_it_says_its_version_as_a_module_too(command):
    done = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"gla {gla.__version__}\n")


def test_learn_prints_draws_and_writes(agent_folder, tmp_path, capsys):
    plot, rows = tmp_path / "out.png", tmp_path / "out.csv"
    status, out, _ = _run(
        capsys, "learn", "--agent", agent_folder, "--env", "InvertedPendulum-v5", *SHORT, "--plot", plot, "--rows", rows
    )
    assert status == 0 and plot.read_bytes().startswith(b"\x89PNG")
    frame = pd.read_csv(rows)
    conditions = ["agent", "rewards_hidden", "rewards_shuffled", "random", "zero_action"]
    assert list(frame["condition"].unique()) == conditions and len(frame) == 2 * 2 * 5
    zero = frame[frame["condition"] == "zero_action"]
    line = next(x for x in out.splitlines() if "zero_action" in x)
    assert f"{zero.loc[zero['episode'] == 0, 'episode_return'].mean():.4g} [" in line


def test_learn_is_on_the_device_that_is_free(agent_folder, monkeypatch, capsys):
    asked = []

    @contextlib.contextmanager
    def device():
        asked.append("begin")
        yield torch.device("cpu")
        asked.append("end")

    monkeypatch.setattr("gla.devices.device", device)
    assert _run(capsys, "learn", "--agent", agent_folder, "--env", "InvertedPendulum-v5", *SHORT)[0] == 0
    assert asked == ["begin", "end"]


def test_a_module_of_the_users_own_registers_its_environment(agent_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "mymodule.py").write_text(
        "import gymnasium as gym\n"
        "gym.register('MyEnv-v0', 'gymnasium.envs.classic_control.pendulum:PendulumEnv', max_episode_steps=15)\n"
    )
    monkeypatch.chdir(tmp_path)
    command = [
        "learn",
        "--agent",
        agent_folder,
        "--env",
        "MyEnv-v0",
        "--episodes",
        "1",
        "--seeds",
        "2",
        "--conditions",
        "agent",
    ]
    status, _, error = _run(capsys, *command)
    assert status == 2 and "'MyEnv-v0'" in error
    status, out, _ = _run(capsys, *command, "--import", "mymodule")
    assert status == 0 and "agent" in out
    by_module = ["other:MyEnv-v1" if c == "MyEnv-v0" else c for c in command]  # Gymnasium's own way to name a module
    (tmp_path / "other.py").write_text((tmp_path / "mymodule.py").read_text().replace("-v0", "-v1"))
    assert _run(capsys, *by_module)[0] == 0
    status, _, error = _run(capsys, *command, "--import", "nosuchmodule")
    assert (status, error.splitlines()) == (2, ["gla learn: error: No module named 'nosuchmodule'"])


@pytest.mark.parametrize(
    "command, expected, words",
    [
        (["learn", "--agent", "AGENT", "--env", "NoSuch-v0"], 2, "environment 'NoSuch-v0'"),
        (["learn", "--agent", "nowhere", "--env", "Hopper-v5"], 1, "nowhere/agent.json: missing"),
        (["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--seeds", "0"], 2, "seeds: 0 (expected"),
        (["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--kwargs", "3"], 2, "--kwargs: '3' (expected a mapping"),
        (
            ["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--plot", "no/x.png"],
            2,
            "--plot: 'no/x.png' (expected a file in a folder that exists)",
        ),
        (
            ["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--rows", "x.xls"],
            2,
            "--rows: 'x.xls' (expected a file whose name ends with .csv or",
        ),
        (
            ["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--kwargs", "{a: 1, a: 2}"],
            2,
            "--kwargs: line 1: a: in line 1 already",
        ),
        (
            ["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--kwargs", "{a: 2024-01-01}"],
            2,
            "--kwargs: line 1: a: '2024-01-01' is",
        ),
        (["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--kwargs", "{"], 2, "--kwargs: line 1: "),
        (
            ["learn", "--agent", "AGENT", "--env", "Humanoid-v5"],
            2,
            "348 observation dimensions (expected at most 64 for the encoding",
        ),
        (
            ["learn", "--agent", "omni", "--env", "CartPole-v1"],
            2,
            "environment 'CartPole-v1': observations of 4 numbers (expected Discrete ones",
        ),
        (
            ["learn", "--agent", "AGENT", "--env", "Hopper-v5", "--conditions", "agentt"],
            2,
            "conditions: 'agentt' (expected some of agent, rewards_hidden, rewards_shuffled, context_wiped, random, zero_action, online_ppo",
        ),
        (["inspect", "nowhere"], 1, "nowhere/history.zarr: missing"),
        (["export", "nowhere", "--minari", "--id", "x/y-v0"], 1, "nowhere/history.zarr: missing"),
        (["card", "nowhere"], 1, "nowhere/agent.json: missing"),
        (["new", "my-lab"], 2, "name: 'my-lab' (expected a name that a Python module may have"),
        (["new", "glass"], 2, "name: 'glass' (expected"),
        (["run", "nowhere.yaml"], 2, "config: 'nowhere.yaml' (expected a file)"),
    ],
)
def test_an_error_is_one_sentence_and_a_status(agent_folder, tmp_path, monkeypatch, capsys, command, expected, words):
    monkeypatch.chdir(tmp_path)
    status, out, error = _run(capsys, *[str(agent_folder) if c == "AGENT" else c for c in command])
    assert (status, out) == (expected, "")
    assert error.startswith(f"gla {command[0]}: error: ") and words in error and error.count("\n") == 1


def test_a_card_with_scores_is_not_replaced_by_one_without(agent_folder, tmp_path, capsys):
    folder = shutil.copytree(agent_folder, tmp_path / "agent")
    assert _run(capsys, "card", folder)[0] == 0
    before = (folder / "README.md").read_bytes()
    status, _, error = _run(capsys, "card", folder)
    assert status == 2 and "a card, whose scores would be lost (expected rollouts" in error
    assert (folder / "README.md").read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["learn"],
        ["dance"],
        ["collect", "--config", "c.yaml", "grid"],
        ["learn", "--agent", "a", "--env", "e", "--episodes", "x"],
    ],
)
def test_wrong_usage_is_status_2(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(command)
    assert stopped.value.code == 2 and "usage: gla" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch, agent_folder):
    monkeypatch.setattr("gla.api.load", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["learn", "--agent", str(agent_folder), "--env", "Hopper-v5"])


def test_verify_names_what_was_altered(grid_source, grid_entry, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store, digest = "results/histories/grid/0-1/history.zarr", "results/histories/grid/0-1.json"
    collect(grid_source, grid_entry, "grid", range(2), store, digest)
    status, out, _ = _run(capsys, "verify", "results")
    assert status == 0 and out == "results: nothing is missing, altered or cut off\n"
    (tmp_path / digest).write_text("{}")
    status, out, _ = _run(capsys, "verify", "results")
    assert status == 1 and "histories/grid/0-1.json" in out


@pytest.mark.parametrize("name", ["grid", "pendulum"])
def test_inspect_prints_the_schema_and_draws(request, name, tmp_path, capsys):
    store, _ = request.getfixturevalue(f"{name}_store")
    status, out, _ = _run(capsys, "inspect", store, "--plot", tmp_path / "h.png")
    assert status == 0 and (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    assert ("logits" in out) == (name == "grid") and ("\nlog_std " in out) == (name == "pendulum")
    first = {
        "grid": "4 lifetimes x 2 streams x 6 updates x 20 steps",
        "pendulum": "3 lifetimes x 2 streams x 5 updates x 64 steps",
    }
    assert first[name] in out
    assert "(lifetime 4, stream 2, step 120, observation 9)" in out or name != "grid"


def test_inspect_draws_histories_whose_source_writes_no_distributions(tmp_path, capsys, grid_entry):
    source = random.Options(environment="grid", lifetimes=1, num_envs=2, num_steps=30)
    collect(source, grid_entry, "walk", range(1), str(tmp_path / "history.zarr"), str(tmp_path / "digest.json"))
    status, out, _ = _run(capsys, "inspect", tmp_path, "--plot", tmp_path / "h.png")
    assert status == 0 and (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "gla/GridWorld-v0 (walk): 1 lifetimes x 2 streams x 1 updates x 30 steps, discrete actions" in out
        and "logits" not in out
    )


def test_inspect_says_that_a_store_is_damaged(pendulum_store, tmp_path, capsys):
    folder = tmp_path / "s"
    shutil.copytree(Path(pendulum_store[0]).parent, folder)
    chunk = next(p for p in (folder / "history.zarr/reward").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:-9])
    status, _, error = _run(capsys, "inspect", folder, "--plot", tmp_path / "h.png")
    assert status == 1 and "altered or cut off" in error and not (tmp_path / "h.png").exists()


PROGRESS = """
import time
from gla import progress
from gla.job import job
def work():
    p = progress.Progress("x", 4, "steps", every=0)
    for _ in range(4):
        time.sleep(0.25); p.advance(1)
"""


def _terminal(code):
    """Runs a program, and returns what it writes to a terminal."""
    leader, follower = pty.openpty()
    done = subprocess.Popen([sys.executable, "-c", PROGRESS + code], stderr=follower)
    os.close(follower)
    text = b""
    try:
        while part := os.read(leader, 1000):
            text += part
    except OSError:  # the other side was closed
        pass
    os.close(leader)
    assert done.wait() == 0
    return text.decode()


def test_progress_is_one_rewritten_line_on_a_terminal_and_plain_lines_elsewhere():
    own = _terminal("work()")
    assert own.count("\r[x]") == 4 and own.count("\n") == 1
    assert all(f"{n}/4 steps" in own for n in range(1, 5))
    shared = _terminal("with job(1): work()")  # a workflow's jobs share their terminal
    assert "\r[x]" not in shared and shared.count("\n") == 4
    piped = subprocess.run([sys.executable, "-c", PROGRESS + "work()"], capture_output=True, text=True, check=True)
    assert piped.stderr.count("\n") == 4 and "\r" not in piped.stderr


def test_what_is_there_is_not_overwritten_by_a_new_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mylab").mkdir()
    status, _, error = _run(capsys, "new", "mylab")
    assert status == 2 and "name: 'mylab', which is there (expected a new folder)" in error
    assert list((tmp_path / "mylab").iterdir()) == []
