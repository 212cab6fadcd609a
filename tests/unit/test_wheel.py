"""The package as it is installed from a wheel, outside of the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def _run(*words, **options):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs Python where the wheel comes before the checkout. Its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ("--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    copy = folder / "copy"  # so that the checkout is left as it is
    shutil.copytree(
        CHECKOUT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".*.sha256")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    _run("-m", "pip", "wheel", *build, "--wheel-dir", folder, copy)
    (wheel,) = folder.glob("gla-*.whl")
    _run(
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        folder / "site",
        wheel,
    )
    return lambda *words: _run(*words, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder / "site")})


def test_an_installed_agent_learns_and_is_drawn(installed):
    assert "/site/gla/" in installed("-c", "import gla; print(gla.__file__)")
    task = ["--kwargs", "{start: [1, 1], goal: [0, 2]}", "--episodes", "20", "--seeds", "8"]
    said = installed("-m", "gla", "learn", "--agent", "grid", "--env", "gla/GridWorld-v0", *task, "--plot", "out.png")
    assert "grid: learns from reward" in said
    installed("-c", "from pathlib import Path; assert Path('out.png').stat().st_size > 10_000")


def test_all_agents_and_the_marker_of_types_are_installed(installed):
    asked = "import gla, pathlib; print([gla.load(n) for n in gla.agents()], pathlib.Path(gla.__file__).with_name('py.typed').exists())"
    said = installed("-c", asked)
    assert all(f"<agent '{name}'" in said for name in ("grid", "omni", "point_mass")) and said.strip().endswith("True")


def test_the_pipeline_runs_from_the_wheel(installed, tmp_path):
    shutil.copy(CHECKOUT / "config/smoke.yaml", tmp_path)
    said = installed("-m", "gla", "run", tmp_path / "smoke.yaml", "--cores", "2", "--dry-run")
    assert "/site/gla/pipeline" in said and "Job stats:" in said and "evaluate_agent" in said
    installed("-m", "gla", "new", "mylab")
    installed("-c", "from pathlib import Path; assert Path('mylab/mylab/calmer.py').exists()")
