"""What every entry of the config is made of: frozen typed options that reject what they do not know, and bounded numbers.

This module imports nothing of the package, so that each kind (``gla.kinds``) can declare its own options beside its code.
"""

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class ConfigError(ValueError):
    """A config that cannot be run. Each line names a key, its value and what was expected."""


class Options(BaseModel):
    """Named values, checked once where they enter the program. The text below each field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


# The bounds are ones that no run needs to pass. They stop a slip of the finger from becoming a run of a year, and a
# number from being one that a library cannot hold.
MOST_STEPS = 10**9
MOST_VALUES, DEEPEST, MOST_BITS = 200_000, 32, 1024  # of a whole config: values, nesting, bits of an integer
Count = Annotated[int, Field(ge=1, le=10**6)]
"""Things that are held in memory at the same time."""
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
"""Things that are done, or counted, one after the other."""
Seed = Annotated[int, Field(ge=0, lt=2**30)]
"""Seeds of references and of online learners begin at the upper bound."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1e3)]
Weight = Annotated[float, Field(ge=0, le=1e9)]
Limit = Annotated[float, Field(gt=0, le=1e9)]
Text = Annotated[str, Field(max_length=200)]


def shown(value: Any) -> str:
    """A value as it appears in an error, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python's own limit
        text = "an integer of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def key_shown(key: Any) -> str:
    """A key as it appears in an error: unchanged, unless it is long or would break the line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 100 else shown(text)


def cut(line: str) -> str:
    """An error without its middle where it is long: it begins with the key and ends with what was expected."""
    return line if len(line) <= 800 else f"{line[:400]} ... {line[-300:]}"


def _extent(value: Any, known: dict[int, tuple[int, float]], depth: int = 0) -> tuple[int, float]:
    """How many values there are in one, itself and keys among them, and how deep they are nested: infinitely, in one that holds itself.

    known: of each list and dictionary, by its id, so that what aliases repeat is counted once.
    """
    if not isinstance(value, dict | list):
        return 1, 0
    if depth > DEEPEST:
        return 1, math.inf
    if id(value) not in known:
        known[id(value)] = 1, math.inf
        parts, keys = (value.values(), len(value)) if isinstance(value, dict) else (value, 0)
        of_parts = [_extent(part, known, depth + 1) for part in parts]
        deepest = max((nested for _, nested in of_parts), default=-1)
        known[id(value)] = 1 + keys + sum(values for values, _ in of_parts), 1 + deepest
    return known[id(value)]


def _refused(raw: Any, known: dict[int, tuple[int, float]], of: int, what: str) -> ConfigError:
    """Names the entry that holds most. of: 0 counts values, 1 how deep they are nested."""
    path: list[str] = []
    while isinstance(raw, dict) and len(path) < 3:
        key, raw = max(raw.items(), key=lambda item: _extent(item[1], known)[of])
        path.append(key_shown(key)[:40])
    return ConfigError(f"{'.'.join(path) or 'config'}: {what} (expected fewer; do aliases repeat each other?)")


def check_values(raw: Any) -> None:
    """Raises ConfigError for a config that is too large or too deep to be one, or holds what no file of results can hold.

    YAML's aliases let a few lines stand for billions of values, so that whoever walks them all never ends.
    """
    known: dict[int, tuple[int, float]] = {}
    values, nested = _extent(raw, known)
    if values > MOST_VALUES:
        raise _refused(raw, known, 0, f"more than {MOST_VALUES} values")
    if nested > DEEPEST:
        raise _refused(raw, known, 1, f"nested more than {DEEPEST} deep")
    stack = [("config", raw)]
    while stack:
        where, value = stack.pop()
        if isinstance(value, dict):
            stack += [(f"{where}.{key_shown(key)[:40]}".removeprefix("config."), v) for key, v in value.items()]
            stack += [(where, key) for key in value]
        elif isinstance(value, list):
            stack += [(f"{where}[{i}]", v) for i, v in enumerate(value)]
        elif isinstance(value, float) and value != value:
            raise ConfigError(f"{where}: nan (expected a number)")
        elif isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise ConfigError(f"{where}: an integer of {value.bit_length()} bits (expected at most {MOST_BITS})")
        elif isinstance(value, str) and not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise ConfigError(f"{where}: {shown(value)} (expected text that UTF-8 can hold)")
        elif not isinstance(value, str | int | float | None):
            raise ConfigError(f"{where}: {shown(value)} (expected text, a number, true, false, a list or a mapping)")
