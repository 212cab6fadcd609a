import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gla.files import (
    Busy,
    CorruptFile,
    atomic,
    check,
    exclusive,
    fingerprint,
    hash_file,
    hashes,
    read_csv,
    read_json,
    remove,
    write_json,
)


def test_the_hash_is_what_sha256sum_checks(tmp_path):
    path = tmp_path / "a table.csv"
    for text in ("one", "two"):
        with atomic(path) as temporary:
            temporary.write_text(text)
        assert sorted(os.listdir(tmp_path)) == [".a table.csv.sha256", "a table.csv"]
        assert len(hashes(path)) == 1
        subprocess.run(
            ["sha256sum", "--check", "--strict", hash_file(path).name], cwd=tmp_path, check=True, capture_output=True
        )
    remove(path)
    remove(path)
    assert os.listdir(tmp_path) == []


@given(
    data=st.binary(min_size=1, max_size=200),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    cut=st.booleans(),
    own=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_every_bit_of_a_file_and_of_its_hash_counts(tmp_path_factory, data, place, bit, cut, own):
    path = tmp_path_factory.mktemp("f") / "x.bin"
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    check(path)
    damaged = path if own else hash_file(path)
    content = bytearray(damaged.read_bytes())
    position = int(place * len(content))
    content[position] ^= 1 << bit
    damaged.write_bytes(content[:position] if cut else content)
    with pytest.raises(CorruptFile, match="x.bin: altered or cut off"):
        check(path)


def test_a_writer_that_fails_leaves_the_old_file_and_its_hash(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, 1)
    with pytest.raises(KeyError), atomic(path) as temporary:
        temporary.write_text("2")
        raise KeyError
    assert read_json(path) == 1 and sorted(os.listdir(tmp_path)) == [".x.json.sha256", "x.json"]


@pytest.mark.parametrize("moment", ["first hash", "file"])
def test_a_writer_that_dies_leaves_a_file_that_fits_its_hash(tmp_path, moment):
    """Between the hash and the file: the one renamed and the other not yet."""
    path = tmp_path / "x.json"
    write_json(path, 1)
    code = """
import os, sys
from gla import files
replace, calls = os.replace, []
def dying(source, target):
    replace(source, target)
    calls.append(target)
    if len(calls) == int(sys.argv[2]):
        os._exit(9)
os.replace = dying
files.write_json(sys.argv[1], 2)
"""
    number = {"first hash": "1", "file": "2"}[moment]
    assert subprocess.run([sys.executable, "-c", code, str(path), number], check=False).returncode == 9
    assert len(hashes(path)) == 2 and read_json(path) == {"first hash": 1, "file": 2}[moment]
    write_json(path, 3)
    assert len(hashes(path)) == 1 and read_json(path) == 3
    assert sorted(os.listdir(tmp_path)) == [".x.json.sha256", "x.json"]


def test_what_is_altered_is_not_read_and_a_copy_is(tmp_path):
    path = tmp_path / "x.csv"
    with atomic(path) as temporary:
        temporary.write_text("a\n1\n")
    shutil.copy(path, tmp_path / "copy.csv")
    path.write_text("a\n2\n")
    with pytest.raises(CorruptFile, match="x.csv: altered"):
        read_csv(path)
    assert read_csv(tmp_path / "copy.csv")["a"].tolist() == [1]


def test_a_folder_in_the_place_of_a_hash_is_named(tmp_path):
    write_json(tmp_path / "x.json", 1)
    hash_file(tmp_path / "x.json").unlink()
    hash_file(tmp_path / "x.json").mkdir()
    for use in (check, read_json, lambda path: write_json(path, 2)):
        with pytest.raises(
            CorruptFile, match=r"/\.x\.json\.sha256: a folder \(expected a file, the hash of x\.json\); delete it"
        ):
            use(tmp_path / "x.json")


def test_a_file_may_have_to_have_its_hash(tmp_path):
    write_json(tmp_path / "x.json", 1)
    check(tmp_path / "x.json", copies=False)
    hash_file(tmp_path / "x.json").unlink()
    check(tmp_path / "x.json")
    with pytest.raises(CorruptFile, match=r"x.json: no hash next to it \(expected .*/\.x\.json\.sha256\)"):
        check(tmp_path / "x.json", copies=False)


def test_a_second_writer_is_refused(tmp_path):
    code = "import sys; from gla.files import write_json; write_json(sys.argv[1], 2)"
    path = tmp_path / "x.json"
    with atomic(path) as temporary:
        temporary.write_text("1")
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and ".x.partial.json: another process is writing it" in done.stderr
    assert read_json(path) == 1
    with exclusive(tmp_path), pytest.raises(Busy, match="another process"), exclusive(tmp_path):
        pass


def test_a_json_that_nests_too_deep_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[" * 100_000)
    with pytest.raises(CorruptFile, match="x.json: not readable as JSON"):
        read_json(path)


def test_a_fingerprint_is_of_the_content_whatever_the_order_of_the_keys():
    assert (
        fingerprint({"a": [1, {"c": 2, "b": 3}]})
        == fingerprint({"a": [1, {"b": 3, "c": 2}]})
        != fingerprint({"a": [{"c": 2, "b": 3}, 1]})
    )
    assert (
        fingerprint({"a": {3: 1, "b": 2}}) == fingerprint({"a": {"b": 2, 3: 1}}) != fingerprint({"a": {"b": 1, 3: 2}})
    )  # as YAML has them
