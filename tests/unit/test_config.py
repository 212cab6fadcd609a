import copy
import datetime
import itertools
import json
import random
import re
import time
from functools import reduce
from importlib.metadata import EntryPoint, EntryPoints
from operator import getitem
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gla import kinds
from gla.config import documentation, reading
from gla.config.environments import Environment
from gla.config.reading import load, normalise
from gla.config.whole import NOUNS
from gla.encoding.kinds import ENCODINGS
from gla.figures.kinds import FIGURES
from gla.kinds import Kinds
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.options import ConfigError, Options
from gla.paths import Paths
from gla.sources.kinds import SOURCES
from gla.trainers.kinds import TRAINERS
from gla.windows.kinds import WINDOWS

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def _smoke():
    # The file shares one dictionary between agents; an edit of one must not reach the other.
    return json.loads(json.dumps(yaml.safe_load((ROOT / "config/smoke.yaml").read_text())))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_shipped_configs_load(path):
    normalise(yaml.safe_load(path.read_text()))


def test_the_schema_for_editors_and_the_reference_are_the_models():
    assert (ROOT / "workflow/schemas/config.schema.json").read_text() == documentation.json_schema()
    assert (ROOT / "config/README.md").read_text() == documentation.reference()


def _entries(base=Options):
    """Every class of options of the package: entries, what is common to several kinds, and each kind's own."""
    own = [c for c in base.__subclasses__() if c.__module__.startswith("gla.")]
    return [*own, *(c for o in own for c in _entries(o))]


@pytest.mark.parametrize("entry", dict.fromkeys(_entries()), ids=lambda e: f"{e.__module__}.{e.__name__}")
def test_every_key_is_documented(entry):
    text = (ROOT / "config/README.md").read_text()
    for name, field in entry.model_fields.items():
        assert f"`{name}`" in text, f"config/README.md does not mention `{name}` of {entry}"
        assert name == "kind" or field.description


# Normalising


def _shuffled(value, rng):
    """The same mappings, at every depth, with their keys in another order."""
    if isinstance(value, list):
        return [_shuffled(v, rng) for v in value]
    if not isinstance(value, dict):
        return value
    return {k: _shuffled(value[k], rng) for k in rng.sample(list(value), len(value))}


def test_normalising_fills_in_every_default_and_twice_is_once():
    raw = _smoke()
    before = copy.deepcopy(raw)
    once = normalise(raw)
    assert raw == before
    assert json.dumps(normalise(once)) == json.dumps(once)
    assert (
        once["agents"]["grid_gap1"]["training"]["weight_decay"] == 0.01
        and once["environments"]["pendulum"]["tasks"] == []
    )
    assert load(once) == load(raw)
    assert yaml.safe_load(yaml.safe_dump(once)) == once  # plain types


def test_spelling_out_a_default_changes_nothing():
    spelled = _smoke()
    spelled["agents"]["grid_gap1"] |= {"loss": {"kind": "divergence", "direction": "sum"}, "labels": "recorded"}
    spelled["agents"]["grid_gap1"]["training"]["warmup"] = 100
    spelled["sources"]["grid"]["gamma"] = 0.99
    assert json.dumps(normalise(spelled)) == json.dumps(normalise(_smoke()))


def test_whole_numbers_are_numbers():
    raw = _smoke()
    raw["agents"]["grid_gap1"]["training"]["learning_rate"] = 1
    assert load(raw).agents["grid_gap1"].training.learning_rate == 1.0
    assert json.dumps(normalise(raw)["agents"]["grid_gap1"]["training"]["learning_rate"]) == "1.0"


