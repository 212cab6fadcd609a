"""The workflow as a user runs it: the smoke config once, in a copy of the source tree, then what changes schedule."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCES = ("Snakefile", "workflow", "config", "src", "profiles", "envs")
FIGURES = ("sources", "figure3", "figure5", "training")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the source tree, without results."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def _snakemake(folder, *arguments, config="config/smoke.yaml"):
    """Output and exit status. --configfile takes any number of values, so an option follows it."""
    command = [sys.executable, "-m", "snakemake", "--configfile", str(config), "--cores", "2", *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    return done.stdout + done.stderr, done.returncode


@pytest.fixture(scope="module")
def smoke(checkout):
    """The copy after one whole run."""
    output, status = _snakemake(checkout, "all")
    assert status == 0, output
    return checkout


def _scheduled(folder, edit=None, target="all"):
    """How many jobs of each rule a dry run of an edited smoke config schedules."""
    raw = yaml.safe_load(yaml.dump(yaml.safe_load((folder / "config/smoke.yaml").read_text()), Dumper=_NoAliases))
    if edit:
        edit(raw)
    path = folder / "edited.yaml"
    path.write_text(yaml.safe_dump(raw))
    output, status = _snakemake(folder, "--dry-run", target, config=path.name)
    assert status == 0, output
    if "Nothing to be done" in output:
        return {}
    table = output[output.index("Job stats:") :].split("\n\n")[0]
    counts = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}
    assert counts.pop("total") == sum(counts.values())
    counts.pop(target, None)
    return counts


class _NoAliases(yaml.SafeDumper):
    """The file shares one dictionary between agents; an edit of one must not reach the other."""

    def ignore_aliases(self, data):
        return True


def test_one_command_makes_every_figure(smoke):
    for name in FIGURES:
        files = {ending: smoke / f"results/smoke/figures/{name}.{ending}" for ending in ("pdf", "png", "csv")}
        assert files["pdf"].read_bytes().startswith(b"%PDF") and files["png"].read_bytes().startswith(b"\x89PNG")
        assert len(pd.read_csv(files["csv"])) > 0


def test_a_second_run_does_nothing(smoke):
    output, status = _snakemake(smoke, "all")
    assert status == 0 and "Nothing to be done" in output


def test_defaults_spelled_out_schedule_nothing(smoke):
    def edit(raw):
        raw["agents"]["grid_gap1"]["warmup"] = 100
        raw["environments"] = dict(reversed(raw["environments"].items()))

    assert _scheduled(smoke, edit) == {}


def test_an_agents_entry_schedules_its_training_and_what_follows(smoke):
    def edit(raw):
        raw["agents"]["grid_gap1"]["steps"] = 21

    # It is drawn in figure3 and training, evaluated under two conditions.
    assert _scheduled(smoke, edit) == {"train": 1, "evaluate_agent": 2, "tabulate": 2, "plot": 2}


def test_an_environments_entry_schedules_its_histories_and_what_follows(smoke):
    def edit(raw):
        raw["environments"]["pendulum"]["ppo"]["epochs"] = 3

    # The grid's own agent and its rollouts stay.
    assert _scheduled(smoke, edit) == {
        "collect": 1, "augment": 1, "train": 1, "evaluate_agent": 4, "evaluate_baseline": 4, "tabulate": 4, "plot": 4,
    }  # fmt: skip


def test_a_style_schedules_only_drawing(smoke):
    def edit(raw):
        raw["figures"]["figure3"]["style"] = {"font.size": 7}

    assert _scheduled(smoke, edit) == {"plot": 1}


@pytest.mark.parametrize("key, value", [("title", "Another"), ("labels", ["one", "two"])])
def test_words_in_a_figure_schedule_only_drawing(smoke, key, value):
    def edit(raw):
        raw["figures"]["figure3"]["panels"][0][key] = value

    assert _scheduled(smoke, edit) == {"plot": 1}


def test_another_lifetime_keeps_the_blocks_that_are_there(smoke):
    def edit(raw):
        raw["environments"]["grid"]["lifetimes"] = 5

    assert _scheduled(smoke, edit, "histories") == {"collect": 1}


def test_another_agent_keeps_what_is_there(smoke):
    def edit(raw):
        raw["agents"]["another"] = raw["agents"]["grid_gap1"] | {"seed": 1}
        raw["evaluations"]["grid"]["agents"].append("another")

    assert _scheduled(smoke, edit) == {"train": 1, "evaluate_agent": 2, "tabulate": 1, "plot": 1}


def test_more_seeds_schedule_rollouts_but_no_training(smoke):
    def edit(raw):
        raw["evaluations"]["grid"]["seeds"] = 9

    assert _scheduled(smoke, edit) == {"evaluate_agent": 4, "evaluate_baseline": 4, "tabulate": 2, "plot": 2}


def test_touching_every_source_file_schedules_nothing(smoke):
    for path in (smoke / "src").rglob("*"):
        if path.is_file():
            os.utime(path)
    assert _scheduled(smoke) == {}


def test_editing_a_models_code_schedules_training_but_no_collection(smoke):
    path = smoke / "src/gla/models/transformer.py"
    before = path.read_text()
    path.write_text(before + "# edited\n")
    counts = _scheduled(smoke)
    path.write_text(before)
    assert counts == {"train": 2, "evaluate_agent": 6, "tabulate": 3, "plot": 3}


def test_a_result_that_is_deleted_is_made_again_from_what_is_there(smoke):
    path = smoke / "results/smoke/figures/figure3.png"
    content = path.read_bytes()
    path.unlink()
    assert _scheduled(smoke) == {"plot": 1}
    path.write_bytes(content)


def test_results_hold_no_path_of_this_machine(smoke):
    """So that a folder of results may be moved or copied."""
    for path in (smoke / "results").rglob("*"):
        if path.is_file() and "tensorboard" not in path.parts:
            assert str(smoke).encode() not in path.read_bytes(), path


def test_sources_hold_no_absolute_paths():
    for name in SOURCES:
        for path in [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"):
            if path.is_file() and path.suffix in ("", ".smk", ".py", ".yaml", ".rst", ".json", ".sh", ".md"):
                found = re.search(r"(?<![\w.:/>-])/(home|root|tmp|work|Users|mnt|data|opt|scratch)/", path.read_text())
                assert found is None, (path, found)


def _broken(folder, edit):
    raw = yaml.safe_load((folder / "config/smoke.yaml").read_text())
    edit(raw)
    (folder / "broken.yaml").write_text(yaml.safe_dump(raw))
    return _snakemake(folder, "histories", config="broken.yaml")


def test_an_unknown_key_is_named_before_anything_runs(checkout):
    def edit(raw):
        raw["agents"]["grid_gap1"]["colour"] = "red"

    output, status = _broken(checkout, edit)
    assert status != 0
    assert "agents.grid_gap1.colour: unknown key (value 'red'" in output
    assert "Traceback" not in output and "Job stats" not in output


def test_an_unknown_environment_is_named(checkout):
    def edit(raw):
        raw.clear()
        ppo = {"updates": 2, "minibatches": 2}
        raw |= {
            "pathvars": {"results": "results/broken"},
            "environments": {"odd": {"id": "NoSuchThing-v3", "ppo": ppo}},
        }

    output, status = _broken(checkout, edit)
    assert status != 0
    assert "environments.odd.id: environment 'NoSuchThing-v3': " in output
    assert "Job stats" not in output and not (checkout / "results/broken").exists()


def test_the_default_config_can_be_scheduled(checkout):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all"]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
