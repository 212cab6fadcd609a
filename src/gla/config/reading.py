"""Turns raw dictionaries, as read from YAML, into checked entries.

``normalise`` turns a raw dictionary into one with all defaults filled in, in a fixed order and of plain YAML types, so that Snakemake
compares the same text no matter which defaults the user left out.
"""

import contextlib
import re
from typing import Any

import pydantic

from gla.config.checks import problems
from gla.config.whole import NOUNS, Config
from gla.encoding.kinds import ENCODINGS
from gla.figures.kinds import FIGURES
from gla.kinds import Kinds
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.options import ConfigError, check_values, cut, key_shown, shown
from gla.sources.kinds import SOURCES
from gla.trainers.kinds import TRAINERS
from gla.windows.kinds import WINDOWS

# Nouns and fields whose entries come in kinds. After each of them, pydantic inserts the name of the kind into the path.
_ENTRIES = {"sources": SOURCES, "figures": FIGURES}
_FIELDS = {
    "encoding": ENCODINGS,
    "windows": WINDOWS,
    "labels": LABELS,
    "loss": LOSSES,
    "model": MODELS,
    "training": TRAINERS,
}


def _tags(location: tuple[int | str, ...]) -> dict[int, Kinds]:
    """Returns the positions in an error's location that hold the name of a kind, each with its registry. Names of entries are
    no kinds.
    """
    field, found = 2 if location and location[0] in NOUNS else 0, {}
    if field and location[0] in _ENTRIES:
        found[field] = _ENTRIES[str(location[0])]
    elif len(location) > field and location[field] in _FIELDS:
        found[field + 1] = _FIELDS[str(location[field])]
    return {i: kinds for i, kinds in found.items() if i < len(location)}


def _path(location: tuple[int | str, ...]) -> list[int | str]:
    """Returns the keys in an error's location, without the branches of unions, which are no keys of the config."""
    tags, first = _tags(location), 2 if location and location[0] in NOUNS else 0
    return [
        part for i, part in enumerate(location)
        if i < first or not (i in tags or isinstance(part, str) and re.search(r"[\[(]|^(int|str|float)$|constrained", part))
    ]  # fmt: skip


def _elsewhere(location: tuple[int | str, ...]) -> str:
    """Returns which other kinds have an option that one kind lacks; an empty text if the location is not among the options of
    a kind.
    """
    kinds = _tags(location).get(len(location) - 2)
    if kinds is None:
        return ""
    option, kind = location[-1], str(location[-2])
    others = [name for name in kinds if option in kinds.options(name).model_fields]
    own = ", ".join(kinds.options(kind).model_fields)
    return f"{'an option of ' + ', '.join(others) + ' and ' if others else ''}not of {kind!r}, which has {own}"


def _sentence(error: Any) -> str:
    """Returns one line for one of pydantic's errors."""
    where = ".".join(map(key_shown, _path(error["loc"]))) or "config"
    value, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        other = _elsewhere(error["loc"])
        expected = f"no such key: it is {other}" if other else "one of those in config/README.md"
        return f"{where}: unknown key (value {shown(value)}; expected {expected})"
    if kind == "missing":
        return f"{where}: missing (expected a value)"
    if kind == "union_tag_not_found":
        return f"{where}.kind: missing (expected a kind)"
    if kind == "model_attributes_type":
        return f"{where}: {shown(value)} (expected a mapping with a kind)"
    if kind == "union_tag_invalid":
        return f"{where}.kind: {shown(error['ctx']['tag'])} (expected one of {error['ctx']['expected_tags'].replace(chr(39), '')})"
    message = re.sub(r"^(Value error, |(Input|String|List|Dictionary) should (be|have) )", "", error["msg"])
    if kind == "value_error":
        return f"{where}: {message}"
    hint = ""
    if isinstance(value, str) and kind in ("float_type", "int_type"):
        with contextlib.suppress(ValueError):
            hint = f"; YAML reads {value} as text, write {_yaml_number(float(value), kind)}"
    return f"{where}: {shown(value)} (expected {message}{hint})"


def _yaml_number(number: float, kind: str) -> str:
    """Returns a number in a form that YAML reads as one: it needs a point before the exponent."""
    if kind == "int_type" and number.is_integer():
        return str(int(number))
    mantissa, exponent, power = repr(number).partition("e")
    return mantissa if not exponent else f"{mantissa if '.' in mantissa else mantissa + '.0'}e{power}"


def check(entry: Any, raw: dict[str, Any]) -> Any:
    """Checks one entry alone, as read from YAML. Raises ConfigError with one line for each fault.

    entry: its type, such as ``gla.config.agents.Agent``.
    """
    try:
        return pydantic.TypeAdapter(entry).validate_python(raw)
    except pydantic.ValidationError as error:
        # A value that fits no branch of a union has an error for each branch. They are put into one line.
        sentences: dict[str, str] = {}
        for line in (_sentence(e) for e in error.errors()):
            where, _, rest = line.partition(" (expected ")
            first = sentences.setdefault(where, line)
            if rest and rest not in first:
                sentences[where] = f"{first[:-1]}, or {rest}"
        raise ConfigError("\n".join(sentences.values())) from None


def load(raw: dict[str, Any]) -> Config:
    """Checks a raw dictionary, as read from YAML, and returns the config.

    Raises ConfigError with one line for each fault: key, value, what was expected.
    """
    check_values(raw)
    config = check(Config, raw)
    if found := list(problems(config)):
        raise ConfigError("\n".join(map(cut, found)))
    return config


def ordered(config: Config) -> dict[str, Any]:
    """Returns a config as a dictionary with all defaults filled in, with keys in a fixed order and only plain YAML types."""

    def sort(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: sort(value[key]) for key in sorted(value, key=str)}
        return [sort(v) for v in value] if isinstance(value, list) else value

    return sort(config.model_dump())


def normalise(raw: dict[str, Any]) -> dict[str, Any]:
    """Returns a raw config, checked and ``ordered``. Raises ConfigError as ``load`` does."""
    return ordered(load(raw))