@pytest.mark.parametrize("kind", [kind for kind in MODELS if not MODELS.options(kind).encodings])
def test_a_name_stands_for_the_kind_with_its_defaults(kind):
    """This holds for every noun that comes in kinds. If no kind is named, the first is meant."""
    raw, spelled = _smoke(), _smoke()
    raw["agents"]["grid_gap1"] |= {
        "model": kind,
        "windows": "rising_quality",
        "labels": "later_policy",
        "loss": "divergence",
    }
    spelled["agents"]["grid_gap1"] |= {
        "model": {"kind": kind}, "windows": {"kind": "rising_quality"}, "labels": {"kind": "later_policy"}, "loss": {"kind": "divergence"},
    }  # fmt: skip
    raw["datasets"]["projected"]["encoding"], spelled["datasets"]["projected"]["encoding"] = "projected", {}
    assert json.dumps(normalise(raw)) == json.dumps(normalise(spelled))
    found = normalise(raw)["agents"]["grid_gap1"]
    assert found["model"] == MODELS.options(kind)().model_dump()
    assert (found["windows"]["switch"], found["loss"]["direction"], found["labels"]["log_std_floor"]) == (
        True,
        "sum",
        -3.0,
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_an_entrys_keys_does_not_matter(seed):
    raw, rng = _smoke(), random.Random(seed)
    shuffled = {kind: {name: _shuffled(entry, rng) for name, entry in raw[kind].items()} for kind in raw}
    assert json.dumps(normalise(shuffled)) == json.dumps(normalise(raw))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_any_mapping_does_not_matter(seed):
    """Names of entries, keyword arguments and style included: Snakemake compares the text."""
    raw = _smoke()
    raw["environments"]["grid"] |= {
        "kwargs": {"size": 4, "start": [0, 0]},
        "tasks": [{"goal": [2, 2], "max_episode_steps": 8}],
    }
    raw["figures"]["sources"]["style"] = {"font.size": 7, "lines.linewidth": 1}
    assert json.dumps(normalise(_shuffled(raw, random.Random(seed)))) == json.dumps(normalise(raw))


# Refusing


GRID, PENDULUM, SOURCE, AGENT = (
    ("environments", "grid"),
    ("environments", "pendulum"),
    ("sources", "grid"),
    ("agents", "grid_gap1"),
)
DATASET, TRAINING = ("datasets", "grid"), (*AGENT, "training")
DELETE = object()


def _refused(*edits):
    """The lines of the error that edits (path, value) of the smoke config cause."""
    raw = _smoke()
    for path, value in edits:
        node = raw
        for key in path[:-1]:
            node = node[key]
        if value is DELETE:
            del node[path[-1]]
        else:
            node[path[-1]] = value
    with pytest.raises(ConfigError) as error:
        load(raw)
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    "path, value, key, expected",
    [
        # Unknown keys
        (("colour",), "red", "colour", "unknown key"),
        ((*GRID, "colour"), "red", "environments.grid.colour", "unknown key"),
        ((*SOURCE, "lr"), 0.1, "sources.grid.lr", "unknown key"),
        ((*AGENT, "model", "depth"), 3, "agents.grid_gap1.model.depth", "unknown key"),
        (("figures", "figure3", "panels", 0, "colour"), "red", "figures.figure3.panels.0.colour", "unknown key"),
        # Wrong types
        ((*SOURCE, "lifetimes"), "four", "sources.grid.lifetimes", "valid integer"),
        ((*SOURCE, "lifetimes"), 4.5, "sources.grid.lifetimes", "valid integer"),
        ((*SOURCE, "lifetimes"), True, "sources.grid.lifetimes", "valid integer"),
        ((*DATASET, "encoding", "standardise"), "on", "datasets.grid.encoding.standardise", "valid boolean"),
        ((*TRAINING, "learning_rate"), [1], "agents.grid_gap1.training.learning_rate", "valid number"),
        (("agents",), [], "agents", "valid dictionary"),
        # Out of range
        ((*SOURCE, "lifetimes"), 0, "sources.grid.lifetimes", "greater than or equal to 1"),
        ((*SOURCE, "num_envs"), -1, "sources.grid.num_envs", "greater than or equal to 1"),
        ((*SOURCE, "seed"), -1, "sources.grid.seed", "greater than or equal to 0"),
        ((*SOURCE, "gamma"), 1.5, "sources.grid.gamma", "less than or equal to 1"),
        ((*SOURCE, "learning_rate"), 0.0, "sources.grid.learning_rate", "greater than 0"),
        ((*TRAINING, "weight_decay"), -0.1, "agents.grid_gap1.training.weight_decay", "greater than or equal to 0"),
        ((*DATASET, "held_out_lifetimes"), 1.0, "datasets.grid.held_out_lifetimes", "less than 1"),
        ((*DATASET, "sources"), [], "datasets.grid.sources", "at least 1"),
        (("evaluations", "grid", "eta"), [0.0], "evaluations.grid.eta", "at least 2"),
        # No such choice
        ((*AGENT, "labels"), "both", "agents.grid_gap1.labels.kind", "one of recorded, later_policy"),
        ((*AGENT, "windows", "kind"), "both", "agents.grid_gap1.windows.kind", "one of across_updates, rising_quality"),
        ((*AGENT, "loss"), {"kind": [1]}, "agents.grid_gap1.loss.kind", "one of divergence, action_likelihood"),
        ((*AGENT, "model"), 3, "agents.grid_gap1.model", "a mapping with a kind"),
        (
            (*DATASET, "encoding", "projections"),
            "random",
            "datasets.grid.encoding.projections",
            "'gaussian' or 'identity'",
        ),
        ((*DATASET, "encoding", "kind"), "identity", "datasets.grid.encoding.kind", "one of projected, tabular"),
        ((*SOURCE, "kind"), "a2c", "sources.grid.kind", "one of ppo, random"),
        (
            ("figures", "training", "kind"),
            "bar",
            "figures.training.kind",
            "one of sources, in_context, scaling, scores, normalised, training, training_tasks",
        ),
        (("evaluations", "grid", "baselines"), ["best"], "evaluations.grid.baselines.0", "'random', 'zero_action'"),
        # Gaps
        ((*AGENT, "windows", "gap"), 6, "agents.grid_gap1.windows.gap", "at most 5"),
        ((*AGENT, "windows", "gap"), [1, 9], "agents.grid_gap1.windows.gap", "at most 5"),
        ((*AGENT, "windows", "gap"), [3, 1], "agents.grid_gap1.windows.gap", "low <= high"),
        ((*AGENT, "windows", "gap"), 0, "agents.grid_gap1.windows.gap", "1"),
        ((*AGENT, "windows", "gap"), "most", "agents.grid_gap1.windows.gap", "'max'"),
        ((*AGENT, "windows", "gap"), [1, 2, 3], "agents.grid_gap1.windows.gap", "2"),
        ((*AGENT, "windows", "chunk_steps"), 21, "agents.grid_gap1.windows.chunk_steps", "20 steps"),
        # References
        ((*SOURCE, "environment"), "ant", "sources.grid.environment", "environments: grid, pendulum"),
        ((*DATASET, "sources"), ["ant"], "datasets.grid.sources", "sources: grid, pendulum"),
        ((*AGENT, "dataset"), "ant", "agents.grid_gap1.dataset", "grid, projected"),
        (("evaluations", "pendulum", "environment"), "ant", "evaluations.pendulum.environment", "grid, pendulum"),
        (
            ("evaluations", "grid", "agents"),
            ["grid_gap1", "projected_max", "ant"],
            "evaluations.grid.agents",
            "grid_gap1, projected",
        ),
        (
            ("figures", "figure3", "panels", 0, "evaluation"),
            "ant",
            "figures.figure3.panels[0].evaluation",
            "grid, grid_validation, pendulum",
        ),
        (("figures", "training", "agents"), ["ant"], "figures.training.agents", "grid_gap1, projected_max"),
        (("figures", "sources", "sources"), ["ant"], "figures.sources.sources", "grid, pendulum"),
        (
            ("figures", "figure5", "panels", 1, "agents"),
            ["grid_gap1"],
            "figures.figure5.panels[1].agents",
            "projected_max",
        ),
        # Of more than one key
        (("evaluations", "grid", "env_steps"), 10, "evaluations.grid", "exactly one"),
        (("evaluations", "grid", "episodes"), None, "evaluations.grid", "exactly one"),
        ((*SOURCE, "num_minibatches"), 7, "sources.grid", "divisor"),
        ((*SOURCE, "num_minibatches"), 40, "sources.grid", "at most 20"),
        ((*DATASET, "sources"), ["grid", "grid"], "datasets.grid.sources", "once"),
        (("evaluations", "pendulum", "agents"), ["projected_max"] * 2, "evaluations.pendulum.agents", "once"),
        (("evaluations", "grid", "conditions"), ["agent"] * 2, "evaluations.grid.conditions", "once"),
        (("evaluations", "grid", "baselines"), ["random"] * 2, "evaluations.grid.baselines", "once"),
        (("figures", "training", "agents"), ["grid_gap1"] * 2, "figures.training.agents", "once"),
        (("figures", "sources", "sources"), ["grid"] * 2, "figures.sources.sources", "once"),
        (("figures", "figure3", "panels", 0, "agents"), ["grid_gap1"] * 2, "figures.figure3.panels[0].agents", "once"),
        ((*AGENT, "model", "heads"), 5, "agents.grid_gap1.model", "multiple of 2"),
        ((*AGENT, "model", "key_heads"), 3, "agents.grid_gap1.model", "expected a divisor"),
        (("figures", "figure3", "panels", 0, "labels"), ["one"], "figures.figure3.panels[0].labels", "2 of them"),
        (
            (*AGENT, "loss"),
            {"kind": "action_likelihood", "prediction_weight": -1.0},
            "agents.grid_gap1.loss.prediction_weight",
            "equal to 0",
        ),
        (("figures", "sources", "sources"), [], "figures.sources.sources", "at least 1"),
        # Out of every range
        ((*SOURCE, "lifetimes"), 10**12, "sources.grid.lifetimes", "less than or equal to 1000000"),
        ((*SOURCE, "num_envs"), 2**64, "sources.grid.num_envs", "less than or equal to 1000000"),
        ((*SOURCE, "seed"), 2**30, "sources.grid.seed", "less than 1073741824"),
        ((*GRID, "reference", "seed"), 2**30, "environments.grid.reference.seed", "less than 1073741824"),
        ((*SOURCE, "num_updates"), 10**12, "sources.grid.num_updates", "less than or equal to 1000000000"),
        ((*SOURCE, "clip"), 1e300, "sources.grid.clip", "less than or equal to 1000000000"),
        (
            (*SOURCE, "num_updates"),
            2**31 // 20 + 1,
            "sources.grid",
            "of each copy of the environment (expected less than 2147483648)",
        ),
        (
            ("sources", "walk"),
            {"environment": "grid", "kind": "random", "num_updates": 10**9},
            "sources.walk",
            "(expected less than 2147483648)",
        ),
        ((*GRID, "tasks"), {"task": [0, 10**12]}, "environments.grid.tasks", "(expected at most 10000)"),
        ((*DATASET, "held_out_lifetimes"), 1e-300, "datasets.grid.held_out_lifetimes", "greater than or equal to"),
        ((*DATASET, "encoding", "train"), 2**40 + 1, "datasets.grid.encoding.train", "equal to 1099511627776"),
        (
            (*DATASET, "encoding", "validation"),
            2**40 + 1,
            "datasets.grid.encoding.validation",
            "equal to 1099511627776",
        ),
        ((*AGENT, "seed"), 2**64, "agents.grid_gap1.seed", "less than 1073741824"),
        (
            (*AGENT, "labels"),
            {"log_std_floor": -1e300},
            "agents.grid_gap1.labels.log_std_floor",
            "greater than or equal to -20",
        ),
        ((*TRAINING, "learning_rate"), 1e38, "agents.grid_gap1.training.learning_rate", "less than or equal to 1000"),
        (("evaluations", "grid", "seeds"), 2**20 + 1, "evaluations.grid.seeds", "less than or equal to 1048576"),
        (("evaluations", "grid", "eta"), [0.0, 1e300], "evaluations.grid.eta.1", "less than or equal to 10"),
        (
            ("figures", "figure3", "panels", 0, "title"),
            "x" * 201,
            "figures.figure3.panels.0.title",
            "at most 200 characters",
        ),
        # Evidence
        (
            ("evaluations", "grid", "baselines"),
            ["ppo_final"],
            "evaluations.grid.baselines",
            "expected the baseline reference",
        ),
        (("evaluations", "grid", "seeds"), 1, "evaluations.grid", "expected at least 2 seeds, or no rewards_shuffled"),
        (("evaluations", "grid", "seed"), 2**20, "evaluations.grid.seed", "less than 1048576"),
        (
            ("agents", "projected_max", "windows", "gap"),
            2,
            "agents.projected_max.labels.kind",
            "no snapshot (nearest: 2 and 4;",
        ),
    ],
)
def test_a_fault_is_one_line_with_key_value_and_what_was_expected(path, value, key, expected):
    (line,) = _refused((path, value))
    inner = list(value.values())[-1] if isinstance(value, dict) else value
    shown = (
        inner[-1] if isinstance(inner, list) and inner and isinstance(inner[-1], str) and "labels" not in key else inner
    )
    assert line.startswith(f"{key}: ")
    shown = shown[1] if key.endswith(".1") else shown
    assert str(shown)[:100] in line and "expected" in line and expected in line


