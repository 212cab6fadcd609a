"""Raw dictionaries, as YAML gives them, to checked entries.

``normalise`` turns a raw dictionary into one with every default filled in, in a fixed order and of plain YAML types, so that
Snakemake compares the same text whatever the user left out.
"""

import contextlib
import re
from typing import Any

import pydantic

from gla.config.checks import problems
from gla.config.whole import Config
from gla.encoding.kinds import ENCODINGS
from gla.figures.kinds import FIGURES
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.options import DEEPEST, MOST_BITS, MOST_VALUES, ConfigError, cut, key_shown, shown
from gla.sources.kinds import SOURCES
from gla.windows.kinds import WINDOWS


def _check_values(raw: Any) -> None:
    """Raises ConfigError for a config that is too large or too deep to be one, or holds what no file of results can hold.

    YAML's aliases let a few lines stand for billions of values, so that whoever walks them all never ends.
    """
    left, stack = MOST_VALUES, [("config", raw, 0)]
    while stack:
        where, value, depth = stack.pop()
        left -= 1
        if left < 0 or depth > DEEPEST:
            found = f"more than {MOST_VALUES} values" if left < 0 else f"nested more than {DEEPEST} deep"
            entry = ".".join(where.partition("[")[0].split(".")[:3])
            raise ConfigError(f"{entry}: {found} (expected fewer; do aliases repeat each other?)")
        if isinstance(value, dict):
            stack += [(f"{where}.{key_shown(key)[:40]}".removeprefix("config."), v, depth + 1) for key, v in value.items()]
            stack += [(where, key, depth) for key in value]
        elif isinstance(value, list):
            stack += [(f"{where}[{i}]", v, depth + 1) for i, v in enumerate(value)]
        elif isinstance(value, float) and value != value:
            raise ConfigError(f"{where}: nan (expected a number)")
        elif isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise ConfigError(f"{where}: an integer of {value.bit_length()} bits (expected at most {MOST_BITS})")
        elif isinstance(value, str) and not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise ConfigError(f"{where}: {shown(value)} (expected text that UTF-8 can hold)")
        elif not isinstance(value, str | int | float | None):
            raise ConfigError(f"{where}: {shown(value)} (expected text, a number, true, false, a list or a mapping)")



# Fields that hold the options of a kind; pydantic puts the kind's name into the path behind them.
_KIND_FIELDS = {"encoding", "windows", "labels", "loss", "model"}


def _path(location: tuple[int | str, ...]) -> list[int | str]:
    """The keys of an error's location. Branches of unions stand in it as well, which are no keys of the config."""
    found: list[int | str] = []
    for i, part in enumerate(location):
        if isinstance(part, str):
            tag = location[0] in ("sources", "figures") and i == 2 or i > 0 and location[i - 1] in _KIND_FIELDS
            if tag or re.search(r"[\[(]|^(int|str|float)$|constrained", part):
                continue
        found.append(part)
    return found


def _elsewhere(location: tuple[int | str, ...]) -> str:
    """Which other kinds have an option that one kind does not have; empty where none has."""
    option, kind = location[-1], location[-2] if len(location) > 1 else None
    for kinds in (SOURCES, ENCODINGS, WINDOWS, LABELS, LOSSES, MODELS, FIGURES):
        if kind in kinds:
            others = [name for name in kinds if option in kinds.options(name).model_fields]
            own = ", ".join(kinds.options(str(kind)).model_fields)
            return f"{'an option of ' + ', '.join(others) + ' and ' if others else ''}not of {kind!r}, which has {own}"
    return ""


def _sentence(error: Any) -> str:
    """One line for one of pydantic's errors."""
    where = ".".join(map(key_shown, _path(error["loc"]))) or "config"
    value, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        other = _elsewhere(error["loc"])
        expected = f"no such key: it is {other}" if other else "one of those in config/README.md"
        return f"{where}: unknown key (value {shown(value)}; expected {expected})"
    if kind == "missing":
        return f"{where}: missing (expected a value)"
    if kind == "union_tag_not_found":
        return f"{where}.kind: missing (expected a kind)" if isinstance(value, dict) else f"{where}: {shown(value)} (expected a mapping with a kind)"
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
    """A number as YAML reads it: an exponent needs a point before it."""
    if kind == "int_type" and number.is_integer():
        return str(int(number))
    mantissa, exponent, power = repr(number).partition("e")
    return mantissa if not exponent else f"{mantissa if '.' in mantissa else mantissa + '.0'}e{power}"


def check(entry: Any, raw: dict[str, Any]) -> Any:
    """One entry alone, as YAML gives it. Raises ConfigError with one line for each fault.

    entry: its type, such as ``gla.config.agents.Agent`` or ``gla.config.sources.Source``.
    """
    try:
        return pydantic.TypeAdapter(entry).validate_python(raw)
    except pydantic.ValidationError as error:
        # A value that fits no branch of a union has an error for each branch: one line for all of them.
        sentences: dict[str, str] = {}
        for line in (_sentence(e) for e in error.errors()):
            where, _, rest = line.partition(" (expected ")
            first = sentences.setdefault(where, line)
            if rest and rest not in first:
                sentences[where] = f"{first[:-1]}, or {rest}"
        raise ConfigError("\n".join(sentences.values())) from None


def load(raw: dict[str, Any]) -> Config:
    """Check a raw dictionary, as YAML gives it.

    Raises ConfigError with one line for each fault: key, value, what was expected.
    """
    _check_values(raw)
    config = check(Config, raw)
    if found := list(problems(config)):
        raise ConfigError("\n".join(map(cut, found)))
    return config


def ordered(config: Config) -> dict[str, Any]:
    """A config with every default filled in, keys in a fixed order, plain YAML types only."""

    def sort(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: sort(value[key]) for key in sorted(value, key=str)}
        return [sort(v) for v in value] if isinstance(value, list) else value

    return sort(config.model_dump())


def normalise(raw: dict[str, Any]) -> dict[str, Any]:
    """A raw config, checked and ``ordered``. Raises ConfigError as ``load`` does."""
    return ordered(load(raw))
