"""The workflow as a user runs it: the smoke config once, in a copy of the source tree, then what changes schedule."""

import ast
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from browsing import chromium
from checkouts import ROOT, SOURCES, copied, register
from warm import snakemake

from gla.files import writing
from gla.verify import verify

FIGURES = ("sources", "figure3", "figure5", "training")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the source tree, without results."""
    return copied(tmp_path_factory.mktemp("checkout"))


def _snakemake(folder, *arguments, config="config/smoke.yaml"):
    """Output and exit status. --configfile takes any number of values, so an option follows it."""
    arguments = "--configfile", str(config), "--cores", "2", *arguments
    return snakemake(folder, *arguments)


@pytest.fixture(scope="module")
def smoke(checkout):
    """The copy after one whole run."""
    output, status = _snakemake(checkout, "all")
    assert status == 0 and "Error" not in output, output
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
        raw["agents"]["grid_gap1"]["training"]["warmup"] = 100
        raw["agents"]["grid_gap1"]["labels"] = {"kind": "recorded"}
        raw["sources"] = dict(reversed(raw["sources"].items()))

    assert _scheduled(smoke, edit) == {}


def test_an_agents_entry_schedules_its_training_and_what_follows(smoke):
    def edit(raw):
        raw["agents"]["grid_gap1"]["training"]["steps"] = 21

    # Two networks, in two evaluations under three conditions; drawn in figure3 and training. All cards show the verdicts.
    assert _scheduled(smoke, edit) == {
        "train": 2,
        "evaluate_agent": 12,
        "card": 3,
        "verdicts": 1,
        "tabulate": 2,
        "plot": 2,
    }


def test_a_sources_entry_schedules_its_histories_and_what_follows(smoke):
    def edit(raw):
        raw["sources"]["pendulum"]["update_epochs"] = 3

    # The grid's own agent and its rollouts stay, and so do references, and what acts without histories.
    assert _scheduled(smoke, edit) == {
        "collect": 1, "manifest": 1, "train": 1, "evaluate_agent": 6, "evaluate_baseline": 1, "card": 3, "verdicts": 1,
        "tabulate": 4, "plot": 4,
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
        raw["sources"]["grid"]["lifetimes"] = 5

    assert _scheduled(smoke, edit, "histories") == {"collect": 1}


def test_another_agent_keeps_what_is_there(smoke):
    def edit(raw):
        raw["agents"]["another"] = raw["agents"]["grid_gap1"] | {"seed": 1, "seeds": 1}
        raw["evaluations"]["grid"]["agents"].append("another")

    assert _scheduled(smoke, edit) == {
        "train": 1,
        "acting": 1,
        "evaluate_agent": 3,
        "card": 4,
        "verdicts": 1,
        "tabulate": 1,
        "plot": 1,
    }


def test_more_seeds_schedule_rollouts_but_no_training(smoke):
    def edit(raw):
        raw["evaluations"]["grid"]["seeds"] = 9

    assert _scheduled(smoke, edit) == {
        "evaluate_agent": 9, "evaluate_baseline": 6, "card": 3, "verdicts": 1, "tabulate": 2, "plot": 2,
    }  # fmt: skip


# What each change schedules: exactly these jobs, no more, no less.


def _jobs(folder, edit=None, target="all", text=None):
    """Every job, as its rule and wildcards, that a dry run of an edited smoke config (or of a text) schedules."""
    path = folder / "edited.yaml"
    if text is None:
        raw = yaml.safe_load(yaml.dump(yaml.safe_load((folder / "config/smoke.yaml").read_text()), Dumper=_NoAliases))
        if edit:
            edit(raw)
        text = yaml.safe_dump(raw, sort_keys=False)
    path.write_text(text)
    output, status = _snakemake(folder, "--dry-run", target, config=path.name)
    assert status == 0, output
    jobs = set()
    for rule, body in re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)+)", output, re.MULTILINE):
        wildcards = re.search(r"^ {4}wildcards: (.*)$", body, re.MULTILINE)
        values = [w.split("=")[1] for w in wildcards[1].split(", ")] if wildcards else []
        jobs.add(" ".join([rule, *values]))
    jobs -= {target, "histories", "manifests", "agents", "references", "rollouts", "figures", "tables", "cards"}
    assert ("Nothing to be done" in output) == (not jobs), output
    return jobs


def _product(*parts):
    return {" ".join(words) for words in itertools.product(*(p if isinstance(p, tuple) else (p,) for p in parts))}


GAP1, MAX = ("grid_gap1", "grid_gap1.1"), ("projected_max",)  # networks
IN = {"grid": GAP1 + MAX, "grid_validation": GAP1, "pendulum": MAX, "more": MAX}
CONDITIONS, ONLINE = ("agent", "rewards_hidden", "rewards_shuffled"), ("online_ppo", "online_linear", "online_ars")
BASELINES = ("random", "zero_action", *ONLINE, "reference")
RUN = {"grid": BASELINES, "grid_validation": BASELINES, "pendulum": (*BASELINES, "ppo_final"), "more": ("random",)}
TRAIN = {networks: _product("train", networks) for networks in (GAP1, MAX)}
JUDGE = {"verdicts"} | _product("card", GAP1 + MAX)  # verdicts are of all rollouts, and on every card


def _draw(*figures):
    return _product(("tabulate", "plot"), figures)


def _act(evaluation, *networks):
    return _product("evaluate_agent", evaluation, networks or IN[evaluation], CONDITIONS) | JUDGE


def _baselines(evaluation, *conditions):
    return _product("evaluate_baseline", evaluation, conditions or RUN[evaluation]) | JUDGE


def _refer(environment, split, evaluation):
    """A reference, and the baseline that it is."""
    return {f"refer {environment} {split}"} | _baselines(evaluation, "reference")


def _set(*path):
    """An edit of the config: the last of the arguments is the value."""
    *keys, last, value = path

    def edit(raw):
        for key in keys:
            raw = raw[key]
        raw[last] = value(raw[last]) if callable(value) else value

    return edit


def _swap(raw):
    training = raw["agents"]["grid_gap1"]["training"]
    training["steps"], training["evaluate_every"] = training["evaluate_every"], training["steps"]


def _reversed(value):
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(v) for v in value] if isinstance(value, list) else value


def _reorder(raw):
    turned = _reversed(raw)
    raw.clear()
    raw.update(turned)


def _new_figure(raw):
    raw["figures"]["new"] = {"kind": "in_context", "panels": [{"evaluation": "grid", "agents": ["grid_gap1"]}]}


def _new_evaluation(raw):
    raw["evaluations"]["more"] = {
        "environment": "pendulum",
        "agents": ["projected_max"],
        "seeds": 4,
        "env_steps": 60,
        "baselines": ["random"],
    }
    raw["figures"]["figure5"]["panels"].append({"evaluation": "more"})


MAX_FOLLOWS = TRAIN[MAX] | _act("grid", *MAX) | _act("pendulum") | _draw("figure3", "figure5", "training")
GAP1_FOLLOWS = TRAIN[GAP1] | _act("grid", *GAP1) | _act("grid_validation") | _draw("figure3", "training")
GRID_FOLLOWS = {"manifest grid", "manifest projected"} | GAP1_FOLLOWS | MAX_FOLLOWS | _draw("sources")
CHANGES = {
    "nothing": (None, set()),
    "the order of all keys": (_reorder, set()),
    "how an agent acts by hand": (_set("agents", "grid_gap1", "acting", {"temperature": 0.5}), _product("acting", GAP1)),
    "an agent's gap": (_set("agents", "grid_gap1", "windows", "gap", 2), GAP1_FOLLOWS),
    "two numbers of an agent swapped": (_swap, GAP1_FOLLOWS),
    "a network more": (
        _set("agents", "grid_gap1", "seeds", 3),
        {"train grid_gap1.2", "card grid_gap1.2", "acting grid_gap1.2"} | _act("grid", "grid_gap1.2") | _act("grid_validation", "grid_gap1.2") | _draw("figure3"),
    ),
    "a network less": (_set("agents", "grid_gap1", "seeds", 1), JUDGE - {"card grid_gap1.1"} | _draw("figure3")),
    "a model of another kind": (_set("agents", "grid_gap1", "model", {"kind": "lstm", "width": 32}), GAP1_FOLLOWS),
    "a source's learning rate": (
        _set("sources", "grid", "learning_rate", 2.0e-3), {"collect grid 0-1", "collect grid 2-3"} | GRID_FOLLOWS,
    ),
    "a lifetime more": (_set("sources", "grid", "lifetimes", 5), {"collect grid 4-4"} | GRID_FOLLOWS),
    "a lifetime more where the last policies act": (
        _set("sources", "pendulum", "lifetimes", 3),
        {"collect pendulum 0-2", "manifest projected"} | MAX_FOLLOWS | _draw("sources") | _baselines("pendulum", "ppo_final"),
    ),
    "the steps of a reference": (
        _set("environments", "grid", "reference", "env_steps", 5_000),
        _refer("grid", "test", "grid") | _refer("grid", "validation", "grid_validation") | _draw("figure3", "figure5"),
    ),
    "the tasks of the test": (
        _set("environments", "grid", "test_tasks", 1, {"goal": [1, 0]}),
        {"refer grid test"} | _act("grid") | _baselines("grid") | _draw("figure3", "figure5"),
    ),
    "the tasks of validation": (
        _set("environments", "grid", "validation_tasks", [{"goal": [2, 0]}]),
        {"refer grid validation"} | _act("grid_validation") | _baselines("grid_validation"),
    ),
    "another number of test seeds": (
        _set("evaluations", "pendulum", "seeds", 9), _act("pendulum") | _baselines("pendulum") | _draw("figure5"),
    ),
    "a baseline less": (_set("evaluations", "pendulum", "baselines", ["random"]), _draw("figure5") | JUDGE),
    "an evaluation in another environment": (_new_evaluation, _act("more") | _baselines("more") | _draw("figure5")),
    "another evaluation in a figure": (
        _set("figures", "figure5", "panels", lambda panels: panels[:1]), _draw("figure5"),
    ),
    "a new figure from old rollouts": (_new_figure, _draw("new")),
    "a figure's horizontal axis": (_set("figures", "figure3", "x", "env_steps"), _draw("figure3")),
    "the projections of a dataset": (
        _set("datasets", "projected", "encoding", "train", 63), {"manifest projected"} | MAX_FOLLOWS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_config_schedules_exactly_what_depends_on_it(smoke, change):
    edit, expected = CHANGES[change]
    assert _jobs(smoke, edit) == expected


def test_a_comment_in_the_config_schedules_nothing(smoke):
    assert _jobs(smoke, text="# a comment\n" + (smoke / "config/smoke.yaml").read_text()) == set()


def test_touching_every_file_schedules_nothing(smoke):
    """These are the files of the package, the workflow with its scripts, the config, and all results."""
    for part in ("src", "workflow", "config", "results"):
        for path in sorted((smoke / part).rglob("*")):
            if path.is_file():
                os.utime(path)
    assert _jobs(smoke) == set()


COLLECT = {"collect grid 0-1", "collect grid 2-3", "collect pendulum 0-1"}
ONLINE_FOLLOWS = JUDGE | _draw("figure3", "figure5")
GRIDS = ("grid", "grid_validation")
REFERENCES = (
    _refer("grid", "test", "grid") | _refer("grid", "validation", "grid_validation") | _refer("pendulum", "test", "pendulum")
    | _draw("figure3", "figure5")
)  # fmt: skip


@pytest.mark.parametrize(
    "name, before, after, expected",
    [
        ("figures/training.py", "", "", _draw("training")),
        ("figures/panels.py", "", "", _draw(*FIGURES)),
        ("statistics.py", "confidence: float = 0.95", "confidence: float = 0.9", _draw("sources", "figure3", "figure5") | JUDGE),
        ("card.py", "", "", _product("card", IN["grid"])),
        ("verdicts.py", "", "", JUDGE | _draw("figure3", "figure5")),
        ("models/transformer.py", "", "", GAP1_FOLLOWS | MAX_FOLLOWS),
        ("models/lstm.py", "", "", set()),
        ("windows/across_updates.py", "", "", GAP1_FOLLOWS),
        ("labels/later_policy.py", "", "", MAX_FOLLOWS),
        ("encoding/projected.py", "", "", _product("manifest", ("grid", "projected")) | GAP1_FOLLOWS | MAX_FOLLOWS),
        ("conditions/rewards_hidden.py", "", "",
         {f"evaluate_agent {v} {n} rewards_hidden" for v in IN if v != "more" for n in IN[v]} | JUDGE | _draw("figure3", "figure5")),
        ("learners/random_search.py", "", "", _product("evaluate_baseline", (*GRIDS, "pendulum"), "online_ars") | ONLINE_FOLLOWS),
        ("learners/scale.py", "", "", _product("evaluate_baseline", (*GRIDS, "pendulum"), ("online_linear", "online_ars")) | ONLINE_FOLLOWS),
        ("learners/ppo.py", "", "", COLLECT | GRID_FOLLOWS | REFERENCES | _baselines("pendulum", "ppo_final")
         | _product("evaluate_baseline", (*GRIDS, "pendulum"), "online_ppo")),
        ("environments/grid_world.py", "", "", {"collect grid 0-1", "collect grid 2-3"} | GRID_FOLLOWS | _baselines("grid") | _baselines("grid_validation")
         | _product("refer", "grid", ("test", "validation"))),
        ("environments/kinds.py", '"GridWorld", 10)', '"GridWorld", 11)', {"collect grid 0-1", "collect grid 2-3"} | GRID_FOLLOWS | _baselines("grid")
         | _baselines("grid_validation") | _product("refer", "grid", ("test", "validation"))),
        ("conditions/kinds.py", '"zero action"', '"no action"', ONLINE_FOLLOWS),
        ("reference.py", "", "", REFERENCES),
        ("verify.py", "", "", set()),
        ("files.py", "", "", set()),
        ("figures/gla.mplstyle", "font.size: 8", "font.size: 9", _product("plot", FIGURES)),
        ("workflow/scripts/train.py", "", "", GAP1_FOLLOWS | MAX_FOLLOWS),
    ],
)  # fmt: skip
def test_a_changed_module_schedules_exactly_the_stages_whose_numbers_it_decides(smoke, name, before, after, expected):
    path = smoke / ("" if name.startswith("workflow/") else "src/gla") / name
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after) if before else f"{text}\n\nCHANGED = True\n")
    try:
        assert _jobs(smoke) == expected
    finally:
        path.write_text(text)


def test_comments_docstrings_and_formatting_schedule_nothing(smoke):
    """They are changed in every file of the package and in every script at once."""
    texts = {
        path: path.read_text() for part in ("src/gla", "workflow/scripts") for path in (smoke / part).rglob("*.py")
    }
    try:
        for path, text in texts.items():
            tree = ast.parse(text)
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Expr)
                    and isinstance(node.value, ast.Constant)
                    and isinstance(node.value.value, str)
                ):
                    node.value.value = "Something else."
            path.write_text(f"# A comment.\n\n\n{ast.unparse(tree)}\n")
        style = smoke / "src/gla/figures/gla.mplstyle"
        texts[style] = style.read_text()
        style.write_text(f"# Another comment.\n{texts[style]}")
        assert _jobs(smoke) == set()
    finally:
        for path, text in texts.items():
            path.write_text(text)


# Of each file in ``added``, one of each kind, the line in its registry.
ADDED = Path(__file__).parent / "added"
LINES = {
    "environments": '"gla/TwoDoors-v0": Own("gla.environments.two_doors", "TwoDoors", 10)',
    "sources": '"idle": "gla.sources.idle"',
    "encoding": '"signs": "gla.encoding.signs"',
    "windows": '"last_updates": "gla.windows.last_updates"',
    "labels": '"uniform": "gla.labels.uniform"',
    "losses": '"squared": "gla.losses.squared"',
    "models": '"forgetful": "gla.models.forgetful"',
    "trainers": '"descent": "gla.trainers.descent"',
    "conditions": '"first_action": Condition("calm", "first action", "-", "0.6")',
    "figures": '"episodes": "gla.figures.episodes"',
}


def test_contributing_lists_the_file_and_the_line_of_each_kind():
    rows = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    for noun, line in LINES.items():
        (path,) = (ADDED / noun).glob("*.py")
        assert any(f"`{noun}/{path.name}`" in row and f"`{line}`" in row for row in rows), noun


@pytest.fixture(scope="module")
def extended(smoke, tmp_path_factory):
    """A copy of the finished run, with a file more of each kind."""
    folder = tmp_path_factory.mktemp("extended") / "checkout"
    shutil.copytree(smoke, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for noun, line in LINES.items():
        (path,) = (ADDED / noun).glob("*.py")
        shutil.copy(path, folder / "src/gla" / noun)
        register(folder / "src/gla" / noun / "kinds.py", line)
    return folder


def _another_agent(**changes):
    """An edit: one more agent, like the grid's but for these keys."""

    def edit(raw):
        if changes.get("dataset") == "signs":
            raw["datasets"]["signs"] = {"sources": ["grid"], "encoding": {"kind": "signs", "projections": "identity"}}
        raw["agents"]["new"] = raw["agents"]["grid_gap1"] | {"seeds": 1} | changes

    return edit


