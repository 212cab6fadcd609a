"""The elements of all config entries: frozen typed options that reject unknown keys, and bounded numbers.

This module imports nothing of the package, so that each kind (``gla.kinds``) can declare its options in the same file as its code.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ConfigError(ValueError):
    """A config that cannot be run. Each line names a key, its value and what was expected."""


class Options(BaseModel):
    """Named values that are checked once, when they enter the program. The text below each field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    read_with: ClassVar[Mapping[str, tuple[str, Any]]] = {}
    """Options that are read only where another one has the value that stands here. Elsewhere they may only be their defaults."""

    @model_validator(mode="after")
    def _read(self):
        for name, (other, needed) in self.read_with.items():
            value, found = getattr(self, name), getattr(self, other)
            if found != needed and value != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} {shown(value)} with {other} {shown(found)}, where nothing reads it (expected {other} {shown(needed)}, "
                    f"or no {name})"
                )
        return self


# No run needs numbers beyond these bounds. They stop a typing error from becoming a run of a year, and keep numbers
# in the range that libraries can hold.
MOST_STEPS = 10**9
MOST_VALUES, DEEPEST, MOST_BITS = 200_000, 32, 1024  # limits of a whole config: values, nesting, bits of an integer
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
    """Returns a value as it appears in an error. A long value is shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python's limit of digits
        text = "an integer of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def key_shown(key: Any) -> str:
    """Returns a key as it appears in an error: unchanged, unless it is long or would break the line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 100 else shown(text)


def cut(line: str) -> str:
    """Returns an error without its middle if it is long: the beginning has the key, and the end says what was expected."""
    return line if len(line) <= 800 else f"{line[:400]} ... {line[-300:]}"


def _extent(value: Any, known: dict[int, tuple[int, float]], depth: int = 0) -> tuple[int, float]:
    """Returns how many values a value holds, including itself and keys, and how deep they are nested. A value that contains
    itself is nested infinitely deep.

    known: the results for lists and dictionaries, by id, so that a value that aliases repeat is walked through once.
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
    """Returns an error that names the largest entry. of: 0 compares numbers of values, 1 the depth of nesting."""
    path: list[str] = []
    while isinstance(raw, dict) and len(path) < 3:
        key, raw = max(raw.items(), key=lambda item: _extent(item[1], known)[of])
        path.append(key_shown(key)[:40])
    return ConfigError(f"{'.'.join(path) or 'config'}: {what} (expected fewer; do aliases repeat each other?)")


def check_values(raw: Any) -> None:
    """Raises ConfigError for a config that is too large or nested too deep, or that has values that no file of results can hold.

    With YAML's aliases a few lines can stand for billions of values, so that a walk through all of them would never end.
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
