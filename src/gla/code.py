"""Which code decides a result: the syntax trees of exactly those files that the script of its stage and its kinds use. They
are found by following imports.

Comments, docstrings and formatting are not in a syntax tree, so that changing them reruns nothing. Registries (``kinds.py``)
name every kind and are not followed: a result depends only on the kinds that its entry names. Two tables hold more than
names, those of the environments and of the conditions, and a result depends on the rows that it uses.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gla.conditions.kinds import CONDITIONS
from gla.conditions.kinds import module as condition_module
from gla.encoding.kinds import ENCODINGS
from gla.environments.kinds import BACKENDS, ENVIRONMENTS
from gla.figures.kinds import FIGURES
from gla.kinds import packages
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.options import ConfigError
from gla.sources.kinds import SOURCES
from gla.trainers.kinds import TRAINERS
from gla.windows.kinds import WINDOWS

ROOT = Path(__file__).parent
STYLE = "gla.figures.mplstyle"  # the style of all figures, which counts as a module
# Modules that decide no number. Options are declared and checked in some of them, and are params, with all defaults filled in, of the jobs
# that depend on them, so that a new option reruns no other jobs. The others name and write files, or report progress.
NEUTRAL = ("gla", "gla.config", "gla.files", "gla.job", "gla.options", "gla.progress", "gla.tracking", "gla.watchdog")


@cache
def _others() -> dict[str, Path]:
    """Returns the folders of packages that add kinds, by their names. A module that is in no package has its file here."""
    found = {}
    for name in packages():
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ConfigError(f"entry points of {name!r}: no such module (expected one that can be imported)")
        found[name] = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
    return found


def path_of(module: str) -> Path | None:
    """Returns the file of a module of this package, or of one that adds kinds; None for other modules."""
    top, *rest = module.split(".")
    root = ROOT if top == "gla" else _others().get(top)
    if root is None or root.is_file():
        return None if rest else root
    stem = root.joinpath(*rest)
    return next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()), None)


def _tree(path: Path) -> ast.Module:
    """Returns a file's syntax tree without strings that stand alone, which document a module, a function, or the field above them."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [
                n
                for n in body
                if not (
                    isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str)
                )
            ]
    return tree


def documentation(module: str) -> str:
    """The docstring of a module of this package. It is no code, so that another one makes nothing again."""
    path = path_of(module)
    return (ast.get_docstring(ast.parse(path.read_text())) if path else None) or ""


def _imports(tree: ast.Module) -> list[str]:
    """Returns the modules of this package that are imported anywhere in a file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return sorted(name for name in found if path_of(name))


def _text(node: Any) -> str:
    """Returns a tree as text. Empty fields are left out, since versions of Python differ in the fields that they have (such as type
    parameters).
    """
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={_text(value)}" for name, value in ast.iter_fields(node) if value is not None and value != []
        )
        return f"{type(node).__name__}({','.join(fields)})"
    return f"[{','.join(map(_text, node))}]" if isinstance(node, list) else repr(node)


def _scanned(path: Path) -> list[Any]:
    """Returns the hash of a file's syntax tree, and the modules of the package that it imports."""
    tree = _tree(path)
    return [hashlib.sha256(_text(tree).encode()).hexdigest(), _imports(tree)]


