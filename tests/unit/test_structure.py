"""How the package is built: how long its files are, which of its modules import which, and what its names stand for."""

import ast
import re
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

import pytest

from gla import agent as agents
from gla import code
from gla.config.agents import Agent
from gla.config.evaluations import Evaluation
from gla.encoding import projected
from gla.encoding.tokens import Sizes
from gla.in_context import run_agent
from gla.train import train

DESIGN = Path(__file__).parents[2] / "docs/design.md"
LONGEST = 400  # lines


@pytest.fixture(scope="module")
def imports():
    """What each module imports of the package. Folders are none: their ``__init__.py`` import nothing, which is tested too."""
    trees = code.scan()
    del trees[code.STYLE]
    return {name: set(found) for name, (_, found) in trees.items()}


def _is_folder(module):
    return code.path_of(module).name == "__init__.py"


def _order():
    """The lines of the page's table of modules, from the earliest to the latest: patterns of names."""
    section = DESIGN.read_text().partition("## Module order\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [[pattern.replace("/", ".*") for pattern in re.findall("`([^`]+)`", cell)] for cell in cells]


def _line(module, order):
    """The number of a module's line. Its own name counts before the patterns that fit it."""
    own = module.removeprefix("gla.")
    for fits in (str.__eq__, fnmatch):
        for number, patterns in enumerate(order):
            if any(fits(own, pattern) for pattern in patterns):
                return number
    raise AssertionError(f"{module}: in no line of the table of modules in docs/design.md")


def test_no_file_is_long():
    lengths = {path: len(path.read_text().splitlines()) for path in code.ROOT.rglob("*.py")}
    assert lengths and {path: n for path, n in lengths.items() if n > LONGEST} == {}


def test_imports_run_one_way_through_the_table_of_modules(imports):
    order = _order()
    assert len(order) > 10
    lines = {module: _line(module, order) for module in imports if not _is_folder(module)}
    wrong = {(m, other) for m in lines for other in imports[m] & lines.keys() if lines[other] > lines[m]}
    assert wrong == set()


def test_the_table_of_modules_names_what_there_is(imports):
    own = {module.removeprefix("gla.") for module in imports if not _is_folder(module)}
    for pattern in (pattern for patterns in _order() for pattern in patterns):
        assert any(fnmatch(name, pattern) for name in own), pattern


def test_folders_import_nothing(imports):
    """But for the package itself, which imports what ``gla.load`` needs when that is asked for."""
    assert {module: imports[module] for module in imports if _is_folder(module) and imports[module]} == {
        "gla": {"gla.api", "gla.foreign", "gla.judging"}
    }


def test_a_class_has_its_name_alone():
    """But for what each kind of a folder has, under the same name in each of its files; and options are called so everywhere."""
    folders = defaultdict(list)
    for path in code.ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            named = [node] if isinstance(node, ast.ClassDef) else []
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            for name in [n.name for n in named] + [t.id for t in targets if isinstance(t, ast.Name)]:
                if name[0].isupper() and not name.isupper():  # a class, or the type of an entry or a field
                    folders[name].append(path.parent)
    assert {"Agent", "Environment", "Source", "Figure", "Policy"} <= folders.keys()
    kinds = {path.parent for path in code.ROOT.rglob("kinds.py")} - {code.ROOT}
    several = {name for name, own in folders.items() if len(own) > 1 and (len(set(own)) > 1 or own[0] not in kinds)}
    assert several == {"Options"}


@pytest.mark.parametrize("kind", ["transformer", "equivariant"])
def test_the_encoding_alone_knows_how_many_dimensions_a_projection_has(tmp_path, monkeypatch, manifest, grid_entry, kind):  # fmt: skip
    """With others in the place of 64 and 16, an agent is trained, written, read and run as ever."""
    monkeypatch.setattr(projected, "OBSERVATION", 23)
    monkeypatch.setattr(projected, "ACTION", 11)
    monkeypatch.setattr(projected.Options, "sizes", Sizes(23, 11, 22))
    config = Agent(
        dataset="d", windows={"chunks": 2, "chunk_steps": 4}, model={"kind": kind, "layers": 1, "width": 16, "heads": 2},
        training={"steps": 1, "batch_size": 4, "warmup": 1, "evaluate_every": 1, "precision": "float32"},
    )  # fmt: skip
    train(config, "x", {}, *manifest, tmp_path / "agent", tmp_path / "scratch")
    evaluation = Evaluation(environment="grid", seeds=2, env_steps=5, conditions=["agent"])
    run_agent(agents.load(tmp_path / "agent"), grid_entry, evaluation, "agent")
