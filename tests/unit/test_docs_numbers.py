"""README.md and the pages of docs that have a template hold what docs/render.py gives, and no number in their templates is written by hand."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from jinja2 import UndefinedError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import publish  # noqa: E402
import render  # noqa: E402

from gla.rows import write_rows  # noqa: E402

# What is no prose, and so may hold any number: (pattern, why).
NO_PROSE = (
    (r"^```.*?^```$", "a block of code"),
    (r"<!--.*?-->", "an HTML comment"),
    (r"\[#.*?#\]|\[%.*?%\]", "a comment or a statement of the template"),
    (r"\[\[(?=[^\]]*[A-Za-z]).*?\]\]+", "an expression, unless it is a bare number"),
    (r"`[^`]+`", "code within a line"),
    (r"(?<=\])\([^)\s]+\)", "where a link or an image points to"),
)

# Numbers that no run gives, and that may stand in prose: (pattern, why).
ALLOWED = (
    (r"[A-Za-z][A-Za-z0-9_]*-v\d+", "an environment, as Swimmer-v5"),
    (r"\bStable-Baselines3\b", "a library"),
    (r"\bWalker2d\b", "an environment's name without its version"),
    (r"\bFigures?\s\d", "a figure of the paper"),
    (r"\bet al\.,\s\d{4}", "a paper's year"),
    (r"\b\d+x\d+\b", "a grid's size"),
    (r"\b\d-D\b", "a number of dimensions"),
    (r"\b64\sobservation\sand\s16\saction\sdimensions", "the widest environment that an agent takes"),
    (r"\b64/16\b", "the same"),
    (r"\b95\s%\sintervals?|\bat\s95\s%(?!\sof\b)|\[95\s%\]", "the level of all intervals"),
    (r"\bPython\s3\.\d+", "a version"),
    (r"\bb?float(16|32)\b", "a number format"),
    (r"\b\d\scores\b", "the machine that results were made on"),
    (r"\bgaps?\s\d+\b", "an agent's setting, which is part of its name"),
    (r"\btemperature\s\d(\.\d+)?\b", "an evaluation's setting"),
    (r"\bepisodes\sof\s\d+\ssteps\b", "an environment's setting"),
    (r"(?<![-.\d])[01](?=\sfor\s)|\babove\s0\b", "what a definition says, as of a score: 0 for random actions"),
    (r"\breward\sin\sits\scontext\sis\s0\b", "a control's definition"),
)


def _without(text: str, patterns) -> str:
    """The text with blanks in the place of what matches, line by line as before."""
    for pattern, _ in patterns:
        flags = re.DOTALL | re.MULTILINE
        text = re.sub(pattern, lambda found: " " + "\n" * found[0].count("\n"), text, flags=flags)
    return text


def _lines(text: str) -> list[tuple[int, str]]:
    """(line, token) of every number by hand."""
    prose = _without(_without(text, NO_PROSE), ALLOWED).splitlines()
    token = r"\S*\d\S*(?:\s%)?"
    return [(i, found.strip("*()[],.;:!\"'")) for i, line in enumerate(prose, 1) for found in re.findall(token, line)]


def hand_written(text: str) -> list[str]:
    """The numbers of a template that are neither computed nor of a kind that no run gives."""
    return [token for _, token in _lines(text)]


@pytest.mark.parametrize(
    "text, found",
    [
        ("Swimmer 0.85, Pusher", ["0.85"]),
        ("It reaches 89 %, and", ["89 %"]),
        ("on 13.8M tokens", ["13.8M"]),
        ("reaches 95 % of it", ["95 %"]),
        ("*108* (3 of 64)", ["108", "3", "64"]),
        ("from -59 to -0.8.", ["-59", "-0.8"]),
        ("| ant | 12.5 [3, 4] |", ["12.5", "3", "4"]),
        ("it is [[ 0.85 ]]", ["0.85"]),
        ("[[ number(x) ]] of 64", ["64"]),
        ("[[ x[-1] ]] then 5", ["5"]),
        ("```\n1\n```\nin 20 steps\n```\n2\n```", ["20"]),
        ("Figure 3 on Swimmer-v5, in 3x3 and Walker2d", []),
        ("(Kirsch et al.,\n2023), mean and 95 % interval", []),
        ("a [link 7](docs/results/figure3.png)", ["7"]),
        ("![text](figure5.png) `gpu: 4` <!-- 5 --> [# 6 #] [% set a = 7 %]", []),
        ("[[ rows('a', b=0.5)[0].x ]]%, [[ span(y, 1) ]] times", []),
        ("with gap 30 at temperature 0.7, in episodes of 50 steps", []),
        ("above 0 at 95 %, which is 0 for random actions", []),
        ("is at 95 % of it, -1 for 0.1 for 10 for", ["95 %", "-1", "0.1", "10"]),
        ("no number", []),
    ],
)
def test_numbers_by_hand_are_found(text, found):
    assert hand_written(text) == found


@pytest.mark.parametrize("template", render.PAGES)
def test_no_number_is_written_by_hand(template):
    found = _lines((render.DOCS / "templates" / template).read_text())
    listed = "".join(f"\n  docs/templates/{template}:{line}: {token}" for line, token in found)
    assert not found, f"{len(found)} numbers by hand (expected an expression, see docs/render.py):{listed}"


@pytest.mark.parametrize("template, page", render.PAGES.items())
def test_a_page_is_what_its_template_and_the_tables_give(template, page):
    same = (render.DOCS / page).read_text() == render.render(template)
    assert same, f"{Path(page).name} differs from docs/templates/{template} and the tables: run `make docs-numbers`"


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """A folder of templates and tables, in the place of docs."""
    made = tmp_path / "docs"
    for folder in ("templates", "results/small"):
        (made / folder).mkdir(parents=True)
    monkeypatch.setattr(render, "DOCS", made)
    return made


NEW = """\
agent,evaluation,split,verdict,verdict_v1,first_episode,last,control_last,random,zero_action,best_online,best_online_last,\
beats_online,beats_online_low,beats_online_high,reference,score_above_calm,score_above_calm_low,score_above_calm_high,\
normalised_score,score_low,score_high,below_zero_action,training_seeds,seeds
a,swim,test,learns from reward,no control,-1,1234.4,2.5,-0.001,0.5,online_ppo,7,3,1,5,28.2,0.654,0.53,0.77,0.7,0.6,0.8,3,3,64
b,swim,test,no control,no control,1,2,,-3,,,,,,,,0.1,,,,,,,3,64
a,swim_1,validation,does not improve,does not improve,1,2,3,4,5,online_ars,7,-3,-5,-1,9,-0.2,-0.3,-0.1,0.1,0,0.2,0,3,64
"""
OLD = "agent,evaluation,verdict,first,last,random,zero_action,seeds\na,swim,learns from reward,1,2,3,4,64\n"


@pytest.fixture
def small(docs):
    (docs / "results/small/verdicts.csv").write_text(NEW)
    return docs


@pytest.mark.parametrize(
    "x, digits, shown",
    [
        (7.4688, 3, "7.47"), (-0.6578, 3, "-0.66"), (108.4, 3, "108"), (1234.4, 3, "1,234"), (0.0, 3, "0.00"),
        (-0.004, 3, "0.00"), (9.996, 3, "10.0"), (99.96, 3, "100"), (10.07, 3, "10.1"), (6.37, 1, "6"), (11.3, 1, "11"),
        (0.6578, 2, "0.7"), (64, 3, "64"), (16384, 3, "16,384"), (12345.6, 2, "12,346"),
    ],
)  # fmt: skip
def test_a_number_as_prose_shows_it(x, digits, shown):
    assert render.number(x, digits) == shown


@pytest.mark.parametrize("x", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(x):
    with pytest.raises(ValueError, match="is no number"):
        render.number(x)


def test_shares_counts_and_spans():
    assert [render.percent(x) for x in (0.889, 0.064, 1.07)] == ["89 %", "6.4 %", "107 %"]
    assert [render.words(n) for n in (0, 5, 20, 21, 1000)] == ["none", "five", "twenty", "21", "1,000"]
    assert render.span([9.16, 7.0, 6.37], 1) == "6 to 9" and render.span(iter([1.231, 1.229])) == "1.23"
    assert render.span([0.806, 0.786], 2, percent=True) == "79 to 81 %"


def test_a_row_and_its_intervals(small):
    found = render.row("small", "swim", "a")
    assert render.interval(found, "score_above_calm") == "0.65 [0.53, 0.77]"
    assert render.interval(found, "normalised_score", 2) == "0.7 [0.6, 0.8]"
    assert render.calm(found) == 0.5 and render.calm(render.row("small", "swim", "b")) == -3
    # A count is whole though it is missing in another row, and no other number is, whole as it may be here.
    assert [render.number(found[c]) for c in ("below_zero_action", "beats_online")] == ["3", "3.00"]
    with pytest.raises(ValueError, match="nan is no number"):
        render.interval(render.row("small", "swim", "b"), "score_above_calm")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("small", "walk", "a"), r"small/verdicts\.csv: 0 rows of agent 'a' in evaluation 'walk'"),
        (("small", "swim", "c"), r"small/verdicts\.csv: 0 rows of agent 'c' in evaluation 'swim'"),
        (("large", "swim", "a"), r"large/verdicts\.csv: missing"),
        (("default", "swim", "a"), r"docs/results/verdicts\.csv: missing"),
    ],
)
def test_a_row_that_is_not_there_is_named(small, arguments, said):
    with pytest.raises(ValueError, match=said):
        render.row(*arguments)


def test_rows_are_those_that_are_equal(small):
    assert [one["agent"] for one in render.rows("small")] == ["a", "b", "a"]
    assert [one["evaluation"] for one in render.rows("small", agent="a", split="test")] == ["swim"]
    assert not render.rows("small", best_online_last=float("nan"))
    with pytest.raises(ValueError, match=r"no column colour \(it has agent"):
        render.rows("small", colour="red")


def test_the_table_of_verdicts(small):
    head, line, *body = render.verdicts("small").splitlines()
    assert head.count("|") == line.count("|") == 13
    assert body == [
        "| a | swim | learns from reward | -1.00 -> 1,234 | 2.50 | 0.50 | online_ppo 7.00 | 3.00 [1.00, 5.00] | 28.2 "
        "| 0.65 [0.53, 0.77] | no control | 3 x 64 |",
        "| b | swim | no control | 1.00 -> 2.00 |  | -3.00 |  |  |  | 0.10 | no control | 3 x 64 |",
    ]
    assert [row.split(" | ")[1] for row in render.verdicts("small", split="validation").splitlines()[2:]] == ["swim_1"]
    with pytest.raises(ValueError, match="no row of split 'training'"):
        render.verdicts("small", split="training")


def test_an_older_table_has_empty_cells(small):
    (small / "results/small/verdicts.csv").write_text(OLD)
    assert render.verdicts("small").splitlines()[2:] == [
        "| a | swim | learns from reward |  |  | 4.00 |  |  |  |  |  |  |"
    ]


def test_a_curve_is_its_points_once(docs):
    (docs / "results/small/figure.csv").write_text(
        "panel,evaluation,environment,agent,condition,x,mean,low,high,seeds\n"
        "0,swim,e,a,agent,1.0,2.5,2,3,64\n0,swim,e,a,agent,2.5,3.5,3,4,63\n1,swim,e,a,agent,1.0,2.5,2,3,64\n"
        "0,swim,e,baseline,random,,0.5,0,1,64\n"
    )
    assert render.curve("small", "figure", "swim", "a", "agent") == [(1, 2.5, 2, 3, 64), (2.5, 3.5, 3, 4, 63)]
    assert [point.mean for point in render.curve("small", "figure", "swim", "baseline", "random")] == [0.5]
    with pytest.raises(ValueError, match=r"figure\.csv: no curve of agent 'a', condition 'none'"):
        render.curve("small", "figure", "swim", "a", "none")
    assert len(render.frame("results/small/figure.csv")) == 4


def test_benchmarks_are_found_by_pattern(docs):
    (docs / "benchmarks.csv").write_text('row,ratio\n"collection, A (x)",2\n"collection, B (x)",3\nother,4\n')
    assert [one["ratio"] for one in render.benchmark("collection, * (x)")] == [2, 3]
    with pytest.raises(ValueError, match=r"benchmarks\.csv: no row matches 'none\*'"):
        render.benchmark("none*")


def _template(docs, text):
    (docs / "templates/README.md").write_text(text)
    return render.render("README.md").removeprefix(render.HEADER.format("README.md"))


def test_a_template_sees_the_tables_and_leaves_code_alone(small):
    (small / "results/small/provenance.json").write_text('{"a-agent": {"training": {"parameters": 202485}}}')
    text = (
        '[% set one = row("small", "swim", "a") %]\n{{ a }} {% b %} x[0] {# c #} [[ number(one.last) ]] [# gone #]d\n\n'
    )
    assert _template(small, text) == "{{ a }} {% b %} x[0] {# c #} 1,234 d\n\n"
    assert _template(small, '[[ number(provenance("small", "a-agent").training.parameters / 1000) ]]k') == "202k"
    (small / "results/small/small.yaml").write_text("agents: {a: {steps: 1000}}")
    assert _template(small, '[[ number(config("small").agents.a.steps) ]]') == "1,000"
    count = '[[ rows("small") | selectattr("beats_online_low", "gt", 0) | list | length ]]'
    assert _template(small, count) == "1"  # of which one is missing


@pytest.mark.parametrize(
    "text, error",
    [
        ("[[ nothing ]]", UndefinedError),
        ('[[ row("small", "swim", "a").nothing ]]', UndefinedError),
        ('[[ row("small", "swim", "b").reference ]]', ValueError),
        ('[[ number(row("small", "swim", "b").reference) ]]', ValueError),
    ],
)
def test_what_is_missing_stops_a_page(small, text, error):
    with pytest.raises(error):
        _template(small, text)


def test_the_command_names_pages_that_differ_and_writes_them(small, capsys):
    for name in render.PAGES:
        for folder in (small, small / "templates"):
            (folder / name).parent.mkdir(exist_ok=True)
        (small / "templates" / name).write_text('[[ row("small", "swim", "a").seeds ]]\n')
    assert render.main(["--check"]) == 1 and not (small / "results.md").exists()
    said = capsys.readouterr().out.splitlines()
    assert [Path(line.split(":")[0]).name for line in said] == [Path(page).name for page in render.PAGES.values()]
    assert render.main([]) == 0 and render.main(["--check"]) == 0 and capsys.readouterr().out == ""
    assert (small / "results.md").read_text().endswith("-->\n64\n")
    (small.parent / "README.md").write_text("by hand\n")
    assert render.main(["--check"]) == 1 and "README.md: differs" in capsys.readouterr().out


RESULTS = ROOT / "docs/results"


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("rollouts.parquet")), ids=lambda p: p.parent.name)
def test_published_verdicts_are_those_of_the_published_returns(path):
    """The whole way from returns to the table, by the rule as it is now."""
    again = publish.judged(path.parent).to_csv(index=False, float_format="%.6g")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(again)), pd.read_csv(path.parent / "verdicts.csv"), rtol=1e-4)


@pytest.mark.parametrize(
    "path",
    [
        p if p.parent == RESULTS else pytest.param(p, marks=pytest.mark.slow)
        for p in sorted(RESULTS.rglob("rollouts.parquet"))
    ],
    ids=lambda p: p.parent.name,
)
def test_published_figures_show_the_published_returns(path, tmp_path):
    drawn = publish.tabled(path.parent, tmp_path)
    assert drawn
    for _, table in drawn:
        pd.testing.assert_frame_equal(pd.read_csv(table), pd.read_csv(path.parent / table.name), rtol=1e-6)


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("rollouts.parquet")), ids=lambda p: p.parent.name)
def test_make_publishes_every_set(path):
    (config,) = path.parent.glob("*.yaml")
    results = yaml.safe_load(config.read_text()).get("pathvars", {}).get("results", "results")
    folder = path.parent.relative_to(ROOT).as_posix()
    line = f"$(call publish,{results},{folder},config/{config.name})"
    assert line in (ROOT / "Makefile").read_text(), f"make docs-results does not write {folder} (expected {line})"


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("rollouts.parquet")), ids=lambda p: p.parent.name)
def test_published_provenance_is_of_what_the_config_names(path):
    (config,) = path.parent.glob("*.yaml")
    raw = yaml.safe_load(config.read_text())
    known = {*raw["environments"], *raw["sources"], *raw["agents"]}
    found = json.loads((path.parent / "provenance.json").read_text())
    assert found and all(any(name.startswith(f"{k}-") or name.startswith(f"{k}.") for k in known) for name in found)


def test_the_agents_of_the_first_figure_and_of_figure_4_have_five_networks():
    """One network is one sample, and these are what the pages rest on."""
    for name, agents in (
        ("extended", ("grid_hidden", "point_mass")),
        ("ant", ("ant_forward", "ant_backward", "ant_both")),
    ):
        table = pd.read_csv(RESULTS / name / "verdicts.csv")
        assert set(agents) <= set(table["agent"]) and (table[table["agent"].isin(agents)]["training_seeds"] == 5).all()


def _published_copy(tmp_path, edit=lambda raw: None):
    """A published set's copy, and its config with results that no run has written."""
    folder, config = tmp_path / "set", tmp_path / "one_task.yaml"
    shutil.copytree(RESULTS / "one_task", folder)
    raw = yaml.safe_load((folder / "one_task.yaml").read_text())
    raw["pathvars"] = {"results": str(tmp_path / "results")}
    edit(raw)
    config.write_text(yaml.safe_dump(raw))
    return config, folder