def scan() -> dict[str, list[Any]]:
    """Returns, by the name of each module of this package and of those that add kinds, the hash of its syntax tree and the modules of
    these packages that it imports.
    """
    found = {}
    for name, root in {"gla": ROOT, **_others()}.items():
        if root.is_file():
            found[name] = _scanned(root)
        for path in sorted(root.rglob("*.py")):
            parts = (name, *path.relative_to(root).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = _scanned(path)
    lines = (ROOT / "figures/gla.mplstyle").read_text().splitlines()
    said = "\n".join(line for line in lines if line and not line.startswith("#"))
    return found | {STYLE: [hashlib.sha256(said.encode()).hexdigest(), []]}


def scan_scripts(folder: str | Path) -> dict[str, list[Any]]:
    """Returns the same for the workflow's scripts, which are in no package. The script of a stage is called ``script NAME``."""
    return {f"script {path.stem}": _scanned(path) for path in sorted(Path(folder).glob("*.py"))}


def neutral(module: str) -> bool:
    """Returns whether a module decides no number."""
    return module in NEUTRAL or module.startswith("gla.config.") or module.endswith(".kinds")


def _environment(entry: dict[str, Any]) -> list[str]:
    """Returns the module of an environment of this package, in a list; an empty list for other environments."""
    own = ENVIRONMENTS.get(entry["id"])
    return [own.module] if own else []


def _rows(table: dict[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Returns, as text, those rows of a table of kinds that have one of these names."""
    return {name: str(table[name]) for name in names if name in table}


def _of_agent(agent: dict[str, Any], dataset: dict[str, Any]) -> list[str]:
    return [MODELS.modules[agent["model"]["kind"]], ENCODINGS.modules[dataset["encoding"]["kind"]]]


class Code:
    """The code that decides the results of each stage. Each method takes entries of a normalised config, and returns the
    hashes of the syntax trees of all modules that the result depends on, by the name of the module.

    trees: the results of ``scan`` and ``scan_scripts``.
    """

    def __init__(self, trees: dict[str, list[Any]]):
        self.trees = trees

    def used_by(self, roots: Iterable[str], rows: dict[str, str] | None = None) -> dict[str, str]:
        """Returns the hashes of these modules and of all modules that they use. rows: rows of tables, which are added as if
        they were code.
        """
        found, left = dict(rows or {}), list(roots)
        while left:
            module = left.pop()
            if module in found or neutral(module):
                continue
            found[module], imports = self.trees[module]
            # A module's packages are imported before it.
            left += [*imports, *(module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1))]
        return dict(sorted(found.items()))

    def collection(self, source: dict[str, Any], environment: dict[str, Any]) -> dict[str, str]:
        """Returns the hashes of the code that collects a source's histories."""
        backend = BACKENDS.modules[source.get("backend", "gymnasium")]
        roots = ["script collect", SOURCES.modules[source["kind"]], backend, *_environment(environment)]
        return self.used_by(roots, _rows(ENVIRONMENTS, [environment["id"]]))

    def manifest(self, dataset: dict[str, Any]) -> dict[str, str]:
        """Returns the hashes of the code that writes a dataset's manifest."""
        return self.used_by(["script manifest", ENCODINGS.modules[dataset["encoding"]["kind"]]])

    def training(
        self, agent: dict[str, Any], dataset: dict[str, Any], environments: Iterable[dict[str, Any]] = ()
    ) -> dict[str, str]:
        """Returns the hashes of the code that trains an agent's weights. environments: those that it acts in during training."""
        kinds = [
            kinds.modules[agent[key]["kind"]]
            for key, kinds in (("windows", WINDOWS), ("labels", LABELS), ("loss", LOSSES), ("training", TRAINERS))
        ]
        environments = list(environments)
        own = [module for e in environments for module in _environment(e)]
        rows = _rows(ENVIRONMENTS, [e["id"] for e in environments])
        return self.used_by(["script train", *kinds, *own, *_of_agent(agent, dataset)], rows)

    def rollout(
        self, agent: dict[str, Any], dataset: dict[str, Any], condition: str, environment: dict[str, Any],
        prompted: bool = False,
    ) -> dict[str, str]:  # fmt: skip
        """Returns the hashes of the code of an agent's rollouts under a condition. prompted: whether contexts are shown a prompt."""
        roots = ["script evaluate_agent", condition_module(condition), BACKENDS.modules["gymnasium"]]
        roots += ["gla.prompts"] * prompted
        return self.used_by(
            [*roots, *_of_agent(agent, dataset), *_environment(environment)], _rows(ENVIRONMENTS, [environment["id"]])
        )

    def baseline(self, condition: str, environment: dict[str, Any]) -> dict[str, str]:
        """Returns the hashes of the code of a baseline's rollouts."""
        roots = [
            "script evaluate_baseline",
            condition_module(condition),
            BACKENDS.modules["gymnasium"],
            *_environment(environment),
        ]
        return self.used_by(roots, _rows(ENVIRONMENTS, [environment["id"]]))

    def reference(self, environment: dict[str, Any]) -> dict[str, str]:
        """Returns the hashes of the code that trains the reference policies, which scores are measured against."""
        roots = ["script refer", BACKENDS.modules[environment["reference"]["backend"]], *_environment(environment)]
        return self.used_by(roots, _rows(ENVIRONMENTS, [environment["id"]]))

    def table(
        self, kind: str, environments: Iterable[dict[str, Any]] = (), conditions: Iterable[str] = ()
    ) -> dict[str, str]:
        """Returns the hashes of the code of a figure's table. environments: those whose best returns it needs. conditions:
        those whose rollouts it holds."""
        environments = list(environments)
        own = [module for e in environments for module in _environment(e)]
        rows = _rows(ENVIRONMENTS, [e["id"] for e in environments]) | _rows(CONDITIONS, conditions)
        return self.used_by(["script tabulate", FIGURES.modules[kind], *own], rows)

    def drawing(self, kind: str, conditions: Iterable[str] = ()) -> dict[str, str]:
        """Returns the hashes of the code that draws a figure. conditions: those whose rollouts it shows."""
        return self.used_by(["script plot", FIGURES.modules[kind], STYLE], _rows(CONDITIONS, conditions))

    def verdicts(self, conditions: Iterable[str]) -> dict[str, str]:
        """Returns the hashes of the code of the table of verdicts. conditions: those whose rollouts it judges."""
        return self.used_by(["script verdicts"], _rows(CONDITIONS, conditions))

    def card(self, dataset: dict[str, Any]) -> dict[str, str]:
        """Returns the hashes of the code that writes an agent's model card."""
        return self.used_by(["script card", ENCODINGS.modules[dataset["encoding"]["kind"]]])

    def acting(self) -> dict[str, str]:
        """Returns the hashes of the code that writes the settings with which an agent acts by hand."""
        return self.used_by(["script acting"])

    def software(self) -> dict[str, str]:
        """Returns the hashes of the code that writes the table of software versions."""
        return self.used_by(["script software"])