@pytest.mark.parametrize(
    "labels, lines",
    [(["ours", ""], ["[1]: '' is left out of legends"]), (["_a", " "], ["[0]: '_a' is left out of legends", "[1]: ' ' is left out of legends"]),
     (["ours", "ours"], [": 'ours' is listed 2 times (expected once)"]), (["a_b", "$_a$"], [])],
)  # fmt: skip
def test_labels_that_legends_leave_out_are_refused(labels, lines):
    edit = (("figures", "figure3", "panels", 0, "labels"), labels)
    found = _refused(edit) if lines else []
    assert len(found) == len(lines) and all("(expected " in line for line in found)
    for line, start in zip(found, lines, strict=True):
        assert line.startswith(f"figures.figure3.panels[0].labels{start}")


def test_an_agent_whose_name_legends_leave_out_needs_a_label():
    raw = _smoke()
    raw["agents"]["_a"] = raw["agents"]["grid_gap1"]
    raw["evaluations"]["grid"]["agents"] = ["_a", "projected_max"]
    raw["figures"]["figure3"]["panels"] = [{"evaluation": "grid"}]
    with pytest.raises(
        ConfigError, match=r"^figures.figure3.panels\[0\].labels: \[\] for '_a', .* \(expected labels that [^\n]*$"
    ):
        load(raw)
    raw["figures"]["figure3"]["panels"][0]["labels"] = ["a", "b"]
    load(raw)


