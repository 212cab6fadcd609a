"""Writes README.md and pages of docs from docs/templates, so that every number in them comes from a committed table.

    python docs/render.py            # writes the pages that differ from what their templates and tables give
    python docs/render.py --check    # names those pages, writes nothing, and exits with 1 if there are any

The templates are Jinja's, with delimiters that Markdown, YAML and Python leave alone: ``[[ expression ]]``,
``[% statement %]`` and ``[# comment #]``. A name that is not defined is an error, and so is a value that is missing.
They may call the public functions of this module, from ``frame`` to ``verdicts``, besides Jinja's own. A *set* is
what one config gave: ``default`` lies in docs/results, and any other, as ``broad``, in the folder of its name below.

    [[ number(row("default", "swimmer", "point_mass").last) ]]                        one value
    [[ interval(row("default", "swimmer", "point_mass"), "gain") ]]                   a value and its 95 % interval
    [[ rows("ant") | selectattr("gain_low", "gt", 0) | list | length ]]               a count of rows
    [[ number(curve("ant", "figure4", "forward", "ant_both", "agent")[-1].mean) ]]    the end of a curve in a figure
    [[ verdicts("extended") ]]                                                        a whole table
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gla.conditions.roles import of_role

DOCS = Path(__file__).parent
CALM = of_role("calm")
TEMPLATES = sorted(str(path.relative_to(DOCS / "templates")) for path in (DOCS / "templates").rglob("*.md"))
PAGES = {one: "../README.md" if one == "README.md" else one for one in TEMPLATES}  # what they give, seen from docs
HEADER = "<!-- Written by docs/render.py: change docs/templates/{}, and run make docs-numbers. -->\n"
COUNTS = ("below_zero_action", "controls_harmed", "fewest_episodes", "seeds", "training_seeds")
BOUNDS = {"normalised_score": "score"}  # whose bounds do not bear their value's name
WORDS = (
    "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip


class Point(NamedTuple):
    """A point of a curve: its mean over seeds, the 95 % interval of that, and how many seeds it is of."""

    x: float
    mean: float
    low: float
    high: float
    seeds: int


def frame(path: str) -> pd.DataFrame:
    """A CSV below docs, as ``results/ant/figure4.csv``."""
    return pd.read_csv(DOCS / path)


def config(name: str) -> dict:
    """The config that a set was made with, as it lies next to its tables. Keys that an entry leaves out are not in it."""
    (path,) = _folder(name).glob("*.yaml")
    return yaml.safe_load(path.read_text())


def provenance(name: str, made: str) -> dict:
    """What is kept of a store, a network or a reference of a set, as ``provenance("default", "reacher-agent")``."""
    return json.loads((_folder(name) / "provenance.json").read_text())[made]


def rows(name: str, /, **equal: Any) -> list[dict]:
    """Rows of a set's verdicts in which each of the named columns has the given value.

    A missing value is NaN, of which every comparison is false.
    """
    path = _folder(name) / "verdicts.csv"
    if not path.exists():
        raise ValueError(f"{path}: missing (expected the verdicts of the set {name!r})")
    table = pd.read_csv(path)
    if unknown := sorted(equal.keys() - set(table)):
        raise ValueError(f"{path}: no column {', '.join(unknown)} (it has {', '.join(table)})")
    return [one for one in _records(table) if all(one[column] == x for column, x in equal.items())]


def row(name: str, evaluation: str, agent: str) -> dict:
    """The one row of a set's verdicts that is about an agent in an evaluation. Raises ValueError if it is not one."""
    found = rows(name, evaluation=evaluation, agent=agent)
    if len(found) != 1:
        path = _folder(name) / "verdicts.csv"
        raise ValueError(f"{path}: {len(found)} rows of agent {agent!r} in evaluation {evaluation!r} (expected one)")
    return found[0]


