"""Copies of a checkout, for tests that run one and change it."""

import ast
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("Snakefile", "workflow", "config", "src", "profiles", "envs")


def copied(folder: Path, source: Path = ROOT) -> Path:
    """The folder, which has the sources of another checkout now, and none of its results."""
    for name in SOURCES:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source / name, folder)
    return folder


def register(registry: Path, line: str) -> None:
    """Add a line to the first table of a ``kinds.py``, below its last."""
    lines = registry.read_text().splitlines()
    table = next(node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Dict))
    row, column = table.values[-1].end_lineno - 1, table.values[-1].end_col_offset
    lines[row] = f"{lines[row][:column]}, {line.rstrip(',')}{lines[row][column:]}"
    registry.write_text("\n".join(lines) + "\n")
