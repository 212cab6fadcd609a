"""A checkout that nothing is written to, and a report of what is whole."""

import os
import subprocess
import sys

import pytest
from checkouts import copied

from gla.files import hash_file

TARGET = "results/smoke/software.csv"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("checkout"))


def _snakemake(checkout, *arguments):
    """Output and exit status."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout + done.stderr, done.returncode


@pytest.fixture(scope="module")
def elsewhere(checkout, tmp_path_factory):
    """A folder in which one file was made from the checkout, and what that wrote into the checkout."""
    folder, before = tmp_path_factory.mktemp("elsewhere"), sorted(checkout.rglob("*"))
    output, status = _snakemake(checkout, "--configfile", "config/smoke.yaml", "--directory", str(folder), TARGET)
    assert status == 0, output
    return folder, sorted(set(checkout.rglob("*")) - set(before))


def test_results_are_made_elsewhere_and_nothing_in_the_checkout(checkout, elsewhere):
    folder, written = elsewhere
    assert (folder / TARGET).exists() and written == []
    output, status = _snakemake(checkout, "--directory", str(folder), "--dry-run", "all")  # the default config
    assert status == 0 and "train" in output, output


def test_a_report_with_a_damaged_file_is_refused(checkout, elsewhere):
    folder = elsewhere[0]
    arguments = ("--configfile", "config/smoke.yaml", "--directory", str(folder), "--report", "report.html", TARGET)
    output, status = _snakemake(checkout, *arguments)
    assert status == 0 and (folder / "report.html").exists(), output
    (folder / "report.html").unlink()
    content = (folder / TARGET).read_text()
    (folder / TARGET).write_text(content.replace("torch", "tOrch"))
    output, status = _snakemake(checkout, *arguments)
    assert status != 0 and f"{TARGET}: altered or cut off" in output and not (folder / "report.html").exists(), output
    hash_file(folder / TARGET).unlink()
    output, status = _snakemake(checkout, *arguments)
    assert status != 0 and f"{TARGET}: no hash next to it" in output and not (folder / "report.html").exists(), output
    (folder / TARGET).write_text(content)


def test_a_folder_of_results_that_cannot_be_made_is_one_line(checkout, tmp_path):
    """One below a file the config's check refuses; one that the system refuses is told of when the run starts."""
    arguments = ("--configfile", "config/smoke.yaml", "--directory", str(tmp_path), "--config")
    output, status = _snakemake(checkout, *arguments, "pathvars={results: /etc/passwd/x}")
    assert status != 0 and "Traceback" not in output
    assert "pathvars.results: '/etc/passwd/x', but '/etc/passwd' is no folder (expected a folder)" in output
    output, status = _snakemake(checkout, *arguments, "pathvars={results: /proc/x}", "--", "/proc/x/software.csv")
    assert status != 0 and "Traceback" not in output and "'/proc/x'" in output, output