TWO_DOORS = {
    "environment": "two_doors",
    "agents": ["grid_gap1"],
    "baselines": ["random", "reference"],
    "seeds": 4,
    "episodes": 2,
}
NEW_AGENT = {"train new", "card new", "acting new"}


def _new_environment(raw):
    raw["environments"]["two_doors"] = {"id": "gla/TwoDoors-v0", "reference": {"env_steps": 500, "runs": 1}}
    raw["evaluations"]["two_doors"] = TWO_DOORS


ENTRIES = {
    "environments": (
        _new_environment,
        {"refer two_doors test"} | _product("evaluate_baseline", "two_doors", ("random", "reference"))
        | _product("evaluate_agent", "two_doors", GAP1, CONDITIONS) | JUDGE,
    ),
    # Where the last policies of another source act.
    "sources": (_set("sources", "idle", {"environment": "pendulum", "kind": "idle", "lifetimes": 2}), {"collect idle 0-1"}),
    "encoding": (_another_agent(dataset="signs"), {"manifest signs"} | NEW_AGENT),
    "windows": (_another_agent(windows={"kind": "last_updates", "chunks": 4}), NEW_AGENT),
    "labels": (_another_agent(labels="uniform"), NEW_AGENT),
    "losses": (_another_agent(loss={"kind": "squared"}), NEW_AGENT),
    "models": (_another_agent(model={"kind": "forgetful", "width": 16}), NEW_AGENT),
    "trainers": (_another_agent(training={"kind": "descent", "steps": 2, "batch_size": 8}), NEW_AGENT),
    "conditions": (
        _set("evaluations", "grid", "baselines", [*BASELINES, "first_action"]),
        {"evaluate_baseline grid first_action"} | JUDGE | _draw("figure3", "figure5"),
    ),
    "figures": (_set("figures", "new", {"kind": "episodes", "panels": [{"evaluation": "grid"}]}), _draw("new")),
}  # fmt: skip


