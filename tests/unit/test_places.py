"""A file that is whole and lies where another one belongs is refused; one that was moved with what is around it is not."""

import errno
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import gla
from gla import agent
from gla.files import Busy, CorruptFile, atomic, check, hash_file, named, place, read_json, with_stores, write_json
from gla.paths import Paths
from gla.rows import COLUMNS, read_evaluation, read_rows, write_rows
from gla.storage.layout import read_digest
from gla.verify import verify


@pytest.mark.parametrize(
    "path, expected",
    [("results/rollouts/grid/a.1/agent.parquet", "rollouts/grid/a.1/agent.parquet"), ("results/tables/verdicts.csv", "tables/verdicts.csv"),
     ("/x/agents/y/results/manifests/grid.json", "manifests/grid.json"), ("rollouts/agents/a/agent.parquet", "rollouts/agents/a/agent.parquet"),
     ("agents/figures/agent.json", "agents/figures/agent.json"), ("results/software.csv", "software.csv"), ("agent.json", ""), ("agents/agent.json", "")],
)  # fmt: skip
def test_a_place_is_what_the_path_says_below_the_results(tmp_path, monkeypatch, path, expected):
    monkeypatch.chdir(tmp_path)
    assert place(path) == expected


def test_the_store_of_a_digest_is_where_the_paths_of_a_config_have_it():
    entry = {"lifetimes": 5, "lifetimes_per_block": 2}
    paths = Paths({"sources": {"a": entry, "b": entry}}, "s3/bucket/results.json")
    stores, digests = paths.stores(["a", "b"]), paths.digests(["a", "b"])
    assert with_stores(digests) == list(zip(stores, digests, strict=True)) and len(stores) == 6


@pytest.fixture
def results(tmp_path):
    """Two tables in a folder of results."""
    for name in "ab":
        write_json(tmp_path / f"results/manifests/{name}.json", name)
    return tmp_path / "results"