def curve(name: str, figure: str, evaluation: str, agent: str, condition: str) -> list[Point]:
    """A curve in one of a set's figures of kind ``in_context``; what does not change with the context is one point."""
    path = _folder(name) / f"{figure}.csv"
    table = pd.read_csv(path)
    own = table[(table["evaluation"] == evaluation) & (table["agent"] == agent) & (table["condition"] == condition)]
    if own.empty:
        raise ValueError(f"{path}: no curve of agent {agent!r}, condition {condition!r}, in evaluation {evaluation!r}")
    points = own[list(Point._fields)].drop_duplicates()  # one evaluation may stand in several panels
    return [Point(_whole(one.x), one.mean, one.low, one.high, int(one.seeds)) for one in points.itertuples(index=False)]


def score(name: str, evaluation: str, agent: str, figure: str = "table") -> dict:
    """The row of a set's figure of kind ``scores`` that is about all tasks of an agent in an evaluation."""
    found = [one for one in _scores(name, figure) if (one["evaluation"], one["agent"]) == (evaluation, agent)]
    if not found:
        raise ValueError(f"{_folder(name) / figure}.csv: no row of agent {agent!r} in evaluation {evaluation!r}")
    return found[0]


def _scores(name: str, figure: str) -> list[dict]:
    table = pd.read_csv(_folder(name) / f"{figure}.csv")
    own = table[table["task"].isna() & (table["condition"] == "agent")]
    return _records(own)


def _published() -> dict[tuple[str, str], float]:
    """What others published (docs/published.csv), by row and method."""
    return pd.read_csv(DOCS / "published.csv").set_index(["row", "method"])["published"].to_dict()