def test_a_file_of_each_kind_and_its_line_in_the_registry_schedule_nothing(extended):
    assert {path.name for path in ADDED.iterdir()} == LINES.keys() == ENTRIES.keys()
    assert {path.parent.name for path in (extended / "src/gla").glob("*/kinds.py")} == LINES.keys()
    assert _jobs(extended) == set()


@pytest.mark.parametrize("noun", ENTRIES)
def test_an_entry_of_a_new_kind_schedules_exactly_its_own_jobs(extended, noun):
    edit, expected = ENTRIES[noun]
    assert _jobs(extended, edit) == expected


def test_new_kinds_work_together(extended):
    """One agent of all of them, in the new environment, under the new condition, and in the new figure."""
    raw = yaml.safe_load((extended / "config/smoke.yaml").read_text())
    raw["sources"]["idle"] = {
        "environment": "pendulum",
        "kind": "idle",
        "lifetimes": 2,
        "num_envs": 2,
        "num_updates": 2,
        "num_steps": 20,
    }
    _new_environment(raw)
    new = {
        "windows": {"kind": "last_updates", "chunks": 4},
        "labels": "uniform",
        "loss": {"kind": "squared"},
        "model": "forgetful",
        "training": {"kind": "descent", "steps": 2, "batch_size": 8},
        "dataset": "signs",
    }
    _another_agent(**new)(raw)
    raw["evaluations"]["new"] = TWO_DOORS | {"agents": ["new"], "baselines": ["first_action"]}
    raw["figures"]["new"] = {"kind": "episodes", "panels": [{"evaluation": "new"}]}
    (extended / "together.yaml").write_text(yaml.safe_dump(raw))
    targets = ["results/smoke/figures/new.png", "results/smoke/histories/idle/0-1.json"]
    output, status = _snakemake(extended, *targets, config="together.yaml")
    assert status == 0, output
    made = set(re.findall(r"^(?:local)?rule (\w+):$", output, re.MULTILINE))
    assert made == {"collect", "manifest", "train", "evaluate_agent", "evaluate_baseline", "tabulate", "plot"}
    frame = pd.read_csv(extended / "results/smoke/figures/new.csv")
    assert frame.set_index("condition")["episodes"].to_dict() == dict.fromkeys([*CONDITIONS, "first_action"], 8)


