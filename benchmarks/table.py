"""How benchmarks measure, and the committed tables that they write."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from gla.files import atomic

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = ["row", "ours", "peer", "unit", "ratio", "bar", "met", "against", "ours_low", "ours_high", "peer_low", "peer_high", "rounds"]


def put_row(path: Path, row: dict, key: str = "environment") -> None:
    """Replace the row of ``row[key]`` in a CSV, or add it, and print it."""
    old = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(row))
    table = pd.concat([old[old[key] != row[key]], pd.DataFrame([row])]).sort_values(key)
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
    print(pd.DataFrame([row]).to_string(index=False), flush=True)


def interleaved(rounds: int, **contenders: Callable[[], float]) -> dict[str, np.ndarray]:
    """What each contender measured, in turns, so that a noisy machine disturbs all of them alike.

    A contender does its work once and returns its rate (or whatever is compared); the first round
    warms caches up and is left out.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(rounds + 1):
        for name, work in contenders.items():
            value = work()
            if i:
                values[name].append(value)
    return {name: np.array(v) for name, v in values.items()}


def put_ratio(row: str, unit: str, ours: np.ndarray, peer: np.ndarray, against: str, bar: float | None) -> None:
    """A row of docs/benchmarks.csv: medians and extremes of two series, their ratio ours / peer, and whether it
    reaches the bar (None: no bar)."""
    ratio = float(np.median(ours / peer))
    put_row(
        DOCS / "benchmarks.csv",
        dict(
            zip(
                COLUMNS,
                [row, f"{np.median(ours):.4g}", f"{np.median(peer):.4g}", unit, f"{ratio:.3g}", bar, ratio >= bar if bar else None,
                 against, *(f"{x:.4g}" for x in (ours.min(), ours.max(), peer.min(), peer.max())), len(ours)],
                strict=True,
            )
        ),
        key="row",
    )  # fmt: skip


def machine() -> str:
    """The processor and the versions that rates depend on, in one line."""
    model = next((x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), platform.machine())
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "mujoco", "gymnasium"))
    return f"{model}, Python {platform.python_version()}, {packages}"