def _table(head: list[str], lines: Iterable[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def scores(name: str, figure: str = "table", methods: Sequence[str] = ()) -> str:
    """The Markdown table of a figure of kind ``scores``, with published numbers of others (docs/published.csv). methods: the rows of these
    alone, whatever the model. Raises ValueError if there is none."""
    others = _published()

    def shown(one: Mapping) -> list[str]:
        mean = interval({**one, "mean_low": one["low"], "mean_high": one["high"]}, "mean")
        failed = "" if _missing(one["failed_goals"]) else percent(one["failed_goals"])
        published = _shown({"published": others.get((one["row"], one["method"].partition(" (")[0]))}, "published")
        return [
            one["row"],
            one["method"],
            mean,
            _shown(one, "optimum"),
            failed,
            _shown(one, "training_seeds"),
            published,
        ]

    head = ["world", "method", "return, last episodes [95 %]", "best possible", "failed goals", "networks", "published"]
    found = [
        one for one in _scores(name, figure) if not methods or one["method"].split(" (")[0].split(",")[0] in methods
    ]
    if not found:
        raise ValueError(f"{_folder(name) / f'{figure}.csv'}: no row of {', '.join(methods)}")
    return _table(head, map(shown, found))


def normalised(name: str, figure: str = "table") -> list[dict]:
    """The rows of a set's figure of kind ``normalised``, each with the score that OmniRL published of its world."""
    table, others = pd.read_csv(_folder(name) / f"{figure}.csv"), _published()
    return [one | {"published": others.get((one["row"], "OmniRL"), math.nan)} for one in _records(table)]


def worlds(name: str, learners: Mapping[str, str], figure: str = "table") -> str:
    """The Markdown table of a figure of kind ``normalised``: its agents, learners from scratch (their conditions and what they are called
    here), and OmniRL's published numbers."""
    lines, found = [], normalised(name, figure)
    for one in (x for x in found if x["condition"] == "agent"):
        beside = {x["condition"]: x for x in found if x["evaluation"] == one["evaluation"]}
        mean = interval({**one, "score_low": one["low"], "score_high": one["high"]}, "score")
        own = [_shown(one, column) for column in ("median", "first_episodes", "steps_to_90_oracle")]
        scratch = [_shown(beside.get(condition, {}), "score") for condition in learners]
        lines.append([one["row"], mean, *own, *scratch, _shown(one, "published")])
    head = [
        "world",
        "score [95 %]",
        "median",
        "first episodes",
        "steps to 0.9",
        *learners.values(),
        "OmniRL, published",
    ]
    return _table(head, lines)


def demonstrations(name: str, figure: str = "demonstrations") -> str:
    """The Markdown table of a figure of kind ``normalised`` whose methods differ in what the agent was shown, with published numbers."""
    others, lines = _published(), []
    for one in (x for x in normalised(name, figure) if x["condition"] == "agent"):
        beside = [{"x": others.get((f"{one['row']}, {one['method']}", method))} for method in ("CQL", "OmniRL")]
        own = [_shown(one, column) for column in ("first_episodes", "score")]
        lines.append([one["row"], one["method"], *own, *(_shown(x, "x") for x in beside)])
    return _table(["world", "agent", "first episodes", "last fifth", "CQL, published", "OmniRL, published"], lines)


def calm(row: Mapping) -> float:
    """What an agent gets that does nothing of use: the better of zero action and random actions."""
    return max((row[c] for c in CALM if not _missing(row.get(c))), default=math.nan)


def benchmark(pattern: str) -> list[dict]:
    """Rows of docs/benchmarks.csv whose name matches a pattern, in which ``*`` is any text. Raises ValueError without any."""
    path = DOCS / "benchmarks.csv"
    found = [one for one in pd.read_csv(path).to_dict("records") if fnmatchcase(one["row"], pattern)]
    if not found:
        raise ValueError(f"{path}: no row matches {pattern!r}")
    return found


def number(x: float, digits: int = 3) -> str:
    """A number as prose shows it: with that many significant digits, but with one decimal fewer at most.

    0.6578 is 0.66, 7.4688 is 7.47, and 1234.4 is 1,234: what stands before the point is never rounded away. Counts are
    whole.
    """
    if isinstance(x, Integral):
        return f"{x:,}"
    if not math.isfinite(x):
        raise ValueError(f"{x} is no number that a page can show")
    exponent = int(f"{x:.{digits - 1}e}".partition("e")[2])  # of the rounded number: 9.996 has that of 10
    text = f"{x:,.{max(0, digits - 1 - max(0, exponent))}f}"
    return text if any(digit in text for digit in "123456789") else text.removeprefix("-")


def percent(x: float, digits: int = 2) -> str:
    """A share as prose shows it: 0.889 is 89 %."""
    return f"{number(float(100 * x), digits)} %"


def words(n: int) -> str:
    """A count as prose shows it: a word up to twenty, and none for 0."""
    return WORDS[n] if n < len(WORDS) else number(n)


def span(values: Iterable[float], digits: int = 3, percent: bool = False) -> str:
    """From the lowest to the highest of some values, as "6 to 9", or as one where the two look alike."""
    shown = [number(float(100 * x if percent else x), digits) for x in sorted(values)]
    return " to ".join(dict.fromkeys((shown[0], shown[-1]))) + (" %" if percent else "")


def interval(row: Mapping, name: str, digits: int = 3) -> str:
    """A value and the bounds of its 95 % interval: 0.65 [0.53, 0.77]."""
    bounds = BOUNDS.get(name, name)
    low, high = (number(row[f"{bounds}_{side}"], digits) for side in ("low", "high"))
    return f"{number(row[name], digits)} [{low}, {high}]"


def verdicts(name: str, split: str = "test") -> str:
    """The Markdown table of a set's verdicts on the tasks of one split. A value that is missing is an empty cell."""
    found = [one for one in rows(name) if one.get("split", "test") == split]
    if not found:
        raise ValueError(f"{_folder(name) / 'verdicts.csv'}: no row of split {split!r}")
    lines = [list(CELLS), ["---"] * len(CELLS), *([cell(one) for cell in CELLS.values()] for one in found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_kind(name: str, agent: str, kinds: Mapping[str, list[str]]) -> str:
    """The Markdown table of an agent's verdicts, by kind of task. kinds: the evaluations of each kind.

    Raises ValueError if one of them has no row.
    """
    found = {one["evaluation"]: one for one in rows(name, agent=agent)}
    if missing := [one for own in kinds.values() for one in own if one not in found]:
        raise ValueError(f"{_folder(name) / 'verdicts.csv'}: no row of {', '.join(missing)}")
    cells = {key: CELLS[key] for key in CELLS if key not in ("agent", "first version's verdict", "networks x seeds")}
    lines = [[kind, *(cell(found[one]) for cell in cells.values())] for kind, own in kinds.items() for one in own]
    return _table(["kind", *cells], lines)


def _folder(name: str) -> Path:
    return DOCS / "results" / ("" if name == "default" else name)


def _missing(x: Any) -> bool:
    return x is None or (isinstance(x, float) and math.isnan(x))


def _value(column: str, x: Any) -> Any:
    """A cell as its column has it, whatever the other rows hold: counts are whole, and no other number is."""
    if isinstance(x, str) or _missing(x):
        return x
    return int(x) if column in COUNTS else float(x)


def _records(table: pd.DataFrame) -> list[dict]:
    """The rows of a table, whose cells are as their columns have them."""
    return [{column: _value(column, x) for column, x in one.items()} for one in table.to_dict("records")]


def _whole(x: float) -> float:
    return int(x) if float(x).is_integer() else x


# Tables that an earlier version wrote lack some of the columns below. Where one is absent a cell stays empty, as
# where its value is missing, so that the pages can be written from them until the tables are made again.


def _shown(row: Mapping, *names: str, between: str = " ") -> str:
    """Values one after the other; empty unless all of them are there."""
    values = [row.get(name) for name in names]
    if any(_missing(x) for x in values):
        return ""
    return between.join(x if isinstance(x, str) else number(x) for x in values)


def _bounded(row: Mapping, name: str) -> str:
    """A value with its interval, or without it where it has none."""
    bounds = (f"{BOUNDS.get(name, name)}_{side}" for side in ("low", "high"))
    return interval(row, name) if not any(_missing(row.get(x)) for x in (name, *bounds)) else _shown(row, name)


CELLS: dict[str, Callable[[Mapping], str]] = {
    "agent": lambda row: _shown(row, "agent"),
    "evaluation": lambda row: _shown(row, "evaluation"),
    "verdict": lambda row: _shown(row, "verdict"),
    "first episode -> last fifth": lambda row: _shown(row, "first_episode", "last", between=" -> "),
    "best control's last": lambda row: _shown(row, "control_last"),
    "calm": lambda row: _shown({"calm": calm(row)}, "calm"),
    "best online learner": lambda row: _shown(row, "best_online", "best_online_last"),
    "beats online [95 %]": lambda row: _bounded(row, "beats_online"),
    "reference": lambda row: _shown(row, "reference"),
    "score above calm [95 %]": lambda row: _bounded(row, "score_above_calm"),
    "first version's verdict": lambda row: _shown(row, "verdict_v1"),
    "networks x seeds": lambda row: _shown(row, "training_seeds", "seeds", between=" x "),
}


def _checked(value: Any) -> Any:
    if _missing(value):
        raise ValueError(f"{value} is no number that a page can show")
    return value


def environment() -> Environment:
    """Jinja's, with this module's functions and the delimiters named above."""
    made = Environment(
        loader=FileSystemLoader(DOCS / "templates"),
        variable_start_string="[[", variable_end_string="]]", block_start_string="[%", block_end_string="%]",
        comment_start_string="[#", comment_end_string="#]",
        undefined=StrictUndefined, finalize=_checked, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown = (number, percent, words, span, interval, verdicts, by_kind)
    functions = (
        frame, config, provenance, rows, row, score, scores, curve, normalised, worlds, demonstrations, calm, benchmark, *shown,
    )  # fmt: skip
    made.globals |= {function.__name__: function for function in functions}
    return made


def render(template: str) -> str:
    """A page's text, from the template of that name."""
    return HEADER.format(template) + environment().get_template(template).render()


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Write README.md and pages of docs from docs/templates.")
    parser.add_argument("--check", action="store_true", help="name the pages that differ, and write nothing")
    check = parser.parse_args(arguments).check
    texts = {(DOCS / path).resolve(): render(template) for template, path in PAGES.items()}
    differing = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in differing:
        if check:
            print(f"{path}: differs from its template and tables; run make docs-numbers")
        else:
            path.write_text(texts[path])
    return int(check and bool(differing))


if __name__ == "__main__":
    raise SystemExit(main())
