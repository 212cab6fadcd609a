"""The lines of verify for missing and unreadable files, and a check that following its advice comes to an end."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from gla.files import check, hash_file, remove, write_json
from gla.verify import verify

AGENT = [f"agents/a.1/{name}" for name in ("weights.safetensors", "agent.json", "metrics.jsonl", "by_position.csv")]
CARD, MANIFEST = "agents/a.1/README.md", ["manifests/d.csv", "manifests/d.json"]
REFERENCE, FIGURE = (
    ["references/e/test.safetensors", "references/e/test.json"],
    ["figures/f.csv", "figures/f.png", "figures/f.pdf"],
)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty folder of results, below the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def _write(*names):
    for name in names:
        write_json(f"results/{name}", name)


def _missing():
    """Files that verify says are missing."""
    return [line.split(":")[0].removeprefix("results/") for line in verify("results") if ": missing (" in line]


@pytest.mark.parametrize(
    "written, deleted",
    [*[([*AGENT, CARD], [name]) for name in AGENT], (AGENT, AGENT[:2]), ([*AGENT, CARD], AGENT), *[(MANIFEST, [name]) for name in MANIFEST],
     *[(REFERENCE, [name]) for name in REFERENCE], *[(FIGURE, [name]) for name in FIGURE], (FIGURE, FIGURE[:2])],
)  # fmt: skip
def test_a_file_that_is_deleted_with_its_hash_is_missed_by_those_beside_it(results, written, deleted):
    _write(*written)
    assert _missing() == []
    for name in deleted:
        remove(results / name)
    assert _missing() == sorted(deleted)


@pytest.mark.parametrize(
    "written",
    [AGENT, ["figures/f.csv"], ["tables/verdicts.csv"], ["figures/f.csv", "manifests/f.csv", "manifests/f.json"]],
)
def test_what_need_not_be_there_is_not_missed(results, written):
    _write(*written)
    assert _missing() == []


def test_a_store_and_its_digest_miss_each_other(results):
    digest, store = "histories/s/0-3.json", "histories/s/0-3/history.zarr"
    (results / store).mkdir(parents=True)
    assert _missing() == [digest]
    _write(digest)
    assert _missing() == []
    (results / store).rmdir()
    assert _missing() == [store]


def _obey():
    """Delete what the last word of each line says, until nothing is said."""
    rounds = 0
    while lines := verify("results"):
        rounds += 1
        for line in lines:
            subject, order = line.split(": ")[0], line.rpartition("; ")[2]
            (what,) = re.search(r"delete (\S+?)(?:,|\s|$)", order).groups()
            path = subject if what == "it" else what
            shutil.rmtree(path) if os.path.isdir(path) else os.path.exists(path) and os.unlink(path)
        assert rounds < 10, lines
    return rounds


@pytest.mark.parametrize(
    "written",
    [
        ["rollouts/old/a/agent.parquet"],
        AGENT,
        MANIFEST,
        REFERENCE,
        FIGURE,
        ["tables/verdicts.csv"],
        ["histories/s/0-3.json"],
        ["software.csv"],
    ],
)
def test_what_no_config_names_any_more_can_be_done_away_with(results, written):
    """Nothing makes it again. After the advice is followed, verify finds nothing wrong with the folder."""
    _write(*written)
    (results / written[0]).write_text("damaged")
    assert any(line.startswith(f"results/{written[0]}: altered or cut off") for line in verify("results"))
    (results / written[0]).unlink()
    assert any(line.endswith(" if no config names it any more") for line in verify("results"))
    assert 0 < _obey() <= 3


def test_a_folder_in_the_place_of_a_hash_is_named_and_the_rest_is_looked_at(results):
    _write("tables/verdicts.csv", "tables/z.csv", *MANIFEST)
    for name in ("tables/verdicts.csv", MANIFEST[0]):
        hash_file(results / name).unlink()
        hash_file(results / name).mkdir()
    (results / "tables/z.csv").write_text("damaged")
    first, _, second, third = verify("results")  # besides, the manifest's summary is none
    assert first == "results/manifests/.d.csv.sha256: a folder (expected a file, the hash of d.csv); delete it"
    assert second.startswith("results/tables/.verdicts.csv.sha256: a folder") and third.startswith(
        "results/tables/z.csv: altered"
    )
    _obey()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(results):
    _write("tables/verdicts.csv")
    (results / "tables/verdicts.csv").chmod(0)
    assert verify("results") == ["results/tables/verdicts.csv: Permission denied (expected a file that can be read)"]


@pytest.mark.parametrize("command", [["gla.cli", "verify", "results"], ["gla.verify"]])
def test_a_name_that_is_no_text_is_printed(results, command):
    (results / os.fsdecode(b"\xff\xfe.csv")).write_text("x")
    _write("tables/verdicts.csv")
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "results/\\udcff\\udcfe.csv: no hash next to it" in done.stdout, done.stderr
    check("results/tables/verdicts.csv")
