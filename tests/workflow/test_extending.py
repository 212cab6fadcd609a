"""What README and docs/extend.md say of extending, done: their own words are the input, and the files that they touch are counted."""

import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from checkouts import ROOT, SOURCES, copied


def _section(title):
    pages = "".join((ROOT / page).read_text() for page in ("README.md", "docs/extend.md"))
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", pages, re.DOTALL | re.MULTILINE)[1]


def _block(title, language):
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", _section(title), re.DOTALL | re.MULTILINE)
    return block


def _add(folder, title):
    """The kind that a section shows: its file, and its line in the folder's registry. The paths of both."""
    text = _section(title)
    (path,) = re.findall(r"`(src/gla/\w+/\w+\.py)`:\n", text)
    (registry,) = re.findall(r"`(src/gla/\w+/kinds\.py)`", text)
    (line,) = re.findall(r"`(\"\w+\": \"gla\.\w+\.\w+\",)`", text)
    (folder / path).write_text(_block(title, "python"))
    (folder / registry).write_text((folder / registry).read_text().replace("{", "{" + line, 1))
    return [path, registry]


@pytest.fixture
def checkout(tmp_path):
    return copied(tmp_path)


def _files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for n in SOURCES for p in (folder / n).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts}  # fmt: skip


def _make(folder, raw, target):
    """One result under an edited smoke config."""
    (folder / "config/smoke.yaml").write_text(yaml.safe_dump(raw))
    command = [sys.executable, "-m", "snakemake", "--configfile", "config/smoke.yaml", "--cores", "2", target]
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _touched(before, folder):
    after = _files(folder)
    return sorted(name for name in after.keys() | before.keys() if after.get(name) != before.get(name))


def test_an_environment_is_added_by_its_entry_alone(checkout):
    before, raw = _files(checkout), yaml.safe_load((checkout / "config/smoke.yaml").read_text())
    added = yaml.safe_load(_block("Add an environment", "yaml"))
    # The same entries, at the smoke config's scale and with its agent.
    walker, evaluation = added["environments"]["walker"], added["evaluations"]["walker"]
    walker["kwargs"] |= {"max_episode_steps": 20}
    walker["reference"] |= {"env_steps": 256, "num_envs": 2}
    evaluation |= {"agents": ["projected_max"], "env_steps": 40, "seeds": 2}
    raw["figures"] = {}
    for kind, entries in added.items():
        raw[kind] |= entries
    raw["datasets"]["projected"]["sources"] = ["pendulum"]
    raw["agents"]["projected_max"]["training"] = {"steps": 2, "batch_size": 8, "evaluate_every": 2}
    _make(checkout, raw, "results/smoke/figures/walker.png")
    assert _touched(before, checkout) == ["config/smoke.yaml"]
    frame = pd.read_csv(checkout / "results/smoke/figures/walker.csv")
    conditions = {"agent", "rewards_hidden", "rewards_shuffled", "random", "zero_action", "reference"}
    assert set(frame["environment"]) == {"walker"} and conditions < set(frame["condition"])  # and the best online learner
    runs = pd.read_parquet(checkout / "results/smoke/rollouts/walker/baseline/reference.parquet")["training_seed"]
    assert set(runs) == set(range(walker["reference"]["runs"]))
    # Nothing was collected where nothing is trained.
    assert [p.name for p in sorted((checkout / "results/smoke/histories").iterdir()) if p.is_dir()] == ["pendulum"]


def test_a_figure_is_added_by_one_file_one_line_and_its_entry(checkout):
    before, raw = _files(checkout), yaml.safe_load((checkout / "config/smoke.yaml").read_text())
    added = _add(checkout, "Add a figure")
    figure = yaml.safe_load(_block("Add a figure", "yaml"))["figures"]
    figure["lengths"]["panels"][0]["evaluation"] = "grid"
    raw["figures"] = figure
    raw["evaluations"]["grid"] |= {"agents": ["grid_gap1"], "baselines": [], "episodes": 2}
    _make(checkout, raw, "results/smoke/figures/lengths.png")
    assert _touched(before, checkout) == sorted(["config/smoke.yaml", *added])
    frame = pd.read_csv(checkout / "results/smoke/figures/lengths.csv")
    assert set(frame["condition"]) == {"agent", "rewards_hidden", "rewards_shuffled"} and (frame["mean"] == 10).all()


def test_a_model_is_added_by_one_file_one_line_and_its_entry(checkout):
    before, raw = _files(checkout), yaml.safe_load((checkout / "config/smoke.yaml").read_text())
    added = _add(checkout, "Add a model")
    kind = yaml.safe_load(_block("Add a model", "yaml"))["agents"]["recurrent"]["model"]
    raw["agents"]["grid_gap1"] |= {"model": {"kind": kind, "width": 32}, "training": {"steps": 2, "batch_size": 8, "evaluate_every": 2}}
    raw["figures"] = {"recurrent": {"kind": "in_context", "panels": [{"evaluation": "grid"}]}}
    conditions = ["agent", "context_wiped"]
    raw["evaluations"]["grid"] |= {"agents": ["grid_gap1"], "baselines": [], "episodes": 2, "conditions": conditions}
    _make(checkout, raw, "results/smoke/figures/recurrent.png")
    assert _touched(before, checkout) == sorted(["config/smoke.yaml", *added])
    assert set(pd.read_csv(checkout / "results/smoke/figures/recurrent.csv")["condition"]) >= set(conditions)


def test_windows_labels_and_a_loss_are_added_by_one_file_and_one_line_each(checkout):
    before, raw = _files(checkout), yaml.safe_load((checkout / "config/smoke.yaml").read_text())
    agent, touched = raw["agents"]["projected_max"], ["config/smoke.yaml"]
    for title, key in (("Add windows", "windows"), ("Add labels", "labels"), ("Add a loss", "loss")):
        touched += _add(checkout, title)
        (entry,) = yaml.safe_load(_block(title, "yaml"))["agents"].values()
        agent[key] = entry[key]
    agent["windows"] |= {"chunks": 4, "chunk_steps": 10}
    agent["training"] = {"steps": 2, "batch_size": 8, "evaluate_every": 2}
    target = "results/smoke/agents/projected_max/metrics.jsonl"
    _make(checkout, raw, target)  # of discrete and of continuous actions
    assert _touched(before, checkout) == sorted(touched)
    assert json.loads((checkout / target).read_text().splitlines()[-1])["validation_loss"] >= 0
