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
    assert _scheduled(smoke, edit) == {"train": 1, "evaluate_agent": 2, "card": 1, "tabulate": 2, "plot": 2}


def test_an_environments_entry_schedules_its_histories_and_what_follows(smoke):
    def edit(raw):
        raw["environments"]["pendulum"]["ppo"]["epochs"] = 3

    # The grid's own agent and its rollouts stay.
    assert _scheduled(smoke, edit) == {
        "collect": 1, "augment": 1, "train": 1, "evaluate_agent": 4, "evaluate_baseline": 4, "card": 1, "tabulate": 4,
        "plot": 4,
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

    assert _scheduled(smoke, edit) == {"train": 1, "evaluate_agent": 2, "card": 1, "tabulate": 1, "plot": 1}


def test_more_seeds_schedule_rollouts_but_no_training(smoke):
    def edit(raw):
        raw["evaluations"]["grid"]["seeds"] = 9

    assert _scheduled(smoke, edit) == {"evaluate_agent": 4, "evaluate_baseline": 4, "card": 2, "tabulate": 2, "plot": 2}


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
    assert counts == {"train": 2, "evaluate_agent": 6, "card": 2, "tabulate": 3, "plot": 3}


def test_a_result_that_is_deleted_is_made_again_from_what_is_there(smoke):
    path = smoke / "results/smoke/figures/figure3.png"
    content = path.read_bytes()
    path.unlink()
    assert _scheduled(smoke) == {"plot": 1}
    path.write_bytes(content)


def test_agents_get_a_card_with_their_scores(smoke):
    text = (smoke / "results/smoke/agents/projected_max/README.md").read_text()
    frame = pd.read_parquet(smoke / "results/smoke/rollouts/pendulum/projected_max/agent.parquet")
    first = frame.groupby("seed")["episode_return"].first().mean()
    assert re.search(rf"^\| pendulum \| agent \| {first:.4g} \[", text, re.MULTILINE), text


def test_the_command_makes_what_the_workflow_makes(smoke, tmp_path):
    """Every stage by its name, in another folder: the same bytes."""
    for name in SOURCES:
        copy = shutil.copytree if (smoke / name).is_dir() else shutil.copy
        copy(smoke / name, tmp_path / name)
    raw = yaml.safe_load((tmp_path / "config/smoke.yaml").read_text())
    stages = {"collect": "environments", "train": "agents", "evaluate": "evaluations", "figure": "figures"}
    for stage, kind in stages.items():
        command = [sys.executable, "-m", "gla.cli", stage, "--config", "config/smoke.yaml", *raw[kind]]
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for pattern in ("histories/*/*.json", "manifests/*", "agents/*/*.json", "agents/*/*.csv", "rollouts/*/*/*", "figures/*.csv"):
        made = sorted(path.relative_to(smoke) for path in (smoke / "results/smoke").glob(pattern))
        assert made
        for path in made:
            assert (tmp_path / path).read_bytes() == (smoke / path).read_bytes(), path


@pytest.mark.slow
def test_the_report_opens_and_shows_every_figure(smoke):
    """In a headless Chromium, without a network: every figure is drawn, explained, and nothing goes wrong."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    output, status = _snakemake(smoke, "all", "--report", "report.html")
    assert status == 0, output
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1300,900"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        wait = WebDriverWait(page, 20)
        page.get(f"file://{smoke}/report.html")
        shown, raw = [], yaml.safe_load((smoke / "config/smoke.yaml").read_text())
        for name, entry in raw["figures"].items():
            page.refresh()
            _first(wait, By.LINK_TEXT, entry["kind"]).click()
            view, info = wait.until(lambda p, name=name: _row(p, By, name))
            view.click()
            picture = _first(wait, By.CSS_SELECTOR, "img[src^='data:image/png']")
            wait.until(lambda _, picture=picture: picture.get_property("complete"))
            assert picture.get_property("naturalWidth") > 300, name
            info.click()
            text = _first(wait, By.CSS_SELECTOR, "pre").text
            assert text.startswith(f"figures.{name}: {{"), text
            body = page.find_element(By.TAG_NAME, "body").text
            assert "Made by rule plot from" in body and f"results/smoke/figures/{name}.csv" in body
            shown.append(name)
        assert sorted(shown) == sorted(FIGURES)
        assert [x for x in page.get_log("browser") if x["level"] == "SEVERE"] == []
    finally:
        page.quit()


def _first(wait, by, what):
    """The first such element, once there is one."""
    return wait.until(lambda page: page.find_elements(by, what))[0]


def _row(page, by, name):
    """The links of a figure's row: its drawing, and what is said of it."""
    for row in page.find_elements(by.TAG_NAME, "tr"):
        if row.text.strip() == name:
            return row.find_elements(by.TAG_NAME, "a")
    return None


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
    assert "error: environment 'NoSuchThing-v3': " in output
    assert not list((checkout / "results/broken").rglob("*.json"))


def test_the_default_config_can_be_scheduled(checkout):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all"]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
