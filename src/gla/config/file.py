"""Reads config files strictly. Mistakes that YAML accepts silently, or cannot read, give an error of one line with the file
and the line number."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gla.options import DEEPEST, MOST_VALUES, ConfigError, key_shown, shown

LARGEST = 2**18  # bytes; reading this many takes seconds
TAG = "tag:yaml.org,2002:"
# The types of YAML that a config may have.
PLAIN = {
    yaml.ScalarNode: {"str", "int", "float", "bool", "null"},
    yaml.SequenceNode: {"seq"},
    yaml.MappingNode: {"map"},
}


def read(path: str | Path) -> dict[str, Any]:
    """Returns the content of a config file, which is YAML or JSON. Raises ConfigError, which names the file, the line and, if
    there is one, the key.
    """
    try:
        with open(path, "rb") as f:
            data = f.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror} (expected a config file)") from None
    if len(data) > LARGEST:
        raise ConfigError(f"{path}: more than {LARGEST} bytes (expected a config file)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line}: byte {data[error.start]:#04x} (expected text in UTF-8)") from None
    raw = parse(text, path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: {shown(raw)} (expected a mapping with environments, agents, ...)")
    return raw


def parse(text: str, name: str | Path) -> Any:
    """Returns the value of a YAML document. Raises ConfigError, each line of which begins with the name of the document."""
    try:
        return _parsed(text)
    except RecursionError:
        raise ConfigError(f"{name}: nested more than {DEEPEST} deep (expected less)") from None
    except ConfigError as error:
        raise ConfigError("\n".join(f"{name}: {line}" for line in str(error).splitlines())) from None


def _parsed(text: str) -> Any:
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        # Checked before anything is constructed, since repeated merges could stand for billions of keys.
        if root and (faults := list(_faults(loader, root, "", (), {}))):
            raise ConfigError("\n".join(faults))
        return loader.construct_document(root) if root else None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"line {line}: character U+{error.character:04X} (expected text that can be printed)"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"line {mark.line + 1}: {said} (expected one document of YAML, indented by spaces)") from None


def _faults(
    loader: yaml.SafeLoader, node: yaml.Node, where: str, above: tuple[int, ...], sizes: dict[int, int]
) -> Iterator[str]:
    """Yields a line for each fault in a node and in the nodes below it.

    where: the path of the node. above: the nodes that contain it. sizes: number of keys, including merged ones, of each node that is
    finished.
    """
    here = f"line {node.start_mark.line + 1}: {where or 'the document'}"
    if id(node) in above:
        yield f"{here}: holds itself (expected aliases of complete values)"
    if id(node) in above or id(node) in sizes:
        return
    sizes[id(node)] = 1
    kind = node.tag.removeprefix(TAG)
    if kind not in PLAIN[type(node)]:
        value = shown(node.value) if isinstance(node, yaml.ScalarNode) else "a collection"
        expected = "text, a number, true, false, a list or a mapping; in quotes it is text"
        yield f"{here}: {value} is of type {key_shown(kind)} to YAML (expected {expected})"
    elif isinstance(node, yaml.ScalarNode):
        try:
            loader.construct_object(node)
        except (ValueError, KeyError, OverflowError):
            yield f"{here}: {shown(node.value)} (expected a value of type {kind} that can be read)"
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield from _faults(loader, value, f"{where}[{i}]", (*above, id(node)), sizes)
    else:
        yield from _faults_of_keys(loader, node, where, (*above, id(node)), sizes)


def _faults_of_keys(
    loader: yaml.SafeLoader, node: yaml.MappingNode, where: str, above: tuple[int, ...], sizes: dict[int, int]
) -> Iterator[str]:
    """Yields the ``_faults`` of a mapping. above: the nodes that contain its keys, including the mapping itself."""
    lines: dict[Any, int] = {}
    size = 0
    for key, value in node.value:
        line, merged = key.start_mark.line + 1, key.tag == f"{TAG}merge"
        if not isinstance(key, yaml.ScalarNode):
            yield f"line {line}: {where or 'the document'}: a key that is a list or a mapping (expected text)"
            continue
        path = f"{where}.{key_shown(key.value)}".removeprefix(".")
        if faults := [] if merged else list(_faults(loader, key, path, above, {})):
            yield from faults
            continue
        name = key.tag if merged else loader.construct_object(key)
        if name in lines:
            expected = "once, [*one, *another] to merge both" if merged else "once"
            yield f"line {line}: {path}: in line {lines[name]} already (expected {expected})"
        lines.setdefault(name, line)
        # Merged keys may be overridden, unlike other keys.
        yield from _faults(loader, value, where if merged else path, above, sizes)
        parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if merged and not all(isinstance(part, yaml.MappingNode) for part in parts):
            yield f"line {line}: {path}: merges a value that is no mapping (expected a mapping, or a list of mappings)"
        size += sum(sizes.get(id(part), 1) for part in parts) if merged else 1
    if size > MOST_VALUES:
        yield f"line {node.start_mark.line + 1}: {where or 'the document'}: merges more than {MOST_VALUES} keys (expected fewer)"
    sizes[id(node)] = size if size <= MOST_VALUES else 1  # reported only once
