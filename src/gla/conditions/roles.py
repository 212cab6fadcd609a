"""Conditions by their role, which decides how verdicts and figures use them."""

from collections.abc import Iterable

from gla.conditions.kinds import CONDITIONS


def of_role(*roles: str) -> tuple[str, ...]:
    """Returns the names of the conditions with one of these roles, in the order of the table."""
    return tuple(name for name, condition in CONDITIONS.items() if condition.role in roles)


def that_read(what: str) -> tuple[str, ...]:
    """Returns the names of the conditions that read one of these kinds of files."""
    return tuple(name for name, condition in CONDITIONS.items() if condition.reads == what)


IN_CONTEXT = of_role("agent", "control", "ablation")
BASELINES = tuple(name for name in CONDITIONS if name not in IN_CONTEXT)


def usual(names: Iterable[str]) -> list[str]:
    """Those of these conditions that are run unless something else is asked for."""
    return [name for name in names if CONDITIONS[name].usual]
