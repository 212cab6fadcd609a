"""What every entry of the config is made of: frozen typed options that reject what they do not know, and bounded numbers.

This module imports nothing of the package, so that each kind (``gla.kinds``) can declare its own options beside its code.
"""

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


def check_values(raw: Any) -> None:
    """Raises ConfigError for a config that is too large or too deep to be one, or holds what no file of results can hold.

    YAML's aliases let a few lines stand for billions of values, so that whoever walks them all never ends.
    """
    left, stack = MOST_VALUES - 1, [("config", raw, 0)]  # the config itself is one
    while stack:
        where, value, depth = stack.pop()
        # Counted before they are walked: of a bomb's values nearly all are the last, and no more are made than may be.
        if isinstance(value, dict | list):
            left -= len(value) * (2 if isinstance(value, dict) else 1)
        if left < 0 or depth > DEEPEST:
            found = f"more than {MOST_VALUES} values" if left < 0 else f"nested more than {DEEPEST} deep"
            entry = ".".join(where.partition("[")[0].split(".")[:3])
            raise ConfigError(f"{entry}: {found} (expected fewer; do aliases repeat each other?)")
        if isinstance(value, dict):
            stack += [
                (f"{where}.{key_shown(key)[:40]}".removeprefix("config."), v, depth + 1) for key, v in value.items()
            ]
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
