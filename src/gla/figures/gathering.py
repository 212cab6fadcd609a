"""Gathers the inputs of the tables of returns, panel by panel."""

from collections.abc import Iterable
from typing import Any

from gla.environments.making import optimal_return


def gather(panels: list[dict[str, Any]], rollouts: Iterable[str]) -> dict[str, list]:
    """Returns the inputs of a kind's ``table``. panels: the result of ``gla.paths.Paths.panels``. rollouts: those of all
    panels, in one list.
    """
    paths = iter(rollouts)
    return {
        "rollouts": [[next(paths) for _ in range(panel["rollouts"])] for panel in panels],
        "optimal": [optimal_return(**panel["environment"]) for panel in panels],
        "tasks": [len(panel["environment"]["tasks"]) for panel in panels],
        "agents": [panel["agents"] for panel in panels],
    }
