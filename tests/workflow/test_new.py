"""A package of one's own: what `gla new` writes is installed, its kind counts as code of the pipeline, and `gla run` makes its config."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from gla import cli


def _python(*words, folder, site=None):
    env = os.environ | ({"PYTHONPATH": str(site)} if site else {})
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A new package, and where it is installed. Calls are made beside it, since Python prefers modules in the folder that it is called in."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "mylab"]) == 0
    quietly = ("--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    _python("pip", "install", *quietly, "--target", tmp_path / "site", tmp_path / "mylab", folder=tmp_path)
    return tmp_path / "mylab", tmp_path / "site"


def test_a_new_package_runs_and_a_change_of_its_kind_makes_what_it_decides_again(lab):
    folder, site = lab
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["sources"]["room"] |= {"lifetimes": 6, "lifetimes_per_block": 6, "num_updates": 24}
    config["agents"]["room"]["training"] = {"steps": 3, "batch_size": 4, "evaluate_every": 3}
    config["environments"]["room"]["reference"]["env_steps"] = 4000
    config["evaluations"]["room"] |= {"seeds": 4, "episodes": 4}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    asked = ("--cores", "2", "--quiet", "all")
    _python("gla", "run", "mylab/config.yaml", *asked, folder=folder.parent, site=site)
    table = pd.read_csv(folder.parent / "results/mylab/tables/verdicts.csv")
    assert list(table["agent"]) == ["room"] and (folder.parent / "results/mylab/figures/room.png").exists()

    def planned():
        said = _python("gla", "run", "mylab/config.yaml", "--dry-run", "--cores", "2", folder=folder.parent, site=site)
        return {line.split()[0] for line in said.partition("Job stats:")[2].splitlines()[3:] if len(line.split()) == 2}

    assert planned() == set()
    kind = site / "mylab/calmer.py"
    kind.write_text("# A comment\n" + kind.read_text())
    assert planned() == set()
    kind.write_text(kind.read_text().replace("math.log(options.factor)", "2 * math.log(options.factor)"))
    assert {"train", "evaluate_agent", "plot"} <= planned() and "collect" not in planned()


@pytest.mark.slow
def test_the_agent_of_a_new_package_learns_from_reward(lab):
    folder, site = lab
    _python("gla", "run", "mylab/config.yaml", folder=folder.parent, site=site)
    row = pd.read_csv(folder.parent / "results/mylab/tables/verdicts.csv").iloc[0]
    assert row["verdict"] == "learns from reward" and row["score_above_calm_low"] > 0.5