def test_an_edited_caption_schedules_nothing(smoke):
    path = smoke / "workflow/report/figure.rst"
    text = path.read_text()
    path.write_text(text + "\nMore.\n")
    try:
        assert _jobs(smoke) == set()
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    "name, target, expected",
    [
        ("figures/figure3.png", "all", {"plot figure3"}),
        ("figures/figure3.csv", "all", _draw("figure3")),
        # What no job needs is not made again, unless it is asked for, as "all" does.
        ("rollouts/grid/baseline/random.parquet", "figures", set()),
        ("rollouts/grid/baseline/random.parquet", "rollouts", {"evaluate_baseline grid random"}),
        ("references/grid/test.safetensors", "tables", set()),
        ("references/grid/test.safetensors", "references", {"refer grid test"}),
        ("manifests/grid.json", "manifests", {"manifest grid"}),
        ("histories/grid/2-3", "figures", set()),
        ("histories/grid/2-3.json", "histories", {"collect grid 2-3"}),
    ],
)  # fmt: skip
def test_a_result_that_is_deleted_schedules_itself_where_it_is_needed(smoke, tmp_path, name, target, expected):
    path = smoke / "results/smoke" / name
    shutil.move(path, tmp_path / path.name)
    try:
        assert _jobs(smoke, target=target) == expected
    finally:
        shutil.move(tmp_path / path.name, path)