@pytest.mark.parametrize("path, key", [((*GRID, "id"), "environments.grid.id"), 
                                       ((*SOURCE, "num_updates"), "sources.grid.num_updates"),
                                       ((*SOURCE, "environment"), "sources.grid.environment"),
                                       ((*AGENT, "dataset"), "agents.grid_gap1.dataset"),
                                       (("environments",), "environments")])  # fmt: skip
def test_what_is_missing_is_named(path, key):
    assert _refused((path, DELETE)) == [f"{key}: missing (expected a value)"]


@pytest.mark.parametrize("name", ["baseline", "a b", "a/b", "", "ä"])
@pytest.mark.parametrize("kind", NOUNS)
def test_names_that_cannot_be_paths_are_refused(kind, name):
    first = next(iter(_smoke()[kind].values()))
    (line,) = _refused(((kind, name), first))
    assert line.startswith(f"{kind}.{name}: ") and "expected" in line


@pytest.mark.parametrize("kind", NOUNS)
def test_names_that_files_cannot_have_are_refused(kind):
    """The names of an evaluation, of one of its agents and of a condition make up one file name of at most 255 characters."""
    first, (longest, longer) = next(iter(_smoke()[kind].values())), ("x" * 100, "x" * 101)
    raw = _smoke()
    raw[kind][longest] = first
    load(raw)
    (line,) = _refused(((kind, longer), first))
    assert line == f"{kind}.{longer!r}: a name of 101 characters (expected at most 100)"


@pytest.mark.parametrize("results", ["", "a{b}", "<results>", "a\nb", "a\0", "x/" + "y" * 256, "x/" * 501])
def test_results_go_where_a_path_can_lead(results):
    (line,) = _refused((("pathvars", "results"), results))
    assert line.startswith("pathvars: {'results': ")
    assert line.endswith("(expected results, where results go: a path that a file can have, without any of {}<>)")


def test_seeds_of_projections_and_of_environments_never_meet():
    """At their bounds: training, validation and test, then collections, references and online learners."""
    from gla import manifests
    from gla.config.evaluations import Evaluation
    from gla.encoding import projected
    from gla.sources import ppo
    from gla.splits import seed_of

    most = {"train": 2**40, "validation": 2**40}
    projected.Options(**most)
    assert (
        manifests.TRAIN + most["train"] <= manifests.VALIDATION
        and manifests.VALIDATION + most["validation"] <= manifests.TEST
    )
    drawn = {}
    for split in ("test", "validation"):
        for seed in (0, 1, 2**20 - 1):
            v = Evaluation(environment="x", split=split, seed=seed, seeds=2**20, env_steps=1)
            drawn[split, seed] = manifests.TEST + seed_of(v) * 2**20, manifests.TEST + seed_of(v) * 2**20 + v.seeds
    ranges = sorted(drawn.values())
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges)) and ranges[-1][1] < 2**64
    source, entry = (
        ppo.Options(environment="x", num_updates=1, seed=2**30 - 1),
        Environment(id="x", reference={"seed": 2**30 - 1}),
    )
    assert (
        source.seed < 2**30 and 2**30 + entry.reference.seed < 2**31
    )  # as gla.reference and the online learners add them


@pytest.mark.parametrize(
    "edits, line",
    [
        (
            [(("sources", "pendulum", "lifetimes"), 10**6), (("sources", "pendulum", "lifetimes_per_block"), 4)],
            "sources.pendulum.lifetimes: 1000000 in blocks of 4: 250000 jobs, of 250026 in all (expected at most 100000 in all)",
        ),
        (
            [((*AGENT, "seeds"), 10**6)],
            "agents.grid_gap1.seeds: 1000000: 8000000 jobs, of 8000011 in all (expected at most 100000 in all)",
        ),
    ],
)
def test_more_jobs_than_can_be_planned_are_refused(edits, line):
    assert _refused(*edits) == [line]


