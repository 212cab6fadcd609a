"""Functions with which benchmarks measure, and write the committed tables."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from gla.files import atomic

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = [
    "row",
    "ours",
    "peer",
    "unit",
    "ratio",
    "bar",
    "met",
    "against",
    "ours_low",
    "ours_high",
    "peer_low",
    "peer_high",
    "rounds",
]


def put_row(path: Path, row: dict, *keys: str) -> None:
    """Replaces the row of a CSV that has ``row[key]`` for each of the keys, or adds it, and prints it."""
    keys = keys or ("environment",)
    old = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(row))
    same = (old[list(keys)] == [row[key] for key in keys]).all(axis=1)
    table = pd.concat([old[~same], pd.DataFrame([row])] if len(old) else [pd.DataFrame([row])]).sort_values(list(keys))
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
    print(pd.DataFrame([row]).to_string(index=False), flush=True)


def interleaved(rounds: int, **contenders: Callable[[], float]) -> dict[str, np.ndarray]:
    """Runs all contenders in turns, so that noise on the machine disturbs all of them alike, and returns what each measured.

    A contender does its work once and returns its rate, or another number that is compared. The first round warms caches up
    and is left out.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(rounds + 1):
        for name, work in contenders.items():
            value = work()
            if i:
                values[name].append(value)
    return {name: np.array(v) for name, v in values.items()}


def put_ratio(
    row: str, unit: str, ours: np.ndarray, peer: np.ndarray, against: str, bar: float | None, less: bool = False
) -> None:
    """Writes a row of docs/benchmarks.csv: medians and extremes of two series, their ratio ours / peer (peer / ours if
    ``less`` is better), and whether it reaches the bar (None: no bar)."""
    ratio = float(np.median(peer / ours if less else ours / peer))
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
        "row",
    )  # fmt: skip


def put_missing(row: str, unit: str, against: str, bar: float, why: str) -> None:
    """Writes a row of docs/benchmarks.csv that this machine cannot measure. A row that another machine measured stays."""
    path = DOCS / "benchmarks.csv"
    if path.exists() and (pd.read_csv(path)["row"] == row).any():
        print(f"{row}: {why}; the row stays as it is", flush=True)
        return
    put_row(
        path, dict.fromkeys(COLUMNS) | {"row": row, "unit": unit, "bar": bar, "met": why, "against": against}, "row"
    )


def put_growth(what: str, size: int, rate: float, unit: str) -> None:
    """Writes a row of docs/benchmarks_growth.csv: the rate at one size of the quantity that grows."""
    row = {"what": what, "size": size, "rate": f"{rate:.4g}", "unit": unit}
    put_row(DOCS / "benchmarks_growth.csv", row, "what", "size")


def machine() -> str:
    """Returns, in one line, the processor and the versions that rates depend on."""
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x),
        platform.machine(),
    )
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "mujoco", "gymnasium"))
    return f"{model}, Python {platform.python_version()}, {packages}"