def _copy(source, target):
    """A file and its hash, as one who copies both and fits the name would."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    hash_file(target).write_text(hash_file(source).read_text().replace(f"  {source.name}", f"  {target.name}"))


def test_a_file_in_another_ones_place_is_refused(results):
    _copy(results / "manifests/a.json", results / "manifests/b.json")
    with pytest.raises(
        CorruptFile,
        match=r"manifests/b.json: a copy of manifests/a.json \(expected the file that was made for this place\)",
    ):
        read_json(results / "manifests/b.json")
    check(results / "manifests/b.json", anywhere=True)
    write_json(results / "manifests/b.json", "b")  # made anew
    assert read_json(results / "manifests/b.json") == "b"


@pytest.mark.parametrize(
    "source, target",
    [("tables/verdicts.csv", "figures/figure3.csv"), ("figures/figure3.csv", "software.csv"), ("software.csv", "tables/verdicts.csv"),
     ("manifests/agents.json", "agents/a/agent.json"), ("agents/a/by_position.csv", "figures/a.csv")],
)  # fmt: skip
def test_a_file_in_the_place_of_another_kind_is_refused(tmp_path, source, target):
    write_json(tmp_path / "results" / source, 1)
    check(tmp_path / "results" / source)
    _copy(tmp_path / "results" / source, tmp_path / "results" / target)
    with pytest.raises(CorruptFile, match=f"results/{target}: a copy of {source} "):
        check(tmp_path / "results" / target)
    assert verify(tmp_path / "results")


def test_results_may_be_moved_and_files_copied_out_of_them(results, tmp_path):
    results.rename(tmp_path / "other")
    assert read_json(tmp_path / "other/manifests/a.json") == "a"
    _copy(tmp_path / "other/manifests/a.json", tmp_path / "elsewhere/x.json")
    assert read_json(tmp_path / "elsewhere/x.json") == "a"


@pytest.mark.parametrize("name", ["agents", "histories", "rollouts", "figures"])
@pytest.mark.parametrize("file", ["manifests/a.json", "rollouts/v/a/agent.json", "software.csv"])
def test_a_folder_of_results_may_bear_the_name_of_one_in_it(tmp_path, name, file):
    for before, after in (("agents", "other"), (name, "third"), ("results", name)):
        write_json(tmp_path / before / file, "a")
        (tmp_path / before).rename(tmp_path / after)
        assert read_json(tmp_path / after / file) == "a"
    if name != "agents":
        (tmp_path / name).rename(tmp_path / "agents")
        assert read_json(tmp_path / "agents" / file) == "a"


def test_sha256sum_checks_a_hash_with_a_place(results):
    folder = results / "manifests"
    assert hash_file(folder / "a.json").read_text().startswith("# manifests/a.json\n")
    subprocess.run(["sha256sum", "--check", "--strict", ".a.json.sha256"], cwd=folder, check=True, capture_output=True)


def test_a_hash_without_a_place_is_as_good(results):
    path = results / "manifests/a.json"
    hash_file(path).write_text(hash_file(path).read_text().split("\n", 1)[1])
    assert read_json(path) == "a"


@pytest.fixture
def shipped(tmp_path, agent_folder):
    """An agent as training writes it into a folder of results."""
    folder = tmp_path / "results/agents/tiny"
    for path in (agent_folder / "weights.safetensors", agent_folder / "agent.json"):
        with atomic(folder / path.name) as temporary:
            shutil.copy(path, temporary)
    return folder


def test_an_agent_is_loaded_under_any_name_and_evaluated_under_its_own(shipped, tmp_path):
    other = shutil.copytree(shipped, shipped.with_name("other"))
    with pytest.raises(CorruptFile, match="other/agent.json: a copy of agents/tiny/agent.json"):
        agent.load(other)
    assert gla.load(other).name == "other"
    away = shutil.copytree(shipped, tmp_path / "downloads/mine")
    assert agent.load(away).config == gla.load(away).config == agent.load(shipped).config


def test_a_digest_of_other_histories_is_refused(tmp_path, grid_store):
    for name, fits in (("grid/0-3", True), ("grid/4-7", False), ("other/0-3", False)):
        path = tmp_path / f"histories/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(grid_store[1], path)  # whose hash stays behind, as in a storage
        if fits:
            assert read_digest(path)["source"] == "grid"
        else:
            with pytest.raises(CorruptFile, match=f"{name}.json: a digest of histories/grid/0-3.json"):
                read_digest(path)


def _rows(agent="a", environment="e", condition="agent", network=0):
    rows = [(agent, environment, condition, network, s, i, i + 1, 1.0, 1, True) for s in range(2) for i in range(3)]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize(
    "where, rows, fits",
    [("v/a/agent", {}, True), ("v/a.1/agent", {"network": 1}, True), ("v/a/agent", {"network": 1}, False), ("v/b/agent", {}, False),
     ("v/a/rewards_hidden", {}, False), ("v/baseline/reference", {"agent": "baseline", "condition": "reference", "network": 2}, True)],
)  # fmt: skip
def test_rollouts_are_those_that_their_path_says(tmp_path, where, rows, fits):
    path = tmp_path / f"rollouts/{where}.parquet"
    write_rows(_rows(**rows), path)
    if fits:
        assert len(read_rows(path)) == 6
    else:
        with pytest.raises(CorruptFile, match=r"agent.parquet: rollouts of a|rewards_hidden.parquet: rollouts of a"):
            read_rows(path)


def test_rollouts_of_one_evaluation_are_in_one_environment(tmp_path):
    paths = [tmp_path / f"rollouts/v/a/{c}.parquet" for c in ("agent", "rewards_hidden")]
    for path, environment in zip(paths, ("e", "f"), strict=True):
        write_rows(_rows(condition=path.stem, environment=environment), path)
    with pytest.raises(CorruptFile, match=r"rewards_hidden.parquet: rollouts in 'f' \(expected 'e'"):
        read_evaluation(paths)
    write_rows(_rows(condition="rewards_hidden"), paths[1])
    assert np.array_equal(read_evaluation(paths)["condition"].unique(), ["agent", "rewards_hidden"])


def test_an_error_without_a_file_is_given_one():
    with pytest.raises(OSError, match="No space left on device: 'x'"), named("x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="y"), named("x"):
        raise OSError(errno.ENOSPC, "No space left on device", "y")
    with pytest.raises(Busy, match="^a sentence$"), named("x"):
        raise Busy("a sentence")