def test_ten_thousand_tasks_and_names_take_no_time():
    raw = _smoke()
    raw["environments"]["random"] = {
        "id": "gla/RandomControl-v0", "tasks": {"task": [0, 10_000]}, "test_tasks": {"task": [10_000, 20_000]},
    }  # fmt: skip
    raw["sources"]["random"] = {"environment": "random", "kind": "ppo", "num_updates": 2, "lifetimes": 10_000}
    raw["datasets"]["random"] = {"sources": ["random"]}
    raw["agents"]["random"] = {"dataset": "random"}
    raw["evaluations"] |= {f"e{i}": {"environment": "random", "agents": ["random"], "env_steps": 40} for i in range(5)}
    raw["figures"]["training"]["agents"] = ["grid_gap1"] * 50_000
    start = time.monotonic()
    with pytest.raises(ConfigError, match="'grid_gap1' is listed 50000 times"):
        load(raw)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "value, line",
    [
        (1 << 1024, "an integer of 1025 bits (expected at most 1024)"),
        (float("nan"), "nan (expected a number)"),
        ("\ud800", "'\\ud800' (expected text that UTF-8 can hold)"),
        (
            datetime.date(2024, 1, 1),
            "datetime.date(2024, 1, 1) (expected text, a number, true, false, a list or a mapping)",
        ),
        ({1, 2}, "{1, 2} (expected text, a number, true, false, a list or a mapping)"),
        (b"x", "b'x' (expected text, a number, true, false, a list or a mapping)"),
    ],
)
def test_values_that_no_result_can_hold_are_refused(value, line):
    assert _refused(((*GRID, "kwargs"), {"size": value})) == [f"environments.grid.kwargs.size: {line}"]


def test_an_alias_that_holds_itself_is_refused():
    kwargs = {}
    kwargs["more"] = kwargs
    (line,) = _refused(((*GRID, "kwargs"), kwargs))
    assert line.startswith("environments.grid.kwargs: nested more than 32 deep")


def test_an_error_is_cut_and_names_are_one_line():
    (line,) = _refused(((*AGENT, "dataset"), "x" * 10**5))
    assert line.startswith("agents.grid_gap1.dataset: 'xxx") and line.endswith(
        "(expected one of datasets: grid, projected)"
    )
    assert len(line) < 1000
    (line,) = _refused((("a\nb",), 1))
    assert line.startswith("'a\\nb': unknown key")


@pytest.mark.parametrize(
    "path, value, where, expected",
    [
        (
            (*GRID, "test_tasks"),
            [{"goal": [2, 2]}],
            "environments.grid.test_tasks",
            "a task of training too (expected different",
        ),
        (
            (*GRID, "test_tasks"),
            [{"goal": [1, 2]}],
            "environments.grid.test_tasks",
            "a task of validation too (expected different",
        ),
        (
            (*GRID, "test_tasks"),
            [],
            "evaluations.grid.agents",
            "on 2 of the 2 tasks of split test of 'grid', {'goal': [2, 2]} among",
        ),
        (
            (*GRID, "validation_tasks"),
            [],
            "evaluations.grid_validation.agents",
            "expected other validation_tasks there, or split training",
        ),
        (
            ("sources", "pendulum"),
            DELETE,
            "datasets.projected.sources",
            "'pendulum' is not defined (expected one of sources: grid)",
        ),
        (
            ("sources", "pendulum"),
            DELETE,
            "evaluations.pendulum.baselines",
            "ppo_final, but 0 sources write policies in 'pendulum'",
        ),
        (
            ("sources", "pendulum"),
            DELETE,
            "figures.sources.sources",
            "'pendulum' is not defined (expected one of sources: grid)",
        ),
        (
            ("sources", "second"),
            {"environment": "pendulum", "num_updates": 2},
            "evaluations.pendulum.baselines",
            "2 sources write policies in",
        ),
        (
            ("sources", "pendulum"),
            {"environment": "pendulum", "kind": "random"},
            "evaluations.pendulum.baselines",
            "0 sources write policies",
        ),
        (
            (*PENDULUM, "tasks"),
            [{"max_episode_steps": n} for n in (50, 51, 52)],
            "sources.pendulum.lifetimes",
            "2 for 3 tasks, so that ppo_final",
        ),
    ],
)
def test_tasks_of_training_are_no_test_and_sources_are_asked_for_where_they_are_needed(path, value, where, expected):
    assert any(line.startswith(f"{where}: ") and expected in line for line in _refused((path, value)))


def test_the_same_task_under_another_name_is_no_test_either():
    """The id and the arguments tell which task an agent was trained on, and not the name of the environment."""
    raw = _smoke()
    raw["environments"]["other"] = {"id": "gla/GridWorld-v0", "tasks": [{"goal": [0, 2]}, {"goal": [2, 1]}]}
    raw["evaluations"]["other"] = {"environment": "other", "agents": ["grid_gap1"], "episodes": 1}
    with pytest.raises(ConfigError, match="evaluations.other.agents: 'grid_gap1' was trained on 1 of the 2 tasks"):
        load(raw)
    raw["evaluations"]["other"]["split"] = "training"
    load(raw)


