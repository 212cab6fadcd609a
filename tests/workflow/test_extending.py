"""Follows the instructions in README.md and docs/extend.md for extending. The text itself is the input, and the files that it
touches are counted.
"""

import ast
import json
import re

import pandas as pd
import pytest
import yaml
from checkouts import ROOT, SOURCES, copied, register
from warm import snakemake

TEXT = (ROOT / "README.md").read_text() + (ROOT / "docs/extend.md").read_text()


def _section(title):
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    return section


def _block(title, language):
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", _section(title), re.DOTALL | re.MULTILINE)
    return block


def _entry(title, noun):
    """The one entry of a noun that a section adds to the config."""
    (entry,) = yaml.safe_load(_block(title, "yaml"))[noun].values()
    return entry


def _extend(folder, title):
    """Add the file and the line of a section. Returns the two files."""
    section = _section(title)
    path, registry = (
        re.search(r"`(src/gla/\w+/(?!kinds)\w+\.py)`:\n", section)[1],
        re.search(r"`(src/gla/\w+/kinds\.py)`", section)[1],
    )
    assert not (folder / path).exists()  # or who follows the page would overwrite a kind that is there
    (folder / path).write_text(_block(title, "python"))
    register(folder / registry, re.search(r"`(\"\w+\": \"gla\.\w+\.\w+\",)`", section)[1])
    return [registry, path]


@pytest.fixture
def checkout(tmp_path):
    return copied(tmp_path)


def _files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for n in SOURCES for p in (folder / n).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts}  # fmt: skip


def _config(folder):
    """The smoke config, whose agents are trained for two steps."""
    raw = yaml.safe_load((folder / "config/smoke.yaml").read_text())
    for agent in raw["agents"].values():
        agent["training"] = {"steps": 2, "batch_size": 8, "evaluate_every": 2}
    return raw


def _make(folder, raw, target, *arguments):
    """One result under an edited smoke config."""
    (folder / "config/smoke.yaml").write_text(yaml.safe_dump(raw))
    output, status = snakemake(folder, "--configfile", "config/smoke.yaml", "--cores", "2", *arguments, target)
    assert status == 0, output


def _touched(before, folder):
    after = _files(folder)
    return sorted(name for name in after.keys() | before.keys() if after.get(name) != before.get(name))


def test_an_environment_is_added_by_its_entry_alone(checkout):
    before, raw = _files(checkout), _config(checkout)
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
    _make(checkout, raw, "results/smoke/figures/walker.png")
    assert _touched(before, checkout) == ["config/smoke.yaml"]
    frame = pd.read_csv(checkout / "results/smoke/figures/walker.csv")
    conditions = {"agent", "rewards_hidden", "rewards_shuffled", "random", "zero_action", "reference"}
    assert set(frame["environment"]) == {"walker"} and conditions < set(
        frame["condition"]
    )  # and the best online learner
    runs = pd.read_parquet(checkout / "results/smoke/rollouts/walker/baseline/reference.parquet")["training_seed"]
    assert set(runs) == set(range(walker["reference"]["runs"]))
    # Nothing was collected where nothing is trained.
    assert [p.name for p in sorted((checkout / "results/smoke/histories").iterdir()) if p.is_dir()] == ["pendulum"]


def test_a_figure_is_added_by_one_file_its_line_and_its_entry(checkout):
    before, raw, written = _files(checkout), _config(checkout), _extend(checkout, "Add a figure")
    figure = _entry("Add a figure", "figures")
    figure["panels"][0]["evaluation"] = "grid"
    raw["figures"] = {"lengths": figure}
    raw["evaluations"]["grid"] |= {"agents": ["grid_gap1"], "baselines": [], "episodes": 2}
    target = "results/smoke/figures/lengths.png"
    _make(checkout, raw, target)
    # Its caption in the report is the docstring of its file.
    said = ast.get_docstring(ast.parse(_block("Add a figure", "python"))).partition("'")[0]
    _make(checkout, raw, target, "--report", "report.html")
    assert said == "Length of an agent" and said in (checkout / "report.html").read_text()
    assert _touched(before, checkout) == sorted(["config/smoke.yaml", *written])
    frame = pd.read_csv(checkout / "results/smoke/figures/lengths.csv")
    assert set(frame["condition"]) == {"agent", "rewards_hidden", "rewards_shuffled"} and (frame["mean"] == 10).all()


def test_a_model_is_added_by_one_file_its_line_and_its_entry(checkout):
    before, raw, written = _files(checkout), _config(checkout), _extend(checkout, "Add a model")
    raw["agents"]["grid_gap1"]["model"] = _entry("Add a model", "agents")["model"]
    raw["figures"] = {"recurrent": {"kind": "in_context", "panels": [{"evaluation": "grid"}]}}
    conditions = ["agent", "context_wiped"]
    raw["evaluations"]["grid"] |= {"agents": ["grid_gap1"], "baselines": [], "episodes": 2, "conditions": conditions}
    _make(checkout, raw, "results/smoke/figures/recurrent.png")
    assert _touched(before, checkout) == sorted(["config/smoke.yaml", *written])
    assert set(pd.read_csv(checkout / "results/smoke/figures/recurrent.csv")["condition"]) >= set(conditions)


def test_windows_labels_and_a_loss_are_added_by_one_file_a_line_and_an_entry_each(checkout):
    before, raw = _files(checkout), _config(checkout)
    titles = {"windows": "Add windows", "labels": "Add labels", "loss": "Add a loss"}
    written = [file for title in titles.values() for file in _extend(checkout, title)]
    added = {key: _entry(title, "agents")[key] for key, title in titles.items()}
    raw["agents"]["grid_gap1"] |= added
    _make(checkout, raw, "results/smoke/agents/grid_gap1/agent.json")
    assert _touched(before, checkout) == sorted(["config/smoke.yaml", *written])
    config = json.loads((checkout / "results/smoke/agents/grid_gap1/agent.json").read_text())["config"]
    kinds = {key: entry if isinstance(entry, str) else entry["kind"] for key, entry in added.items()}
    assert {key: config[key]["kind"] for key in titles} == kinds
