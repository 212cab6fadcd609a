"""What Matplotlib alone can say about the figures of a config."""

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gla.options import shown

FIGURE_STYLE = Path(__file__).parent / "figures/gla.mplstyle"
LARGEST = {"figure.figsize": 50, "savefig.pad_inches": 50, "agg.path.chunksize": 10**9}  # inches; of all other numbers in a style 1000
SMALLEST_DPI = 10


def problems(where: str, figure: dict[str, Any]) -> Iterator[str]:
    """A line for each key of a figure that Matplotlib cannot draw with. figure: its entry in a normalised config."""
    style, panels = figure["style"], figure.get("panels", [])
    if style:
        if found := _style_problems(style):
            yield from (f"{where}.style.{line}" for line in found)
            return
        if said := _not_drawn(style, "x"):
            yield f"{where}.style: {shown(style)} (expected a style that Matplotlib can draw with: {said})"
            return
    texts = {f"{where}.panels[{i}].title": p["title"] for i, p in enumerate(panels)}
    texts |= {f"{where}.panels[{i}].labels[{j}]": label for i, p in enumerate(panels) for j, label in enumerate(p["labels"])}
    # Other text is drawn as it is.
    tried = {text: _not_drawn(style, text) for text in {text for text in texts.values() if "$" in text}}
    for key, text in texts.items():
        if said := tried.get(text):
            yield f"{key}: {text!r} (expected text that Matplotlib can draw: {said})"


def _style_problems(style: dict[str, Any]) -> list[str]:
    from matplotlib import RcParams  # slow, and needed for figures with a style of their own alone

    found = []
    for key, value in style.items():
        try:
            RcParams({key: value})
        except KeyError:
            found.append(f"{key}: {shown(value)} is for no key of Matplotlib's (expected one of its rc parameters)")
        except (ValueError, TypeError, OverflowError) as error:
            found.append(f"{key}: {shown(value)} (expected a value that Matplotlib takes: {' '.join(str(error).split())})")
        else:
            numbers = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, int | float)]
            most = LARGEST.get(key, 1000)
            if not all(abs(x) <= most for x in numbers):
                found.append(f"{key}: {shown(value)} (expected at most {most})")
            elif key.endswith(".dpi") and any(x < SMALLEST_DPI for x in numbers):
                found.append(f"{key}: {shown(value)} (expected at least {SMALLEST_DPI})")
    return found


def _not_drawn(style: dict[str, Any], text: str) -> str:
    """What Matplotlib says where a figure of this style, with this text in it, cannot be drawn; empty where it can."""
    from matplotlib import RcParams
    from matplotlib import style as styles
    from matplotlib.figure import Figure as Drawing

    logging.disable(logging.WARNING)  # of fonts that are not there
    try:
        with warnings.catch_warnings(action="ignore"), styles.context([FIGURE_STYLE, dict(RcParams(style))]):
            drawing = Drawing(layout="constrained")
            axes = drawing.subplots()
            axes.plot([0, 1], label="x")
            axes.set_title(text)
            drawing.legend(loc="outside lower center")
            for kind in ("png", "pdf"):
                drawing.savefig(io.BytesIO(), format=kind, dpi=72)
    except Exception as error:  # LaTeX, FreeType and Matplotlib have kinds of their own
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    finally:
        logging.disable(logging.NOTSET)
    return ""