def test_labels_of_later_policies_have_their_snapshots():
    """An update that a label may ask for and that has no snapshot is named, with those that have one."""
    raw = _smoke()
    source, agent = raw["sources"]["pendulum"], raw["agents"]["projected_max"]
    assert (source["num_updates"], source["snapshot_every"], agent["windows"]["gap"]) == (
        6,
        2,
        "max",
    )  # the last has one always
    agent["windows"]["gap"] = [2, 3]
    with pytest.raises(
        ConfigError,
        match=r"the policy of update 3 of 'pendulum', .*nearest: 2 and 4; .*snapshot_every 1, or windows.gap max",
    ):
        load(raw)
    source["snapshot_every"] = 1
    load(raw)
    source["snapshot_every"], agent["labels"] = 2, "recorded"  # recorded labels need none
    load(raw)


# Kinds


KINDS = [
    (path, kinds, kind)
    for path, kinds in (
        (SOURCE, SOURCES),
        ((*DATASET, "encoding"), ENCODINGS),
        ((*AGENT, "windows"), WINDOWS),
        ((*AGENT, "labels"), LABELS),
        ((*AGENT, "loss"), LOSSES),
        ((*AGENT, "model"), MODELS),
        ((*AGENT, "training"), TRAINERS),
        (("figures", "figure3"), FIGURES),
    )
    for kind in kinds
]


@pytest.mark.parametrize("path, kinds, kind", KINDS, ids=lambda x: x if isinstance(x, str) else "")
def test_an_option_of_another_kind_is_refused_by_its_name(path, kinds, kind):
    """Each that there is, of all kinds of every noun."""
    options = {name: list(kinds.options(name).model_fields) for name in kinds}
    foreign = sorted({option for own in options.values() for option in own} - set(options[kind]))
    lines = _refused((path, {"kind": kind} | dict.fromkeys(foreign, 1)))
    for option in foreign:
        others = ", ".join(name for name in kinds if option in options[name])
        assert (
            f"{'.'.join(path)}.{option}: unknown key (value 1; expected no such key: it is an option of {others} and not of {kind!r}, "
            f"which has {', '.join(options[kind])})"
        ) in lines


def test_every_registry_of_kinds_is_looked_at():
    assert {id(kinds) for _, kinds, _ in KINDS} == {id(x) for x in (reading._ENTRIES | reading._FIELDS).values()}


def test_an_option_of_another_kind_is_refused_where_no_kind_is_named():
    (line,) = _refused(((*AGENT, "model"), {"channels": 2}))
    assert line.startswith(
        "agents.grid_gap1.model.channels: unknown key (value 2; expected no such key: it is an option of "
    )
    assert "of equivariant, value_iteration and not of 'transformer', which has layers, width, " in line


# Options that nothing reads

CONSECUTIVE, STATES = {"kind": "consecutive", "steps": 20}, {"kind": "tabular", "states": 9, "actions": 4}
THOMPSON = {"environment": "grid", "kind": "thompson", "lifetimes": 4, "num_steps": 20}


@pytest.mark.parametrize(
    "path, entry, option, value, reads",
    [
        ((*AGENT, "windows"), CONSECUTIVE, "stability", 0.5, {"by_improvement": True}),
        ((*DATASET, "encoding"), STATES, "train", 64, {"permuted": True}),
        ((*DATASET, "encoding"), STATES, "validation", 64, {"permuted": True}),
        ((*DATASET, "encoding"), {"projections": "identity"}, "train", 64, {"projections": "gaussian"}),
        ((*DATASET, "encoding"), {"projections": "identity"}, "validation", 64, {"projections": "gaussian"}),
        (("sources", "arms"), THOMPSON, "deviation", 0.5, {"rewards": "gaussian"}),
    ],
)
def test_an_option_that_nothing_reads_is_refused(path, entry, option, value, reads):
    """Its default is none that was chosen, and may stand anywhere."""
    ((other, needed),) = reads.items()
    (line,) = _refused((path, entry | {option: value}))
    assert line.startswith(f"{'.'.join(path)}: {option} {value} with {other} ")
    assert line.endswith(f", where nothing reads it (expected {other} {needed!r}, or no {option})")
    for accepted in (entry, entry | {option: value} | reads):
        raw = _smoke()
        reduce(getitem, path[:-1], raw)[path[-1]] = accepted
        normal = normalise(raw)
        assert normalise(normal) == normal  # where every default is spelled out


@pytest.mark.parametrize("loss", [kind for kind in LOSSES if LOSSES.options(kind).wants != "distribution"])
def test_a_floor_that_no_loss_reads_is_refused(loss):
    raw = _smoke()
    raw["agents"]["grid_gap1"] |= {"loss": loss, "labels": {"log_std_floor": -3.0}}
    load(raw)
    raw["agents"]["grid_gap1"]["labels"]["log_std_floor"] = -2.0
    with pytest.raises(ConfigError) as error:
        load(raw)
    assert str(error.value) == (
        f"agents.grid_gap1.labels.log_std_floor: -2.0 for the loss {loss!r}, which reads no distribution "
        "(expected a loss that does, or no log_std_floor)"
    )
    raw["agents"]["grid_gap1"]["loss"] = "divergence"
    load(raw)


def test_an_option_of_no_kind_is_refused_with_those_that_there_are():
    (line,) = _refused(((*AGENT, "model"), {"kind": "lstm", "depth": 2}))
    assert line.endswith("expected no such key: it is not of 'lstm', which has layers, width, kind)")


