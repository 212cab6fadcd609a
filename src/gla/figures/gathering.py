"""Gathers the inputs of the tables of returns, panel by panel."""

from collections.abc import Iterable
from typing import Any

from gla.environments.making import bounds, optimal_return


def gather(panels: list[dict[str, Any]], rollouts: Iterable[str], normalised: bool = False) -> dict[str, list]:
    """Returns the inputs of a kind's ``table``. panels: the result of ``gla.paths.Paths.panels``. rollouts: those of all
    panels, in one list. normalised: whether the kind's returns are, so that it takes ``bounds`` in the place of ``optimal``.
    """
    ends = {"bounds": bounds} if normalised else {"optimal": optimal_return}
    paths = iter(rollouts)
    return {
        "rollouts": [[next(paths) for _ in range(panel["rollouts"])] for panel in panels],
        **{name: [of(**panel["environment"]) for panel in panels] for name, of in ends.items()},
        "tasks": [len(panel["environment"]["tasks"]) for panel in panels],
        "agents": [panel["agents"] for panel in panels],
    }
