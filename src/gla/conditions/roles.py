"""Conditions by their role, which decides what verdicts and figures make of each."""

from collections.abc import Iterable

from gla.conditions.kinds import CONDITIONS


def of_role(*roles: str) -> tuple[str, ...]:
    """Names of the conditions with one of these roles, in the table's order."""
    return tuple(name for name, condition in CONDITIONS.items() if condition.role in roles)


def that_read(what: str) -> tuple[str, ...]:
    """Names of the conditions that act by such files."""
    return tuple(name for name, condition in CONDITIONS.items() if condition.reads == what)


IN_CONTEXT = of_role("agent", "control", "ablation")
BASELINES = tuple(name for name in CONDITIONS if name not in IN_CONTEXT)


def usual(names: Iterable[str]) -> list[str]:
    """Those of these conditions that are run unless something else is asked for."""
    return [name for name in names if CONDITIONS[name].usual]