@pytest.mark.parametrize(
    "name", [*MODELS, "random", "ppo", "model", "loss", "encoding", "constrained", "int", "sources"]
)
@pytest.mark.parametrize("noun", NOUNS)
def test_what_users_call_their_entries_is_no_kind(noun, name):
    """An entry may bear the name of a kind, of a field that has kinds, or of what pydantic calls a type."""
    raw = _smoke()
    raw[noun] = {name: {"kind": next(iter(raw[noun].values()))["kind"]} if noun == "figures" else {"colour": 1}}
    with pytest.raises(ConfigError) as error:
        load(raw)
    missing = {
        "sources": "environment",
        "environments": "id",
        "datasets": "sources",
        "agents": "dataset",
        "evaluations": "environment",
    }
    assert f"{noun}.{name}.{missing.get(noun, 'sources')}: missing (expected a value)" in str(error.value).splitlines()
    if noun not in ("sources", "figures"):
        assert (
            f"{noun}.{name}.colour: unknown key (value 1; expected one of those in config/README.md)"
            in str(error.value).splitlines()
        )


def _walk(loss, labels="recorded", kind="random"):
    """A config with one source, of uniform actions."""
    raw = _smoke()
    raw["sources"]["walk"] = {"environment": "grid", "kind": kind, "lifetimes": 4, "num_updates": 6}
    raw["datasets"]["walk"] = {"sources": ["grid", "walk"]}
    raw["agents"]["walk"] = {"dataset": "walk", "loss": loss, "labels": labels}
    return raw


@pytest.mark.parametrize(
    "loss, labels, lines",
    [
        ("divergence", "recorded", ["'recorded' needs distribution, which source 'walk' of kind 'random' does not write (expected sources of kind ppo)"]),
        ("divergence", "later_policy", ["'later_policy' needs policies, which source 'walk' of kind 'random' does not write (expected sources of kind ppo)"]),
        ("action_likelihood", "later_policy",
         ["kind: 'later_policy' gives distribution (expected action for the loss 'action_likelihood')",
          "'later_policy' needs policies, which source 'walk' of kind 'random' does not write (expected sources of kind ppo)"]),
    ],
)  # fmt: skip
def test_labels_that_a_source_cannot_give_are_refused(loss, labels, lines):
    with pytest.raises(ConfigError) as error:
        load(_walk(loss, labels))
    found = str(error.value).splitlines()
    assert len(found) == len(lines)
    for line, words in zip(found, lines, strict=True):
        assert line.startswith("agents.walk.labels") and line.endswith(words)


def test_actions_are_labels_whatever_their_source():
    assert load(_walk("action_likelihood")).sources["walk"].kind == "random"
    load(_walk("divergence", kind="ppo"))


def test_a_model_is_asked_for_what_it_can_predict():
    """An equivariant model has no head for predictions. This is checked before any job begins."""
    raw = _smoke()
    raw["datasets"]["grid"]["encoding"] = {"kind": "tabular", "states": 9, "actions": 4}
    load(raw)
    raw["agents"]["grid_gap1"] |= {"model": "equivariant", "loss": {"prediction_weight": 0.5}}
    with pytest.raises(ConfigError) as error:
        load(raw)
    assert str(error.value).splitlines() == [
        "agents.grid_gap1.loss.prediction_weight: 0.5 (expected 0 for a model of kind 'equivariant')",
    ]


def test_one_lifetime_cannot_be_trained_on_and_held_out():
    lines = _refused(((*SOURCE, "lifetimes"), 1))
    assert len(lines) == 2  # two datasets use it
    assert all("'grid' has 1 lifetime (expected at least 2" in line for line in lines)


def test_every_fault_is_told_at_once():
    lines = _refused(((*SOURCE, "lifetimes"), 0), (("colour",), 1), ((*TRAINING, "steps"), -5))
    assert len(lines) == 3


@pytest.mark.parametrize("key, written", [("learning_rate", "3e-4"), ("learning_rate", "2.55e-4"), ("learning_rate", "1e3"),
                                          ("steps", "1e3"), ("steps", "12345e1"), ("steps", "10")])  # fmt: skip
def test_numbers_that_yaml_reads_as_text_are_written_right(key, written):
    """The suggestion, read by YAML in the same place, is accepted and is the number that was meant."""
    (line,) = _refused(((*TRAINING, key), written))
    assert line.startswith(f"agents.grid_gap1.training.{key}: {written!r} (expected a valid ")
    suggestion = re.search(r"write (\S+)\)$", line).group(1)
    raw = _smoke()
    raw["agents"]["grid_gap1"]["training"][key] = yaml.safe_load(suggestion)
    assert getattr(load(raw).agents["grid_gap1"].training, key) == float(written)


def test_yaml_does_read_such_numbers_as_text():
    assert yaml.safe_load("3e-4") == "3e-4" and yaml.safe_load("3.0e-4") == 3.0e-4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_floor_that_is_not_finite_is_refused(value):
    (line,) = _refused(((*AGENT, "labels"), {"log_std_floor": value}))
    assert line.startswith(f"agents.grid_gap1.labels.log_std_floor: {value}") and "expected" in line


def _nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_config_that_nests_too_deep_is_refused():
    (line,) = _refused(((*GRID, "kwargs"), {"start": _nested(10_000)}))
    assert line == "environments.grid.kwargs: nested more than 32 deep (expected fewer; do aliases repeat each other?)"


def test_a_few_lines_that_stand_for_billions_of_values_are_refused():
    """YAML's aliases allow a list that holds the list before it nine times, and so on for ten lists."""
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 11))
    (line,) = _refused(((*GRID, "kwargs"), yaml.safe_load(text)))
    assert line.startswith("environments.grid.kwargs: more than 200000 values")


@pytest.mark.parametrize("depth", [0, 31, 40])
def test_what_repeats_itself_is_counted_wherever_it_is_met_first(depth):
    """Aliases meet the same list at several depths."""
    value = ["x"] * 9
    for _ in range(10):
        value = [value] * 9
    deep = value
    for _ in range(depth):
        deep = [deep]
    (line,) = _refused(((*GRID, "kwargs"), {"start": deep, "goal": value}))
    assert re.match(r"environments\.grid\.kwargs: (nested more than 32 deep|more than 200000 values) \(", line)


