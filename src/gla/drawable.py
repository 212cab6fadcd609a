"""Checks of a config's figures that only Matplotlib can make."""

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gla.conditions.kinds import CONDITIONS
from gla.options import shown

FIGURE_STYLE = Path(__file__).parent / "figures/gla.mplstyle"
LARGEST = {
    "figure.figsize": 50,
    "savefig.pad_inches": 50,
    "agg.path.chunksize": 10**9,
}  # inches; all other numbers of a style may be up to 1000
SMALLEST_DPI = 10
SIZE = (9.2, 2.3)  # inches, of four panels in a row
MOST_PIXELS, LONGEST_SIDE = 10**8, 2**16 - 1  # limits of a PNG; Matplotlib draws no longer side


def problems(where: str, figure: dict[str, Any]) -> Iterator[str]:
    """Yields a line for each key of a figure that Matplotlib cannot draw with. figure: its entry in a normalised config."""
    style, panels = figure["style"], figure.get("panels", [])
    if style:
        if found := _style_problems(style):
            yield from (f"{where}.style.{line}" for line in found)
            return
        plain = [text for p in panels for text in (p["title"], *p["labels"]) if "$" not in text]
        if said := _not_drawn(style, max(plain, key=len, default="")):
            yield f"{where}.style: {shown(style)} (expected a style that Matplotlib can draw with: {said})"
            return
    texts = {f"{where}.panels[{i}].title": p["title"] for i, p in enumerate(panels)}
    texts |= {
        f"{where}.panels[{i}].labels[{j}]": label for i, p in enumerate(panels) for j, label in enumerate(p["labels"])
    }
    # Text without mathematics is drawn as it is.
    tried = {text: _not_drawn(style, text) for text in {text for text in texts.values() if "$" in text}}
    for key, text in texts.items():
        if said := tried.get(text):
            yield f"{key}: {text!r} (expected text that Matplotlib can draw: {said})"


def _style_problems(style: dict[str, Any]) -> list[str]:
    from matplotlib import RcParams  # slow to import, and needed only for figures with their own style

    found = []
    for key, value in style.items():
        try:
            RcParams({key: value})
        except KeyError:
            found.append(f"{key}: {shown(value)} is for an unknown key (expected one of Matplotlib's rc parameters)")
        except Exception as error:  # each key has its own check, and these raise errors of several types
            found.append(
                f"{key}: {shown(value)} (expected a value that Matplotlib takes: {' '.join(str(error).split())})"
            )
        else:
            numbers = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, int | float)]
            most = LARGEST.get(key, 1000)
            if not all(abs(x) <= most for x in numbers):
                found.append(f"{key}: {shown(value)} (expected at most {most})")
            elif key.endswith(".dpi") and any(x < SMALLEST_DPI for x in numbers):
                found.append(f"{key}: {shown(value)} (expected at least {SMALLEST_DPI})")
    return found


def _not_drawn(style: dict[str, Any], text: str) -> str:
    """Returns the error if a figure with this style and this text cannot be drawn; an empty text if it can."""
    from matplotlib import RcParams
    from matplotlib import style as styles

    logging.disable(logging.WARNING)  # warnings of missing fonts
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            styles.context([FIGURE_STYLE, dict(RcParams(style))], after_reset=True),
        ):
            _draw(text)
    except Exception as error:  # LaTeX, FreeType and Matplotlib raise errors of their own types
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    finally:
        logging.disable(logging.NOTSET)
    return ""


def _draw(text: str) -> None:
    """Draws and saves a small figure with the elements of all kinds of figures. Raises any error of Matplotlib, and
    ValueError if the figure would be too large."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    drawing = Figure(figsize=SIZE, layout="constrained")
    axes = drawing.subplots()
    # Colours by number, each with every kind of dashes, and colours in the order of the cycle.
    for number, condition in enumerate(CONDITIONS.values()):
        colours = rcParams["axes.prop_cycle"].by_key()["color"]
        axes.plot([1, 2], [1, 2], linestyle=condition.dashes, color=colours[number % len(colours)])
    axes.plot([1, 2], [1, 2], marker="o", markersize=3)
    axes.fill_between([1, 2], [1, 1], [2, 3], alpha=0.2, linewidth=0)  # above 0, where ticks may have an offset
    axes.set_title(text)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("environment steps in context")
    axes.set_ylabel("return (mean, 95 % interval)")
    drawing.legend(
        [axes.lines[1], axes.lines[-1]], [CONDITIONS["reference"].label, text], loc="outside lower center", ncols=2
    )
    drawing.draw_without_rendering()
    drawing.set_layout_engine("none")  # the layout stays as it is for all formats

    # The size is checked before memory is taken.
    dpi = rcParams["figure.dpi"] if rcParams["savefig.dpi"] == "figure" else rcParams["savefig.dpi"]
    width, height = (side * dpi for side in SIZE)
    if rcParams["savefig.bbox"] == "tight":
        width, height = ((side + 2 * rcParams["savefig.pad_inches"]) * dpi for side in drawing.get_tightbbox().size)
    if not (min(width, height) > 0 and max(width, height) <= LONGEST_SIDE and width * height <= MOST_PIXELS):
        raise ValueError(f"{width:.0f} x {height:.0f} pixels, of 1 to {LONGEST_SIDE} a side and {MOST_PIXELS} in all")
    for kind in ("png", "pdf"):
        drawing.savefig(io.BytesIO(), format=kind, dpi=min(dpi, 72))
