"""Writes docs/benchmarks.md and docs/benchmarks_growth.png from docs/benchmarks.csv and docs/benchmarks_growth.csv.

Only the part between the two markers of the page is written. The rest is prose.

    python benchmarks/report.py
"""

import os

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd
from table import DOCS, machine

from gla.files import atomic

BEGIN, END = "<!-- begin: written by benchmarks/report.py -->", "<!-- end -->"


def figure(growth: pd.DataFrame) -> plt.Figure:
    """Draws rates by size, with a pair of axes for each quantity that grows."""
    names = list(dict.fromkeys(growth["what"]))
    columns = min(2, len(names))
    drawn, axes = plt.subplots(
        -(-len(names) // columns),
        columns,
        figsize=(5 * columns, 3 * -(-len(names) // columns)),
        squeeze=False,
        layout="constrained",
    )
    for ax, name in zip(axes.flat, names, strict=False):
        own = growth[growth["what"] == name].sort_values("size")
        ax.plot(own["size"], own["rate"], "o-")
        ax.set_xscale("log", base=2)
        ax.set_ylim(0, own["rate"].max() * 1.1)
        ax.set_title(name, fontsize=10)
        ax.set_ylabel(own["unit"].iloc[0])
        ax.set_xticks(own["size"], [str(x) for x in own["size"]])
        ax.minorticks_off()
    for ax in list(axes.flat)[len(names) :]:
        ax.remove()
    return drawn


def _side(row: pd.Series, name: str) -> str:
    """Returns the median and the lowest and highest rate of all rounds as text."""
    if pd.isna(row[name]):
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:,.4g}" if low == high else f"{row[name]:,.4g} ({low:,.4g} to {high:,.4g})"


def table(rows: pd.DataFrame) -> str:
    """Returns the rows as Markdown, and a sentence that names those that miss their bar."""
    lines = ["| row | ours | peer | unit | ratio | bar | reached | the peer is |", "|---|---|---|---|---|---|---|---|"]
    for _, row in rows.iterrows():
        met = {"True": "yes", "False": "**no**", "nan": ""}.get(str(row["met"]), row["met"])
        ratio, bar = ("-" if pd.isna(x) else f"{x:g}" for x in (row["ratio"], row["bar"]))
        lines.append(
            f"| {row['row']} | {_side(row, 'ours')} | {_side(row, 'peer')} | {row['unit']} | {ratio} | {bar} | {met} | {row['against']} |"
        )
    missed = rows[rows["met"].astype(str) == "False"]["row"]
    lines += ["", f"Missed: {'; '.join(missed)}." if len(missed) else "No bar that was measured is missed."]
    return "\n".join(lines)


def main() -> None:
    rows, growth = (pd.read_csv(DOCS / f"benchmarks{x}.csv") for x in ("", "_growth"))
    with atomic(DOCS / "benchmarks_growth.png") as path:
        drawn = figure(growth)
        drawn.savefig(path, dpi=100)
        plt.close(drawn)
    page = DOCS / "benchmarks.md"
    before, rest = page.read_text().split(BEGIN)
    where = f"Measured on {os.cpu_count()} cores: {machine()}."
    body = [where, "", table(rows), "", "![Rates by size](benchmarks_growth.png)"]
    with atomic(page) as path:
        path.write_text("\n".join([before + BEGIN, *body, END]) + rest.split(END)[1])


if __name__ == "__main__":
    main()
