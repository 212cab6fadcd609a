"""Writes the tables and drawings of figures of all kinds."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gla.figures.kinds import FIGURES
from gla.files import atomic, read_csv
from gla.options import ConfigError

NAMES = ("agent", "environment", "source", "evaluation", "condition", "row", "method", "model", "split")
STYLE = Path(__file__).with_name("gla.mplstyle")


def tabulate(entry: Any, inputs: dict[str, list], path: str | Path) -> None:
    """Writes a figure's CSV. inputs: paths by their role, which ``table`` of each kind describes."""
    with atomic(path) as temporary:
        FIGURES[entry.kind].table(entry, **inputs).to_csv(temporary, index=False)


def styled(style: dict[str, Any]) -> AbstractContextManager:
    """Sets the project's style with ``style`` on top of it, and ignores a matplotlibrc of the user."""
    return plt.style.context([STYLE, style], after_reset=True)


def plot(entry: Any, table: str | Path, outputs: list[str | Path]) -> None:
    """Draws a figure's CSV into files. Their endings name the formats."""
    # Names are text even if they look like numbers or missing values. Other cells may be missing.
    others = [c for c in read_csv(table, nrows=0).columns if c not in NAMES]
    columns = FIGURES[entry.kind].COLUMNS
    frame = read_csv(
        table, [c for c in columns if c in NAMES], [c for c in columns if c not in NAMES],
        dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values={c: [""] for c in others},
    )  # fmt: skip
    try:
        style = matplotlib.RcParams(entry.style)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"style: {error.args[0]} (expected Matplotlib's rc parameters)") from None
    with styled(dict(style)):
        figure = FIGURES[entry.kind].draw(entry, frame)
        for path in outputs:
            with atomic(path) as temporary:
                # Dates are left out, so that the same numbers give the same bytes.
                figure.savefig(temporary, metadata={"CreationDate": None} if str(path).endswith("pdf") else None)
        plt.close(figure)