@pytest.mark.parametrize(
    "target, expected",
    [
        ("results/smoke/figures/figure3.pdf", {"plot figure3"}),
        ("results/smoke/agents/grid_gap1/agent.json", set()),
        ("histories", set()), ("manifests", set()), ("agents", set()), ("references", set()), ("rollouts", set()), ("figures", {"plot figure3"}),
    ],
)  # fmt: skip
def test_a_target_schedules_what_it_needs_alone(smoke, tmp_path, target, expected):
    path = smoke / "results/smoke/figures/figure3.pdf"
    shutil.move(path, tmp_path / path.name)
    try:
        assert _jobs(smoke, target=target) == expected
    finally:
        shutil.move(tmp_path / path.name, path)


def test_what_was_made_is_whole(smoke):
    environment = os.environ | {"PYTHONPATH": str(smoke / "src")}
    command = [sys.executable, "-m", "gla.verify", "results/smoke"]
    done = subprocess.run(command, cwd=smoke, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == "everything is as it was written\n", done.stdout
    path = smoke / "results/smoke/rollouts/grid/baseline/random.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    done = subprocess.run(command, cwd=smoke, env=environment, capture_output=True, text=True, check=False)
    path.write_bytes(data)
    assert done.returncode == 1 and done.stdout.startswith(
        "results/smoke/rollouts/grid/baseline/random.parquet: altered"
    )


def _content(folder):
    """Returns the results, without files that differ in every run: logs, benchmarks and Snakemake's stamps."""
    left_out = {"tensorboard", "benchmarks", ".snakemake_timestamp"}
    files = [p for p in sorted((folder / "results").rglob("*")) if p.is_file() and not left_out & set(p.parts)]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


# One file of each kind: all of them take a quarter of an hour.
KINDS = [
    "agents/projected_max/weights.safetensors",
    *(
        pytest.param(path, marks=pytest.mark.slow)
        for path in (
            "histories/grid/0-1/history.zarr/reward/c/0/0/0", "histories/grid/0-1/history.zarr/zarr.json", "manifests/grid.csv",
            "histories/grid/0-1.json", "manifests/grid.json", "references/grid/test.safetensors", "references/grid/test.json",
            "agents/grid_gap1/agent.json", "agents/grid_gap1/metrics.jsonl", "agents/grid_gap1/by_position.csv",
            "agents/grid_gap1/README.md", "agents/grid_gap1/acting.json", "rollouts/grid/grid_gap1/agent.parquet", "rollouts/grid/baseline/reference.parquet",
            "tables/verdicts.csv", "figures/figure3.csv", "figures/figure3.png", "figures/figure3.pdf", "software.csv",
        )
    ),
]  # fmt: skip


def _obey(folder, messages):
    """Delete what each message says to delete, to the letter."""
    for message in messages:
        subject, _, order = message.rpartition("; ")
        if deleted := re.fullmatch(r"delete (\S+)(, and Snakemake makes it again)?", order):
            path = folder / (message.split(": ")[0] if deleted[1] == "it" else deleted[1])
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        else:
            assert order.startswith("Snakemake makes it again"), message
    output, status = _snakemake(folder, "all")
    assert status == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_repair_that_a_message_orders_gives_the_same_bytes(smoke, name):
    before, path = _content(smoke), smoke / "results/smoke" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    messages = [line.replace(f"{smoke}/", "") for line in verify(smoke / "results/smoke")]
    assert messages and all(line.startswith(f"results/smoke/{name}: ") for line in messages), messages
    _obey(smoke, messages)
    assert verify(smoke / "results/smoke") == [] and _content(smoke) == before


@pytest.mark.parametrize("name", [pytest.param("histories/grid/0-1/history.zarr", marks=pytest.mark.slow), *KINDS])
def test_what_is_deleted_is_made_anew(smoke, name):
    """The hash is deleted too, so that only the files next to it show that it is missing."""
    before, path = _content(smoke), smoke / "results/smoke" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.with_name(f".{path.name}.sha256").unlink(missing_ok=True)
    messages = [line.replace(f"{smoke}/", "") for line in verify(smoke / "results/smoke")]
    if not name.startswith(("rollouts", "tables", "software")) and path.suffix != ".md":
        assert [line.split(" (")[0] for line in messages] == [f"results/smoke/{name}: missing"], messages
    _obey(smoke, messages)
    assert verify(smoke / "results/smoke") == [] and _content(smoke) == before


@pytest.mark.slow
def test_a_damaged_store_stops_training_with_an_order_that_works(smoke):
    before, path = _content(smoke), smoke / "results/smoke/histories/grid/0-1/history.zarr/reward/c/0/0/0"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    shutil.rmtree(smoke / "results/smoke/agents/grid_gap1")
    output, status = _snakemake(smoke, "all")
    assert status != 0
    (message,) = set(re.findall(r"^error: (results/smoke/histories.*) \(GLA_DEBUG", output, re.MULTILINE))
    _obey(smoke, [message])
    assert _content(smoke) == before


def test_of_two_runs_on_one_folder_of_results_the_second_leaves_everything_alone(smoke, tmp_path):
    """The runs are from two checkouts, which do not see each other's locks."""
    copied(tmp_path, smoke)
    (tmp_path / "results").symlink_to(smoke / "results")
    before = _content(smoke)
    with writing(smoke / "results/smoke", "run"):
        output, status = _snakemake(tmp_path, "--forceall", "all")
        assert status != 0 and "results/smoke: another run of Snakemake is writing there" in output
        assert "Traceback" not in output
        output, status = _snakemake(smoke, "--dry-run", "all")  # which writes nothing
        assert status == 0, output
    assert _content(smoke) == before


@pytest.mark.parametrize("option", ["--delete-all-output", "--delete-temp-output", "--delete-all"])
def test_nothing_is_deleted_while_a_run_writes_there(smoke, tmp_path, option):
    """The other run is from another checkout. The option may be shortened."""
    copied(tmp_path, smoke)
    (tmp_path / "results").symlink_to(smoke / "results")
    before = _content(smoke)
    with writing(smoke / "results/smoke", "run"):
        output, status = _snakemake(tmp_path, option, "all")
        assert status != 0 and output.count("results/smoke: another run of Snakemake is writing there") == 1
        assert "Traceback" not in output and "Deleting" not in output
        output, status = _snakemake(tmp_path, option, "--dry-run", "all")
        assert status == 0, output
    assert _content(smoke) == before


def test_what_is_to_be_deleted_is_deleted_where_nobody_writes(smoke, tmp_path):
    copied(tmp_path, smoke)
    shutil.copytree(smoke / "results", tmp_path / "results")
    output, status = _snakemake(tmp_path, "--delete-all-output", "results/smoke/manifests/grid.csv")
    assert status == 0 and not (tmp_path / "results/smoke/manifests/grid.csv").exists(), output
    assert (tmp_path / "results/smoke/manifests/projected.csv").exists()


def test_a_run_waits_for_jobs_that_outlived_another_one(smoke):
    before = _content(smoke)
    with writing(smoke / "results/smoke", "job"):
        output, status = _snakemake(smoke, "--forceall", "all")
        assert status != 0 and "results/smoke: another run of Snakemake is writing there" in output
    assert _content(smoke) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
def test_a_workflow_that_is_killed_with_all_its_jobs_ends_with_the_same_bytes(smoke, tmp_path, number):
    copied(tmp_path, smoke)
    command = [sys.executable, "-m", "snakemake", "--configfile", "config/smoke.yaml", "--cores", "2", "all"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    rng, kills = random.Random(number), 0
    for _ in range(6):
        run = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(rng.uniform(5, 45))
        if run.poll() is None:
            os.killpg(run.pid, number)
            kills += 1
        run.wait(60)
        time.sleep(2)  # a job may outlive its parent for as long as it saves a checkpoint
        assert (
            all(": missing (" in line for line in verify(tmp_path / "results"))
            if (tmp_path / "results").exists()
            else True
        )
        _snakemake(tmp_path, "--unlock")
    output, status = _snakemake(tmp_path, "all")
    assert status == 0, output
    assert kills >= 2 and _content(tmp_path) == _content(smoke)


def test_agents_get_a_card_with_their_scores(smoke):
    text = (smoke / "results/smoke/agents/projected_max/README.md").read_text()
    frame = pd.read_parquet(smoke / "results/smoke/rollouts/pendulum/projected_max/agent.parquet")
    first = frame.groupby("seed")["episode_return"].first().mean()
    assert re.search(rf"^\| pendulum \| agent \| {first:.4g} \[", text, re.MULTILINE), text


def test_networks_of_an_agent_are_told_apart_by_their_training_seed_and_shown_together(smoke):
    def rollouts(name):
        return pd.read_parquet(smoke / f"results/smoke/rollouts/grid/{name}.parquet")

    weights = [smoke / f"results/smoke/agents/{name}/weights.safetensors" for name in GAP1]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    for number, name in enumerate(GAP1):
        frame = rollouts(f"{name}/agent")
        assert (set(frame["agent"]), set(frame["training_seed"])) == ({"grid_gap1"}, {number})
    assert set(rollouts("baseline/reference")["training_seed"]) == {0, 1}  # its runs
    assert set(rollouts("baseline/online_ars")["training_seed"]) == {0}
    drawn = pd.read_csv(smoke / "results/smoke/figures/figure3.csv")
    assert set(drawn["agent"]) == {"grid_gap1", "projected_max", "baseline"}
    table = pd.read_csv(smoke / "results/smoke/tables/verdicts.csv").set_index(["evaluation", "agent"])
    assert table["training_seeds"].to_dict() == {
        ("grid", "grid_gap1"): 2, ("grid", "projected_max"): 1, ("grid_validation", "grid_gap1"): 2, ("pendulum", "projected_max"): 1,
    }  # fmt: skip


@pytest.mark.slow
def test_the_report_opens_and_shows_every_figure(smoke):
    """In a headless Chromium, without a network, every figure is drawn and explained, and there are no errors."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    output, status = _snakemake(smoke, "all", "--report", "report.html")
    assert status == 0, output
    with chromium() as page:
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
        raw |= {
            "pathvars": {"results": "results/broken"},
            "environments": {"odd": {"id": "NoSuchThing-v3"}},
            "sources": {"odd": {"environment": "odd", "kind": "ppo", "num_updates": 2, "num_minibatches": 2}},
        }

    output, status = _broken(checkout, edit)
    assert status != 0
    assert "environments.odd.id: environment 'NoSuchThing-v3': " in output
    assert "Job stats" not in output and not (checkout / "results/broken").exists()


def test_a_key_that_is_there_twice_is_refused_with_both_lines(checkout):
    """Snakemake itself takes the last, and the agent that was to be copied would be gone."""
    text = (checkout / "config/smoke.yaml").read_text()
    (checkout / "twice.yaml").write_text(text.replace("  projected_max:\n", "  grid_gap1:\n"))
    output, status = _snakemake(checkout, "--dry-run", "all", config="twice.yaml")
    assert status != 0 and "twice.yaml: line 58: agents.grid_gap1: in line 52 already (expected once)" in output
    assert "Traceback" not in output and "Job stats" not in output


def test_a_config_without_environments_is_not_mixed_with_the_default(checkout):
    (checkout / "part.yaml").write_text("pathvars: {results: results/part}\nagents: {}\n")
    output, status = _snakemake(checkout, "--dry-run", "all", config="part.yaml")
    assert status != 0 and "environments: missing in " in output and "part.yaml (expected every entry there" in output
    assert "Traceback" not in output and "Job stats" not in output


def test_a_value_on_the_command_line_goes_on_top_of_the_default(checkout):
    output, status = snakemake(checkout, "--dry-run", "--config", "colour=1", "--cores", "1")
    assert status != 0 and "the config cannot be run:\ncolour: unknown key (value 1;" in output


def test_memory_is_asked_for_where_jobs_run(checkout):
    """Here; or, where their number is limited instead of cores, on machines of which nothing is known."""
    raw = yaml.safe_load((checkout / "config/smoke.yaml").read_text())
    model = {"kind": "transformer", "layers": 100, "width": 10_000, "heads": 2}  # 160 GB of weights and moments
    raw["agents"]["grid_gap1"]["model"] = model
    (checkout / "large.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    arguments = "--configfile", "large.yaml", "--dry-run", "--cores", "1", "agents"
    assert "agents.grid_gap1: a step of 8 windows" in snakemake(checkout, *arguments)[0]
    assert snakemake(checkout, "--jobs", "4", *arguments)[1] == 0


def _asked_mb(folder, edit=None):
    """Memory that jobs ask for, in MB, by rule and wildcards, in a dry run of an edited smoke config whose jobs run elsewhere."""
    raw = yaml.safe_load(yaml.dump(yaml.safe_load((folder / "config/smoke.yaml").read_text()), Dumper=_NoAliases))
    raw["pathvars"]["results"] = "results/asked"  # where there is nothing yet
    if edit:
        edit(raw)
    (folder / "asked.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    output, status = snakemake(folder, "--configfile", "asked.yaml", "--dry-run", "--jobs", "4", "all")
    assert status == 0, output
    found = {}
    for rule, body in re.findall(r"^rule (\w+):\n((?: {4}.*\n)+)", output, re.MULTILINE):
        wildcards = re.search(r"^ {4}wildcards: (.*)$", body, re.MULTILINE)
        values = [w.split("=")[1] for w in wildcards[1].split(", ")] if wildcards else []
        if asked := re.search(r"\bmem_mb=(\d+)", body):
            found[" ".join([rule, *values])] = int(asked[1])
    return found


def test_a_larger_job_asks_for_more_memory(checkout):
    def edit(raw):
        raw["agents"]["grid_gap1"]["model"] = {"kind": "transformer", "layers": 100, "width": 10_000, "heads": 2}
        raw["sources"]["grid"] |= {"num_envs": 2000, "num_steps": 10_000}
        raw["environments"]["pendulum"]["reference"] = {"runs": 1000, "num_envs": 1000}

    usual, asked = _asked_mb(checkout), _asked_mb(checkout, edit)
    least = {
        "collect": 4000,
        "manifest": 4000,
        "refer": 4000,
        "train": 8000,
        "evaluate_agent": 8000,
        "evaluate_baseline": 8000,
    }
    assert {job.split()[0] for job in usual} == set(least)
    assert all(0 <= mb - least[job.split()[0]] < 10 for job, mb in usual.items())
    assert asked["train grid_gap1"] == asked["train grid_gap1.1"] > 160_000  # of each network
    assert asked["collect grid 0-1"] > 9_000 and asked["refer pendulum test"] > 20_000
    assert asked["evaluate_agent grid grid_gap1 agent"] > 40_000  # the weights alone
    others = (
        "train projected_max",
        "collect pendulum 0-1",
        "refer grid test",
        "evaluate_agent grid projected_max agent",
    )
    assert all(asked[job] == usual[job] for job in others)


def test_a_recurrent_models_rollout_asks_for_less_memory_than_a_transformers(checkout):
    """Its contexts do not grow."""

    def many_seeds(kind, **more):
        def edit(raw):
            raw["agents"]["grid_gap1"]["model"] = {"kind": kind, "layers": 8, "width": 512, **more}
            raw["evaluations"]["grid"]["seeds"] = 4000

        return _asked_mb(checkout, edit)["evaluate_agent grid grid_gap1 agent"]

    assert many_seeds("lstm") == 8000 < many_seeds("transformer", heads=8)


def test_the_default_config_can_be_scheduled(checkout):
    output, status = snakemake(checkout, "--dry-run", "--quiet", "all")
    assert status == 0, output