def test_a_list_that_holds_itself_is_refused():
    value = [1]
    value.append(value)
    (line,) = _refused(((*GRID, "kwargs"), {"start": value}))
    assert line == "environments.grid.kwargs: nested more than 32 deep (expected fewer; do aliases repeat each other?)"


def test_a_long_value_is_cut():
    (line,) = _refused((("colour",), ["x" * 5000]))
    assert line.startswith("colour: unknown key") and len(line) < 400


def test_keys_of_several_types_are_put_in_order():
    raw = _smoke()
    raw["environments"]["grid"]["kwargs"] = {"odd": {"b": 1, 3: 2, "a": 3}}
    assert list(normalise(raw)["environments"]["grid"]["kwargs"]["odd"]) == [3, "a", "b"]


# The round trip

_NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True).filter(lambda n: n != "baseline")
_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    names=st.lists(_NAMES, min_size=1, max_size=4, unique=True),
    kwargs=st.dictionaries(_NAMES, _PLAIN, max_size=3),
    updates=st.integers(2, 500), gap=st.integers(1, 499), rate=st.floats(1e-6, 1.0), seeds=st.integers(2, 1000),
    style=st.dictionaries(_NAMES, _PLAIN, max_size=2),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_a_normalised_config_survives_yaml_and_is_normal(names, kwargs, updates, gap, rate, seeds, style):
    """The text that Snakemake compares is the same after any number of trips through a file."""
    raw = {
        "environments": {n: {"id": "x", "kwargs": kwargs} for n in names},
        "sources": {n: {"environment": n, "num_updates": updates, "learning_rate": rate} for n in names},
        "datasets": {n: {"sources": [n]} for n in names},
        "agents": {n: {"dataset": n, "windows": {"gap": min(gap, updates - 1)}} for n in names},
        "evaluations": {n: {"environment": n, "agents": [n], "seeds": seeds, "episodes": 3} for n in names},
        "figures": {n: {"kind": "in_context", "panels": [{"evaluation": n}], "style": style} for n in names},
    }
    once = normalise(raw)
    again = normalise(yaml.safe_load(yaml.safe_dump(once)))
    assert json.dumps(again) == json.dumps(once)
    assert load(raw) == load(once)
    assert once["environments"][names[0]]["kwargs"] == kwargs


# Versions


def _pins(lines):
    return dict(m.groups() for line in lines if (m := re.match(r"\s*-?\s*([\w.-]+)==(\S+)\s*$", line)))


def test_the_conda_environment_has_the_pins_of_the_constraints():
    constraints = _pins((ROOT / "constraints.txt").read_text().splitlines())
    listed = yaml.safe_load((ROOT / "envs/gla.yaml").read_text())["dependencies"]
    (packages,) = [x["pip"] for x in listed if isinstance(x, dict)]
    pins = _pins(packages)
    assert len(pins) == len(packages) > 10
    assert {name: constraints.get(name) for name in pins} == pins


def test_the_pins_that_matter_are_there():
    """torch exactly (another version may pull gigabytes of CUDA), and MuJoCo below 4.0, which breaks dm-control."""
    constraints = _pins((ROOT / "constraints.txt").read_text().splitlines())
    assert constraints["torch"] == "2.13.0"
    assert (3, 17) <= tuple(map(int, constraints["mujoco"].split("."))) < (4,)
    assert '"mujoco>=3.17,<4"' in (ROOT / "pyproject.toml").read_text()


def test_a_range_of_tasks_stands_for_its_list():
    entry = {"id": "x"}
    found, listed = (
        Environment.model_validate(entry | {"tasks": t}) for t in ({"task": [3, 5]}, [{"task": 3}, {"task": 4}])
    )
    assert found == listed
    for wrong in ({"task": [5, 3]}, {"task": 5}, {"task": [0, 1], "other": [0, 1]}):
        with pytest.raises(ValueError, match="empty range|list"):
            Environment.model_validate(entry | {"tasks": wrong})


def test_what_panels_and_agents_are_called_decides_the_tables_that_say_so():
    raw = _smoke()
    panel = {"evaluation": "grid", "agents": ["grid_gap1"], "labels": ["AD"], "title": "a grid"}
    raw["figures"] = {
        "table": {"kind": "scores", "panels": [panel]},
        "curve": {"kind": "in_context", "panels": [panel]},
    }
    paths = Paths(normalise(raw))
    assert paths.tabled("table")["panels"] == [panel]
    assert paths.tabled("curve")["panels"] == [{"evaluation": "grid", "agents": ["grid_gap1"]}]


def test_another_packages_kind_may_not_have_a_name_that_is_taken(monkeypatch):
    points = EntryPoints(
        [EntryPoint("mine", "lab.mine", "gla.losses"), EntryPoint("theirs", "lab.theirs", "gla.labels")]
    )
    monkeypatch.setattr(kinds, "_points", lambda: points)
    found = Kinds("loss", {"own": "gla.losses.own"}, "gla.losses")
    assert found.modules == {"own": "gla.losses.own", "mine": "lab.mine"} and kinds.packages() == {"lab"}
    assert Kinds("loss", {"own": "gla.losses.own"}).modules == {"own": "gla.losses.own"}
    with pytest.raises(
        ConfigError, match=r"entry point 'mine' of group 'gla.losses': lab.mine \(expected a name that x does not"
    ):
        Kinds("loss", {"mine": "x"}, "gla.losses")
