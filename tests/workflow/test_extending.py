"""What README says of extending, done: its own words are the input, and the files that they touch are counted."""

import os
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from checkouts import ROOT, SOURCES, copied


def _section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[1]


def _block(title, language):
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", _section(title), re.DOTALL | re.MULTILINE)
    return block


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
    walker["reference"] |= {"steps": 256, "streams": 2}
    evaluation |= {"agents": ["projected_max"], "steps": 40, "seeds": 2}
    raw["figures"] = {}
    for kind, entries in added.items():
        raw[kind] |= entries
    raw["datasets"]["projected"]["environments"] = ["pendulum"]
    raw["agents"]["projected_max"] |= {"steps": 2, "evaluate_every": 2}
    _make(checkout, raw, "results/smoke/figures/walker.png")
    assert _touched(before, checkout) == ["config/smoke.yaml"]
    frame = pd.read_csv(checkout / "results/smoke/figures/walker.csv")
    conditions = {"agent", "rewards_hidden", "rewards_shuffled", "random", "zero_action", "reference"}
    assert set(frame["environment"]) == {"walker"} and conditions < set(frame["condition"])  # and the best online learner
    runs = pd.read_parquet(checkout / "results/smoke/rollouts/walker/baseline/reference.parquet")["training_seed"]
    assert set(runs) == set(range(walker["reference"]["runs"]))
    # Nothing was collected where nothing is trained.
    assert [p.name for p in sorted((checkout / "results/smoke/histories").iterdir()) if p.is_dir()] == ["pendulum"]


def test_a_figure_is_added_by_one_file_and_its_entry(checkout):
    before, raw = _files(checkout), yaml.safe_load((checkout / "config/smoke.yaml").read_text())
    path = re.search(r"`(src/gla/figures/\w+\.py)`", _section("Add a figure"))[1]
    (checkout / path).write_text(_block("Add a figure", "python"))
    figure = yaml.safe_load(_block("Add a figure", "yaml"))["figures"]
    figure["lengths"]["panels"][0]["evaluation"] = "grid"
    raw["figures"] = figure
    raw["evaluations"]["grid"] |= {"agents": ["grid_gap1"], "baselines": [], "episodes": 2}
    _make(checkout, raw, "results/smoke/figures/lengths.png")
    assert _touched(before, checkout) == ["config/smoke.yaml", path]
    frame = pd.read_csv(checkout / "results/smoke/figures/lengths.csv")
    assert set(frame["condition"]) == {"agent", "rewards_hidden", "rewards_shuffled"} and (frame["mean"] == 10).all()


def test_a_model_is_added_by_one_file_and_its_entry(checkout):
    before, raw = _files(checkout), yaml.safe_load((checkout / "config/smoke.yaml").read_text())
    path = re.search(r"`(src/gla/models/gru\.py)`", _section("Add a model"))[1]
    (checkout / path).write_text(_block("Add a model", "python"))
    kind = yaml.safe_load(_block("Add a model", "yaml"))["agents"]["recurrent"]["model"]["kind"]
    raw["agents"]["grid_gap1"] |= {"model": {"kind": kind, "width": 32}, "steps": 2, "evaluate_every": 2}
    raw["figures"] = {"recurrent": {"kind": "in_context", "panels": [{"evaluation": "grid"}]}}
    conditions = ["agent", "context_wiped"]
    raw["evaluations"]["grid"] |= {"agents": ["grid_gap1"], "baselines": [], "episodes": 2, "conditions": conditions}
    _make(checkout, raw, "results/smoke/figures/recurrent.png")
    assert _touched(before, checkout) == ["config/smoke.yaml", path]
    assert set(pd.read_csv(checkout / "results/smoke/figures/recurrent.csv")["condition"]) >= set(conditions)
