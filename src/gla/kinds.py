"""The kinds of one noun, such as the kinds of models: an explicit list of names, each with the module of the kind.

A kind is one file. It declares its options in a class ``Options``, whose field ``kind`` is the literal name, and everything
else that the documentation of its folder asks for. A registry holds only names: importing it imports no kind.

Other packages that are installed add kinds by entry points, whose group is the name of the folder here, such as ``gla.losses``.
"""

from collections.abc import Iterator
from functools import cache, reduce
from importlib import import_module
from importlib.metadata import entry_points
from operator import or_
from types import ModuleType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter

from gla.options import ConfigError


@cache
def _points() -> Any:
    """Returns the entry points of all packages that are installed, which take a while to find."""
    return entry_points()


def packages() -> set[str]:
    """Returns the names of the packages, or of modules that are in none, that add kinds."""
    groups = (_points().select(group=group) for group in _points().groups if group.startswith("gla."))
    return {point.module.partition(".")[0] for points in groups for point in points}


class Kinds:
    """The names of kinds, in order, and their modules.

    noun: the word for one of them in errors. modules: the module of each name, which is imported when it is first used. group: of the entry
    points by which other packages add kinds, if they may. Raises ConfigError if one of these has a name that is taken.
    """

    def __init__(self, noun: str, modules: dict[str, str], group: str | None = None):
        added = {point.name: point.module for point in _points().select(group=group)} if group else {}
        for name in added.keys() & modules.keys():
            raise ConfigError(
                f"entry point {name!r} of group {group!r}: {added[name]} (expected a name that {modules[name]} does not have)"
            )
        self.noun, self.modules = noun, modules | added

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __contains__(self, name: object) -> bool:
        return name in self.modules

    def __getitem__(self, name: str) -> ModuleType:
        """Returns the module of a kind. Raises ConfigError for a name that is not in the list."""
        if name not in self.modules:
            raise ConfigError(f"{self.noun}: {name!r} (expected one of {', '.join(self.modules)})")
        return import_module(self.modules[name])

    def options(self, name: str) -> Any:
        """Returns the class of a kind's options."""
        return self[name].Options


def one_of(kinds: Kinds, default: str | None = None) -> Any:
    """Returns the type of a config field that holds the options of one kind. The field ``kind`` says which.

    A name alone stands for that kind with its default options. default: the kind if none is named.
    """

    def spelled_out(value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value}
        if default is not None and isinstance(value, dict) and "kind" not in value:
            return {"kind": default, **value}
        return value

    union = reduce(or_, [kinds.options(name) for name in kinds])
    tagged = Annotated[union, Field(discriminator="kind")] if len(kinds.modules) > 1 else union
    return Annotated[tagged, BeforeValidator(spelled_out)]


def made(entry: Any, values: dict[str, Any]) -> Any:
    """Returns an entry of a type that ``one_of`` returned, from values that were checked before."""
    return TypeAdapter(entry).validate_python(values)
