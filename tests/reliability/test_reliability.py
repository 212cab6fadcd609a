"""A few faults of every kind (all of them: ``make test-slow``, ``python tests/reliability/injections.py``)."""

import signal

import injections
import pytest
from injections import LONG, STAGES, Tree, problems

from gla.files import CorruptFile
from gla.verify import verify

needs_mounts = pytest.mark.skipif(not injections.can_mount(), reason="file systems cannot be mounted here")


def few_and_many(few, many):
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("reliability") / "tree")


def _all_noticed(outcome, count=None):
    assert outcome.injected == (count or outcome.injected) > 0
    assert outcome.noticed == outcome.injected and outcome.lost == 0, outcome


@few_and_many(20, 200)
@pytest.mark.parametrize("damage", ["_flip", "_cut", "_delete"])
def test_every_damaged_file_is_named(tree, tmp_path, damage, count):
    _all_noticed(injections.damaged(tree, tmp_path / "w", getattr(injections, damage), count), count)


def test_a_file_of_unknown_origin_is_named(tree, tmp_path):
    folder = tree.before("draw", tmp_path / "w")
    (folder / "rollouts/grid/agent/other.parquet").write_bytes(b"x")
    (folder / "histories/grid/0-3/history.zarr/reward/c/9").write_bytes(b"x")
    store, file = problems(folder)
    assert "c/9: not one of the store's files" in store and "other.parquet: no hash" in file


def test_a_store_without_a_digest_is_named(tree, tmp_path):
    folder = tree.before("manifest", tmp_path / "w")
    for path in folder.glob("histories/grid/*0-3.json*"):
        path.unlink()
    (line,) = problems(folder)
    assert line.startswith(f"{folder}/histories/grid/0-3.json: missing")


def test_whole_files_that_do_not_belong_together_are_named(tree, tmp_path):
    """Weights of another training, with a hash that fits them."""
    folder = tree.before("draw", tmp_path / "w")
    path = folder / "agents/agent/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    injections._rehash(path)
    (line,) = problems(folder)
    assert line.startswith(f"{path}: not what ")


def test_verifying_says_how_far_it_is_and_what_it_found(tree, tmp_path, capsys):
    assert verify(tree.folder) == []
    assert f"[verify {tree.folder}] " in capsys.readouterr().err
    with pytest.raises(CorruptFile, match="nowhere: no such folder"):
        verify(tmp_path / "nowhere")


@few_and_many(3, 25)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
@pytest.mark.parametrize("stage", LONG)
def test_a_stage_that_is_killed_goes_on_to_the_same_bytes(tree, tmp_path, stage, number, count):
    _all_noticed(injections.killed(tree, tmp_path / "w", stage, number, count), count)


@few_and_many(2, 12)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_while_it_writes_leaves_nothing_half_written(tree, tmp_path, stage, count):
    _all_noticed(injections.killed_at_writes(tree, tmp_path / "w", stage, count))


@needs_mounts
@few_and_many(1, 5)
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_named_and_harms_nothing(tree, tmp_path, stage, count):
    (tmp_path / "w").mkdir()
    _all_noticed(injections.full_disk(tree, tmp_path / "w", stage, count))


@needs_mounts
@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_is_read_only_is_named_and_harms_nothing(tree, tmp_path, stage):
    (tmp_path / "w").mkdir()
    _all_noticed(injections.read_only(tree, tmp_path / "w", stage), 1)


@few_and_many(1, 5)
@pytest.mark.parametrize("stage", ["collect", "train"])
def test_of_two_processes_on_one_output_one_is_refused(tree, tmp_path, stage, count):
    _all_noticed(injections.at_once(tree, tmp_path / "w", stage, count), count)


def test_training_never_goes_on_from_a_checkpoint_of_something_else(tree, tmp_path):
    _all_noticed(injections.old_checkpoints(tree, tmp_path / "w"), 3)


@few_and_many(7, len(injections.NUMBERS))
def test_a_number_that_is_not_finite_stops_the_run_and_is_named(tree, tmp_path, count):
    _all_noticed(injections.wrong_numbers(tree, tmp_path / "w", count))


def test_hostile_files_are_refused_in_a_second_and_500_megabytes(tree, tmp_path):
    _all_noticed(injections.hostile(tree, tmp_path / "w"), len(injections.HOSTILE))