def test_what_a_run_lacks_is_taken_from_the_published_set(tmp_path):
    config, folder = _published_copy(tmp_path)
    publish.publish(config, folder, add=True)
    for name in ("verdicts.csv", "provenance.json", "figure3.csv", "training.csv", "training.png"):
        before, now = ((f / name) for f in (RESULTS / "one_task", folder))
        if name in ("verdicts.csv", "figure3.csv"):
            pd.testing.assert_frame_equal(pd.read_csv(now), pd.read_csv(before), rtol=1e-4)
        elif name == "provenance.json":
            assert json.loads(now.read_text()) == json.loads(before.read_text())
        else:
            assert now.read_bytes() == before.read_bytes()


def test_another_network_joins_those_that_are_published(tmp_path):
    config, folder = _published_copy(tmp_path, lambda raw: raw["agents"]["reacher"].update(seeds=2))
    with pytest.raises(SystemExit, match=r"agents/reacher\.1/agent\.json: missing"):
        publish.publish(config, folder, add=True)
    assert (folder / "rollouts.parquet").read_bytes() == (RESULTS / "one_task/rollouts.parquet").read_bytes()
    table = pd.read_parquet(folder / "rollouts.parquet")
    results, own = tmp_path / "results", table[table["agent"].astype(str) == "reacher"]
    (results / "agents/reacher.1").mkdir(parents=True)
    (results / "agents/reacher.1/agent.json").write_text('{"another": "network"}')
    for condition, rows in own.groupby("condition", observed=True):
        rows = rows.astype(dict.fromkeys(publish.NAMES, str)).drop(columns="evaluation").assign(training_seed=1)
        path = results / f"rollouts/reacher/reacher.1/{condition}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(rows, path)
    publish.publish(config, folder, add=True)
    found = pd.read_csv(folder / "verdicts.csv").set_index("agent")["training_seeds"]
    assert found["reacher"] == 2 and found["grid_gap1"] == 1
    assert json.loads((folder / "provenance.json").read_text())["reacher.1-agent"] == {"another": "network"}
    assert yaml.safe_load((folder / "one_task.yaml").read_text())["agents"]["reacher"]["seeds"] == 2


def test_results_of_other_settings_are_not_put_together(tmp_path):
    config, folder = _published_copy(tmp_path, lambda raw: raw["evaluations"]["grid"].update(seed=4))
    with pytest.raises(SystemExit, match=r"evaluations\.grid\.seed: 4 \(expected 3, as published in "):
        publish.publish(config, folder, add=True)
