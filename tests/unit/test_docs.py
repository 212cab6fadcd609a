"""Every command in README and in the documentation is known; those that cost nothing are run elsewhere, see below.

- ``gla``: parsed by the command's own parser. Run for real: learn, verify, inspect, export and card in test_cli.py, test_watch.py
  and test_export.py.
- ``make``: a target of the Makefile, read by make itself (a dry run).
- ``snakemake``: its options are known, its config and profile exist, and each target is a rule or a file that the config gives.
- Python blocks: run, with an agent of the tests in the place of the one that they name.
- Anything else (pip, tensorboard, pre-commit, benchmarks): the file or the package that it names exists.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from gla import cli
from gla.config import file
from gla.config.reading import normalise
from gla.paths import Paths

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("gla", "make", "snakemake", "python", "pip", "tensorboard", "pre-commit")


def _commands():
    """(page, command) of every line of a shell block, of every inline code and of every profile's head, that begins with a program."""
    for profile in sorted((ROOT / "profiles").glob("*/profile.yaml")):
        yield from (
            (profile.parent.name, line)
            for line in re.findall(r"^#   ((?:pip|snakemake) .*)$", profile.read_text(), re.MULTILINE)
        )
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        without = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        lines = [line for b in blocks for line in b.splitlines()] + [
            " ".join(c.split()) for c in re.findall(r"`([^`]+)`", without)
        ]
        for line in lines:
            line = re.sub(r"\s+#.*", "", line).strip().removeprefix(".venv/bin/")
            # A word alone, as `make` or `gla.cli`, is a name and no command, but for make.
            if line.split(" ")[0] in PROGRAMS and (" " in line or line == "make") and "FOLDER" not in line:
                yield page.name, line


COMMANDS = sorted(set(_commands()))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
RULES = {
    name
    for p in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    for name in re.findall(r"^rule (\w+):", p.read_text(), re.MULTILINE)
}


def _made(config):
    """Files that a config gives: histories, weights with their description, and figures."""
    paths = Paths(normalise(file.read(ROOT / config)))
    networks = [n for agent in paths.config["agents"] for n in paths.networks(agent)]
    files = ("agent.json", "weights.safetensors", "acting.json", "README.md")
    described = {f"{paths.agent(n)}/{name}" for n in networks for name in files}
    drawn = {
        f"{paths.results}/figures/{name}.{ending}"
        for name in paths.config["figures"]
        for ending in ("pdf", "png", "csv")
    }
    return {*paths.stores(paths.config["sources"]), *paths.digests(paths.config["sources"]), *described, *drawn}


def test_commands_are_found_in_the_pages_that_have_them():
    assert {page for page, _ in COMMANDS} >= {
        "README.md",
        "CONTRIBUTING.md",
        "index.md",
        "agents.md",
        "watch.md",
        "ppo.md",
    }
    assert {line.split(" ")[0] for _, line in COMMANDS} >= {"gla", "make", "snakemake", "pip", "tensorboard"}


@pytest.mark.parametrize("page, line", COMMANDS, ids=lambda x: str(x)[:60])
def test_a_command_is_known(page, line):
    program, *words = shlex.split(line)
    if program == "gla":
        if len(words) == 1:  # --help, or a subcommand's name
            with pytest.raises(SystemExit) as stopped:
                cli.parser().parse_args([*words, "--help"])
            assert stopped.value.code == 0
            return
        a = cli.parser().parse_args(words)
        if getattr(a, "agent", "").startswith("results/"):
            assert f"{a.agent}/agent.json" in _made("config/config.yaml") | _made("config/smoke.yaml")
        if getattr(a, "store", None):
            assert f"{a.store}/history.zarr" in _made("config/config.yaml")
    elif program == "make":
        assert set(words) <= TARGETS
        done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif program == "snakemake":
        from snakemake.cli import parse_args

        if "--workflow-profile" in words:  # one may name a plugin that is not installed
            at = words.index("--workflow-profile")
            assert (ROOT / words[at + 1] / "profile.yaml").exists()
            del words[at : at + 2]
        _, a = parse_args(words)
        assert all(Path(ROOT / c).exists() for c in a.configfile or [])
        (config,) = a.configfile or ["config/config.yaml"]
        assert set(a.targets) <= RULES | _made(config)
    elif program == "python":
        script = words[1].replace(".", "/") if words[0] == "-m" else words[0]
        known = (ROOT / script).exists() or (ROOT / f"src/{script}.py").exists() or words[0] == "-c"
        assert known or (words[:2] == ["-m", "pytest"] and all((ROOT / path).exists() for path in words[2:]))
    elif program == "pip":
        assert words[0] == "install"
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for named in re.findall(r"\.\[([\w,]+)\]", line):
            assert set(named.split(",")) <= extras.keys()
        assert "--constraint" not in words or (ROOT / words[words.index("--constraint") + 1]).exists()
    else:
        assert shutil.which(program, path=str(Path(sys.executable).parent)) or find_spec(program.replace("-", "_"))


# Those that name no placeholder and need no results, module or display of the reader's.
ALONE = sorted(
    {
        line
        for _, line in COMMANDS
        if line.startswith("gla learn --") and not re.search(r"results/|--import|--video|\bID\b", line)
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("line", ALONE)
def test_a_command_that_needs_nothing_runs_as_it_stands(line, tmp_path):
    program, *words = shlex.split(line)
    done = subprocess.run([sys.executable, "-m", program, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gain" in done.stdout
    assert "--plot" not in words or (tmp_path / words[words.index("--plot") + 1]).stat().st_size > 10_000


@pytest.mark.parametrize("page", ["README.md", "docs/agents.md"])
def test_python_in_the_pages_runs(page, agent_folder, tmp_path, monkeypatch):
    text = (ROOT / page).read_text()
    blocks = [b for b in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) if "def table" not in b]
    shutil.copytree(agent_folder, tmp_path / "grid")  # a folder comes before an agent that is installed
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec("\n".join(blocks), names)
    assert len(names["frame"]) == 20 * 16 * 3 and names["policy"]


def test_agents_of_the_page_on_judging_are_judged(tmp_path, monkeypatch):
    pytest.importorskip("stable_baselines3")
    first, second = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs/judge.md").read_text(), re.DOTALL | re.MULTILINE
    )
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(first, names)
    assert names["judgement"].verdict == "learns from reward" and (tmp_path / "greedy.png").exists()
    (tmp_path / "mymodule.py").write_text(second)
    monkeypatch.delitem(sys.modules, "mymodule", raising=False)  # of another test
    asked = ["judge", "--policy", "mymodule:ppo", "--env", "gla/GridWorld-v0", "--steps", "60", "--seeds", "2"]
    assert cli.main([*asked, "--conditions", "agent", "rewards_hidden"]) == 0
    del sys.modules["mymodule"]


def test_citation_and_package_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_hooks_run_what_make_check_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    for hook in hooks:
        assert hook["entry"].removeprefix(".venv/bin/") in recipe.replace("$(BIN)/", "")


def test_the_example_has_a_goal_that_its_agent_was_not_trained_on():
    """In each line of a page that lets the grid's agent learn, in the shell's and in Python's words."""
    trained = [task["goal"] for task in file.read(ROOT / "config/config.yaml")["environments"]["grid_hidden"]["tasks"]]
    lines = [
        line
        for page in PAGES
        for line in page.read_text().splitlines()
        if "learn" in line and "gla/GridWorld-v0" in line
    ]
    for line in lines:
        goal = re.search(r"goal\"?: \[(\d), (\d)\]", line)
        assert goal and [int(goal[1]), int(goal[2])] not in trained, line
    assert len(lines) >= 4
