"""Copies of a checkout, for tests that run one and change it."""

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
