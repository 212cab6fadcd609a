"""Figures: one file for each kind, with two functions.

``table(entry, inputs) -> DataFrame`` gathers the numbers that are drawn, and ``draw(entry, table) ->
Figure`` draws them and nothing else, so that a change of style needs no rollouts.
"""

from pathlib import Path
from types import ModuleType

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from gla.config import ConfigError, Figure  # noqa: E402
from gla.figures import in_context, scaling, sources, training  # noqa: E402
from gla.files import atomic, read_csv  # noqa: E402

KINDS: dict[str, ModuleType] = {"sources": sources, "in_context": in_context, "scaling": scaling, "training": training}
NUMBERS = ("x", "mean", "low", "high", "train_loss", "validation_loss", "constant_loss")  # that may be missing
STYLE = Path(__file__).with_name("gla.mplstyle")


def tabulate(entry: Figure, inputs: dict[str, list], path: str | Path) -> None:
    """Write a figure's CSV. inputs: paths by their meaning, see each kind's ``table``."""
    with atomic(path) as temporary:
        KINDS[entry.kind].table(entry, **inputs).to_csv(temporary, index=False)


def plot(entry: Figure, table: str | Path, outputs: list[str | Path]) -> None:
    """Draw a figure's CSV into files whose endings name the formats."""
    # Names are text even where they look like numbers or missing values.
    names = dict.fromkeys(("agent", "environment", "evaluation", "condition"), str)
    frame = read_csv(table, dtype=names, keep_default_na=False, na_values={c: [""] for c in NUMBERS})
    try:
        style = matplotlib.RcParams(entry.style)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"style: {error.args[0]} (expected Matplotlib's rc parameters)") from None
    with plt.style.context([STYLE, dict(style)]):
        figure = KINDS[entry.kind].draw(entry, frame)
        for path in outputs:
            with atomic(path) as temporary:
                # No dates, so that the same numbers give the same bytes.
                figure.savefig(temporary, metadata={"CreationDate": None} if str(path).endswith("pdf") else None)
        plt.close(figure)
