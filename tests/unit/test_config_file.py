"""Mistakes that YAML accepts silently, or that would end in a traceback, give one line with the file and the line number."""

from pathlib import Path

import pytest
import yaml

from gla.config import file
from gla.options import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


@pytest.fixture
def read(tmp_path):
    """The content of a file with this text, or the lines of the error without the file's name."""

    def read(text):
        path = tmp_path / "c.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            return file.read(path)
        except ConfigError as error:
            lines = str(error).splitlines()
            assert all(line.startswith(f"{path}: ") and "expected" in line for line in lines)
            return [line.removeprefix(f"{path}: ") for line in lines]

    return read


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_shipped_configs_are_what_yaml_says(path):
    assert file.read(path) == yaml.safe_load(path.read_text())


def test_merges_and_aliases_go_on_working(read):
    text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {z: 1, <<: [*a, *b]}\nd: *a\ne: [*a, *a]\n"
    assert read(text) == {
        "a": {"x": 1, "y": 1}, "b": {"x": 2, "y": 1}, "c": {"x": 1, "y": 1, "z": 1}, "d": {"x": 1, "y": 1}, "e": [{"x": 1, "y": 1}] * 2,
    }  # fmt: skip


def test_json_is_yaml_and_a_byte_order_mark_is_none_of_it(read):
    assert read('{"a": {"b": [1, 2.5, null, true, "x"]}}') == {"a": {"b": [1, 2.5, None, True, "x"]}}
    assert read(b"\xef\xbb\xbfa: 1\n") == {"a": 1}


def test_every_key_that_is_there_twice_is_named_with_both_lines(read):
    text = "a:\n  b: {x: 1}\n  c: {x: 1, y: 2, x: 3}\n  b: {x: 2}\nd:\n  - e: 1\n    e: 2\n"
    assert read(text) == [
        "line 3: a.c.x: in line 3 already (expected once)",
        "line 4: a.b: in line 2 already (expected once)",
        "line 7: d[0].e: in line 6 already (expected once)",
    ]


@pytest.mark.parametrize(
    "text", ["1: a\n0x1: b\n", "yes: a\ntrue: b\n", "'a': 1\n\"a\": 2\n", "null: 1\n~: 2\n", "1: a\n1.0: b\n"]
)
def test_keys_that_are_equal_are_the_same_however_they_are_written(read, text):
    (line,) = read(text)
    assert line.startswith("line 2: ") and line.endswith("in line 1 already (expected once)")


def test_two_merges_are_one_of_a_list(read):
    (line,) = read("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n")
    assert line == "line 4: b.<<: in line 3 already (expected once, [*one, *another] to merge both)"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a:\n  b: 2024-01-01\n", "line 2: a.b: '2024-01-01' is of type timestamp to YAML"),
        ("2024-01-01: a\n", "line 1: 2024-01-01: '2024-01-01' is of type timestamp"),
        ("a: 2024-02-30\n", "line 1: a: '2024-02-30' is of type timestamp"),
        ("a: !!binary aGVsbG8=\n", "line 1: a: 'aGVsbG8=' is of type binary"),
        ("a: !!set {x}\n", "line 1: a: a collection is of type set"),
        ("a: !!omap [x: 1]\n", "line 1: a: a collection is of type omap"),
        (
            "a: !!python/object/apply:os.system [x]\n",
            "line 1: a: a collection is of type python/object/apply:os.system",
        ),
        ("a: !b c\n", "line 1: a: 'c' is of type !b"),
        ("? !!map a\n: b\n", "line 1: a: 'a' is of type map"),
        ("a: !!str [b]\n", "line 1: a: a collection is of type str"),
        ("a: !<x%0Ay> b\n", "line 1: a: 'b' is of type 'x\\ny'"),
        ("a: =\n", "line 1: a: '=' is of type value"),
        ("a: !!int b\n", "line 1: a: 'b' (expected a value of type int"),
        ("a: !!bool b\n", "line 1: a: 'b' (expected a value of type bool"),
        (f"a: {'9' * 5000}\n", "line 1: a: '9999"),
        ("a: &a {x: 1}\nb:\n  <<: [*a, 1]\n", "line 3: b.<<: merges a value that is no mapping"),
        ("? [a]\n: b\n", "line 1: the document: a key that is a list or a mapping"),
        ("a: &a {b: *a}\n", "line 1: a.b: holds itself"),
        ("a: &a [1, [*a]]\n", "line 1: a[1][0]: holds itself"),
        ("a: &a {<<: *a}\n", "line 1: a: holds itself"),
        ("a: &a 1\nb: {<<: *a}\n", "line 2: b.<<: merges a value that is no mapping"),
        ("a: 1\nb: \0\n", "line 2: character U+0000"),
        (b"a: 1\nb: \xff\n", "line 2: byte 0xff (expected text in UTF-8)"),
        ("a:\n\tb: 1\n", "line 2: while scanning for the next token, found character '\\t'"),
        ("a: 1\n---\nb: 1\n", "line 2: expected a single document in the stream, but found another document"),
        ("a: *b\n", "line 1: found undefined alias 'b'"),
        ("a: [1\n", "line 2: while parsing a flow sequence"),
        ("%YAML 9.0\n---\na: 1\n", "line 1: found incompatible YAML document"),
        ('"a\\nb": 1\n"a\\nb": 1\n', "line 2: 'a\\nb': in line 1 already"),
        ("a: " + "[" * 9000 + "]" * 9000, "nested more than 32 deep"),
        ("a: " + "x" * 2**18, "more than 262144 bytes"),
        ("", "None (expected a mapping"),
        ("- a\n", "['a'] (expected a mapping"),
    ],
)
def test_a_fault_is_one_line(read, text, expected):
    (line,) = read(text)
    assert line.startswith(expected), line


def test_merges_that_stand_for_billions_of_keys_are_refused(read):
    text = "a0: &a0 {x: 1, y: 2}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 11)
    )
    assert read(text)[0] == "line 7: a6: merges more than 200000 keys (expected fewer)"


@pytest.mark.parametrize("path, expected", [("nowhere.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(path, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^{path}: {expected}.* .expected a config file.$"):
        file.read(path)
