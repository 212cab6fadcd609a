"""How benchmarks count, and that the page holds what was measured. Nothing is timed here."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import online_learners  # noqa: E402
import report  # noqa: E402
import table  # noqa: E402


@pytest.fixture
def docs(tmp_path, monkeypatch):
    for module in (table, report):
        monkeypatch.setattr(module, "DOCS", tmp_path)
    (tmp_path / "benchmarks.md").write_text((ROOT / "docs/benchmarks.md").read_text())
    return tmp_path


def _rows(docs):
    return pd.read_csv(docs / "benchmarks.csv").set_index("row")


def test_contenders_take_turns_and_the_first_round_does_not_count():
    order = []

    def contender(name, values):
        return lambda: order.append(name) or next(values)

    found = table.interleaved(2, a=contender("a", iter([9, 1, 2])), b=contender("b", iter([9, 3, 4])))
    assert order == ["a", "b"] * 3
    assert {name: x.tolist() for name, x in found.items()} == {"a": [1, 2], "b": [3, 4]}


@pytest.mark.parametrize("less, ratio, met", [(False, 2.0, True), (True, 0.5, False)])
def test_a_ratio_is_the_median_of_the_rounds_and_above_one_where_ours_is_better(docs, less, ratio, met):
    table.put_ratio("x", "s", np.array([2.0, 4.0, 30.0]), np.array([1.0, 2.0, 3.0]), "y", 1.0, less=less)
    row = _rows(docs).loc["x"]
    assert (row["ratio"], row["met"], row["ours"], row["peer"], row["ours_low"], row["ours_high"]) == (
        ratio,
        met,
        4,
        2,
        2,
        30,
    )


def test_a_row_is_replaced_and_one_that_another_machine_measured_stays(docs):
    table.put_missing("gpu", "FLOP/s", "peak", 0.4, "not measured: no GPU")
    assert _rows(docs).loc["gpu", "met"] == "not measured: no GPU" and pd.isna(_rows(docs).loc["gpu", "ratio"])
    for value in (3.0, 5.0):
        table.put_ratio("gpu", "FLOP/s", np.array([value]), np.array([10.0]), "peak", 0.4)
    table.put_missing("gpu", "FLOP/s", "peak", 0.4, "not measured: no GPU")
    assert len(_rows(docs)) == 1 and _rows(docs).loc["gpu", "ratio"] == 0.5


def test_growth_is_one_rate_for_each_size_and_the_page_shows_what_was_measured(docs):
    for size, rate in ((1, 10.0), (2, 20.0), (2, 18.0)):
        table.put_growth("lifetimes", size, rate, "steps/s")
    growth = pd.read_csv(docs / "benchmarks_growth.csv")
    assert growth[["what", "size", "rate"]].values.tolist() == [["lifetimes", 1, 10.0], ["lifetimes", 2, 18.0]]
    table.put_ratio("fast", "tokens/s", np.array([2.0, 3.0]), np.array([1.0, 1.5]), "a loop", 2.0)
    table.put_ratio("slow", "tokens/s", np.array([1.0]), np.array([2.0]), "a loop", 1.0)
    table.put_missing("gpu", "FLOP/s", "peak", 0.4, "not measured: no GPU")
    before = (docs / "benchmarks.md").read_text()
    for _ in range(2):  # writing it again changes nothing
        report.main()
        page = (docs / "benchmarks.md").read_text()
    assert page.count(report.BEGIN) == page.count(report.END) == page.count("| slow |") == 1
    assert "| fast | 2.5 (2 to 3) | 1.25 (1 to 1.5) | tokens/s | 2 | 2 | yes | a loop |" in page
    assert "| slow | 1 | 2 | tokens/s | 0.5 | 1 | **no** | a loop |" in page and "Missed: slow." in page
    assert "| gpu | - | - | FLOP/s | - | 0.4 | not measured: no GPU | peak |" in page
    for part, kept in zip((0, 1), (page.split(report.BEGIN)[0], page.split(report.END)[1]), strict=True):
        assert before.split((report.BEGIN, report.END)[part])[part] == kept
    assert (docs / "benchmarks_growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_holds_the_committed_table():
    assert report.table(pd.read_csv(ROOT / "docs/benchmarks.csv")) in (ROOT / "docs/benchmarks.md").read_text()


@pytest.mark.parametrize("learner", online_learners.GRIDS)
def test_online_learners_have_the_settings_that_were_best(learner):
    """Those of the committed search; the linear learner's step is one for discrete actions and one for continuous ones."""
    found = pd.read_csv(ROOT / "docs/online_learners.csv").set_index("settings").query("learner == @learner")
    own = dict(pair.split("=") for pair in online_learners.own(learner).split())
    for column, actor in (
        {"discrete": "actor_discrete", "continuous": "actor"}.items()
        if learner == "online_linear"
        else {"mean": ""}.items()
    ):
        expected = {k: v for k, v in own.items() if not k.startswith("actor")} | (
            {"actor": own[actor]} if actor else {}
        )
        assert dict(pair.split("=") for pair in found[column].idxmax().split()) == expected
