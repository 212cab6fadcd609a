import copy
import datetime
import inspect
import itertools
import json
import random
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gla import config
from gla.config import ConfigError, Environment, load, normalise

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def _smoke():
    # The file shares one dictionary between agents; an edit of one must not reach the other.
    return json.loads(json.dumps(yaml.safe_load((ROOT / "config/smoke.yaml").read_text())))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_shipped_configs_load(path):
    normalise(yaml.safe_load(path.read_text()))


def test_the_schema_for_editors_is_the_models():
    assert (ROOT / "workflow/schemas/config.schema.json").read_text() == config.json_schema()


MODELS = [
    m for _, m in inspect.getmembers(config, inspect.isclass) if issubclass(m, config._Entry) and m is not config._Entry
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_every_key_is_documented(model):
    text = (ROOT / "config/README.md").read_text()
    for name, field in model.model_fields.items():
        assert f"`{name}`" in text, f"config/README.md does not mention `{name}` of {model.__name__}"
        assert model is config.Config or field.description


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
    assert once["agents"]["grid_gap1"]["weight_decay"] == 0.01 and once["environments"]["pendulum"]["tasks"] == []
    assert load(once) == load(raw)
    assert yaml.safe_load(yaml.safe_dump(once)) == once  # plain types


def test_spelling_out_a_default_changes_nothing():
    spelled = _smoke()
    spelled["agents"]["grid_gap1"] |= {"warmup": 100, "divergence": "sum"}
    spelled["environments"]["grid"]["ppo"]["gamma"] = 0.99
    assert json.dumps(normalise(spelled)) == json.dumps(normalise(_smoke()))


def test_whole_numbers_are_numbers():
    raw = _smoke()
    raw["agents"]["grid_gap1"]["learning_rate"] = 1
    assert load(raw).agents["grid_gap1"].learning_rate == 1.0
    assert json.dumps(normalise(raw)["agents"]["grid_gap1"]["learning_rate"]) == "1.0"


def test_an_equivariant_model_has_no_shared_keys():
    raw = _smoke()
    raw["agents"]["grid_gap1"]["model"] = {"kind": "equivariant", "key_heads": 1}
    with pytest.raises(ConfigError, match="agents.grid_gap1.model.key_heads: 1 .expected none"):
        load(raw)


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


GRID, PENDULUM, AGENT = ("environments", "grid"), ("environments", "pendulum"), ("agents", "grid_gap1")
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
        ((*GRID, "ppo", "lr"), 0.1, "environments.grid.ppo.lr", "unknown key"),
        ((*AGENT, "model", "depth"), 3, "agents.grid_gap1.model.depth", "unknown key"),
        (("figures", "figure3", "panels", 0, "colour"), "red", "figures.figure3.panels.0.colour", "unknown key"),
        # Wrong types
        ((*GRID, "lifetimes"), "four", "environments.grid.lifetimes", "valid integer"),
        ((*GRID, "lifetimes"), 4.5, "environments.grid.lifetimes", "valid integer"),
        ((*GRID, "lifetimes"), True, "environments.grid.lifetimes", "valid integer"),
        ((*AGENT, "normalize"), "on", "agents.grid_gap1.normalize", "valid boolean"),
        ((*AGENT, "learning_rate"), [1], "agents.grid_gap1.learning_rate", "valid number"),
        (("agents",), [], "agents", "valid dictionary"),
        # Out of range
        ((*GRID, "lifetimes"), 0, "environments.grid.lifetimes", "greater than or equal to 1"),
        ((*GRID, "streams"), -1, "environments.grid.streams", "greater than or equal to 1"),
        ((*GRID, "seed"), -1, "environments.grid.seed", "greater than or equal to 0"),
        ((*GRID, "ppo", "gamma"), 1.5, "environments.grid.ppo.gamma", "less than or equal to 1"),
        ((*GRID, "ppo", "learning_rate"), 0.0, "environments.grid.ppo.learning_rate", "greater than 0"),
        ((*AGENT, "weight_decay"), -0.1, "agents.grid_gap1.weight_decay", "greater than or equal to 0"),
        (("datasets", "grid", "held_out_lifetimes"), 1.0, "datasets.grid.held_out_lifetimes", "less than 1"),
        (("datasets", "grid", "environments"), [], "datasets.grid.environments", "at least 1"),
        (("evaluations", "grid", "eta"), [0.0], "evaluations.grid.eta", "at least 2"),
        # No such choice
        ((*AGENT, "sampling"), "both", "agents.grid_gap1.sampling", "'recorded' or 'relabelled'"),
        (
            ("datasets", "grid", "projections", "kind"),
            "random",
            "datasets.grid.projections.kind",
            "'gaussian' or 'identity'",
        ),
        (("figures", "training", "kind"), "bar", "figures.training.kind", "one of in_context, scaling, sources, training"),
        (("evaluations", "grid", "baselines"), ["best"], "evaluations.grid.baselines.0", "'random', 'zero_action'"),
        # Gaps
        ((*AGENT, "gap"), 6, "agents.grid_gap1.gap", "at most 5"),
        ((*AGENT, "gap"), [1, 9], "agents.grid_gap1.gap", "at most 5"),
        ((*AGENT, "gap"), [3, 1], "agents.grid_gap1.gap", "low <= high"),
        ((*AGENT, "gap"), 0, "agents.grid_gap1.gap", "1"),
        ((*AGENT, "gap"), "most", "agents.grid_gap1.gap", "'max'"),
        ((*AGENT, "gap"), [1, 2, 3], "agents.grid_gap1.gap", "2"),
        ((*AGENT, "piece_steps"), 21, "agents.grid_gap1.piece_steps", "20 steps"),
        # References
        (("datasets", "grid", "environments"), ["ant"], "datasets.grid.environments", "grid, pendulum"),
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
        (("figures", "sources", "environments"), ["ant"], "figures.sources.environments", "grid, pendulum"),
        (
            ("figures", "figure5", "panels", 1, "agents"),
            ["grid_gap1"],
            "figures.figure5.panels[1].agents",
            "projected_max",
        ),
        # Of more than one key
        (("evaluations", "grid", "steps"), 10, "evaluations.grid", "exactly one"),
        (("evaluations", "grid", "episodes"), None, "evaluations.grid", "exactly one"),
        ((*GRID, "ppo", "minibatches"), 7, "minibatches", "divisor"),
        ((*GRID, "ppo", "minibatches"), 40, "minibatches", "at most 20"),
        (("datasets", "grid", "environments"), ["grid", "grid"], "datasets.grid.environments", "once"),
        (("evaluations", "pendulum", "agents"), ["projected_max"] * 2, "evaluations.pendulum.agents", "once"),
        (("evaluations", "grid", "conditions"), ["agent"] * 2, "evaluations.grid.conditions", "once"),
        (("evaluations", "grid", "baselines"), ["random"] * 2, "evaluations.grid.baselines", "once"),
        (("figures", "training", "agents"), ["grid_gap1"] * 2, "figures.training.agents", "once"),
        (("figures", "sources", "environments"), ["grid"] * 2, "figures.sources.environments", "once"),
        (("figures", "figure3", "panels", 0, "agents"), ["grid_gap1"] * 2, "figures.figure3.panels[0].agents", "once"),
        ((*AGENT, "model", "heads"), 5, "agents.grid_gap1.model", "multiple of 2"),
        ((*AGENT, "model", "key_heads"), 3, "agents.grid_gap1.model", "expected a divisor"),
        ((*AGENT, "fixed_projection"), 0.5, "agents.grid_gap1.fixed_projection", "identity"),
        ((*AGENT, "fixed_projection"), 1.5, "agents.grid_gap1.fixed_projection", "1.5"),
        (("figures", "figure3", "panels", 0, "labels"), ["one"], "figures.figure3.panels[0].labels", "2 of them"),
        (("figures", "sources", "agents"), ["grid_gap1"], "figures.sources.agents", "none"),
        (("figures", "sources", "environments"), [], "figures.sources.environments", "at least one"),
        # Out of every range
        ((*GRID, "lifetimes"), 10**12, "environments.grid.lifetimes", "less than or equal to 1000000"),
        ((*GRID, "streams"), 2**64, "environments.grid.streams", "less than or equal to 1000000"),
        ((*GRID, "seed"), 2**30, "environments.grid.seed", "less than 1073741824"),
        ((*GRID, "ppo", "updates"), 10**12, "environments.grid.ppo.updates", "less than or equal to 1000000000"),
        ((*GRID, "ppo", "clip"), 1e300, "environments.grid.ppo.clip", "less than or equal to 1000000000"),
        ((*GRID, "ppo", "updates"), 2**31 // 20 + 1, "environments.grid", "of a stream (expected less than 2147483648)"),
        ((*GRID, "tasks"), {"task": [0, 10**12]}, "environments.grid.tasks", "(expected at most 10000)"),
        (("datasets", "grid", "held_out_lifetimes"), 1e-300, "datasets.grid.held_out_lifetimes", "greater than or equal to"),
        (("datasets", "grid", "projections", "train"), 2**40 + 1, "datasets.grid.projections.train", "equal to 1099511627776"),
        (("datasets", "grid", "projections", "validation"), 2**40 + 1, "datasets.grid.projections.validation", "equal to 1099511627776"),
        ((*AGENT, "seed"), 2**64, "agents.grid_gap1.seed", "less than 1073741824"),
        ((*AGENT, "log_std_floor"), -1e300, "agents.grid_gap1.log_std_floor", "greater than or equal to -20"),
        ((*AGENT, "learning_rate"), 1e38, "agents.grid_gap1.learning_rate", "less than or equal to 1000"),
        (("evaluations", "grid", "seeds"), 2**20 + 1, "evaluations.grid.seeds", "less than or equal to 1048576"),
        (("evaluations", "grid", "eta"), [0.0, 1e300], "evaluations.grid.eta.1", "less than or equal to 10"),
        (("figures", "figure3", "panels", 0, "title"), "x" * 201, "figures.figure3.panels.0.title", "at most 200 characters"),
        # Evidence
        (("evaluations", "grid", "baselines"), ["ppo_final"], "evaluations.grid.baselines", "expected reference"),
        (("evaluations", "grid", "seeds"), 1, "evaluations.grid", "expected at least 2 seeds, or no rewards_shuffled"),
        (("evaluations", "grid", "seed"), 2**20, "evaluations.grid.seed", "less than 1048576"),
        (("agents", "projected_max", "gap"), 2, "agents.projected_max.gap", "no snapshot (nearest: 2 and 4;"),
    ],
)
def test_a_fault_is_one_line_with_key_value_and_what_was_expected(path, value, key, expected):
    (line,) = _refused((path, value))
    shown = (
        value[-1] if isinstance(value, list) and value and isinstance(value[-1], str) and "labels" not in key else value
    )
    assert line.startswith(f"{key}: ") or (
        key == "minibatches" and "environments.grid" in line and "minibatches" in line
    )
    shown = shown[1] if key.endswith(".1") else shown
    assert str(shown)[:100] in line and "expected" in line and expected in line


@pytest.mark.parametrize("path, key", [((*GRID, "id"), "environments.grid.id"), 
                                       ((*GRID, "ppo", "updates"), "environments.grid.ppo.updates"),
                                       ((*AGENT, "dataset"), "agents.grid_gap1.dataset"),
                                       (("environments",), "environments")])  # fmt: skip
def test_what_is_missing_is_named(path, key):
    assert _refused((path, DELETE)) == [f"{key}: missing (expected a value)"]


@pytest.mark.parametrize("name", ["baseline", "a b", "a/b", "", "ä"])
@pytest.mark.parametrize("kind", ["environments", "datasets", "agents", "evaluations", "figures"])
def test_names_that_cannot_be_paths_are_refused(kind, name):
    first = next(iter(_smoke()[kind].values()))
    (line,) = _refused(((kind, name), first))
    assert line.startswith(f"{kind}.{name}: ") and "expected" in line


@pytest.mark.parametrize("kind", ["environments", "datasets", "agents", "evaluations", "figures"])
def test_names_that_files_cannot_have_are_refused(kind):
    """Of an evaluation, one of its agents and a condition one name of a file is made, of 255 characters at most."""
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
    from gla import augment
    from gla.config import Evaluation, Projections

    most = {"train": 2**40, "validation": 2**40}
    Projections(**most)
    assert augment.TRAIN + most["train"] <= augment.VALIDATION and augment.VALIDATION + most["validation"] <= augment.TEST
    drawn = {}
    for split in ("test", "validation"):
        for seed in (0, 1, 2**20 - 1):
            v = Evaluation(environment="x", split=split, seed=seed, seeds=2**20, steps=1)
            drawn[split, seed] = augment.TEST + v.split_seed * 2**20, augment.TEST + v.split_seed * 2**20 + v.seeds
    ranges = sorted(drawn.values())
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges)) and ranges[-1][1] < 2**64
    entry = Environment(id="x", seed=2**30 - 1, reference={"seed": 2**30 - 1})
    assert entry.seed < 2**30 and 2**30 + entry.reference.seed < 2**31  # as gla.reference and gla.evaluate add them


@pytest.mark.parametrize(
    "edits, line",
    [
        (
            [((*PENDULUM, "lifetimes"), 10**6), ((*PENDULUM, "lifetimes_per_block"), 4)],
            "environments.pendulum.lifetimes: 1000000 in blocks of 4: 250000 jobs, of 250026 in all (expected at most 100000 in all)",
        ),
        ([((*AGENT, "seeds"), 10**6)], "agents.grid_gap1.seeds: 1000000: 8000000 jobs, of 8000011 in all (expected at most 100000 in all)"),
    ],
)
def test_more_jobs_than_can_be_planned_are_refused(edits, line):
    assert _refused(*edits) == [line]


def test_ten_thousand_tasks_and_names_take_no_time():
    raw = _smoke()
    raw["environments"]["random"] = {
        "id": "gla/RandomControl-v0", "tasks": {"task": [0, 10_000]}, "test_tasks": {"task": [10_000, 20_000]},
        "ppo": {"updates": 2}, "lifetimes": 10_000,
    }  # fmt: skip
    raw["datasets"]["random"] = {"environments": ["random"]}
    raw["agents"]["random"] = {"dataset": "random"}
    raw["evaluations"] |= {f"e{i}": {"environment": "random", "agents": ["random"], "steps": 40} for i in range(5)}
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
        (datetime.date(2024, 1, 1), "datetime.date(2024, 1, 1) (expected text, a number, true, false, a list or a mapping)"),
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
    assert line.startswith("agents.grid_gap1.dataset: 'xxx") and line.endswith("(expected one of datasets: grid, projected)")
    assert len(line) < 1000
    (line,) = _refused((("a\nb",), 1))
    assert line.startswith("'a\\nb': unknown key")


@pytest.mark.parametrize(
    "path, value, where, expected",
    [
        ((*GRID, "test_tasks"), [{"goal": [2, 2]}], "environments.grid.test_tasks", "a task of training too (expected none"),
        ((*GRID, "test_tasks"), [{"goal": [1, 2]}], "environments.grid.test_tasks", "a task of validation too (expected none"),
        ((*GRID, "test_tasks"), [], "evaluations.grid.agents", "on 2 of the 2 tasks of split test of 'grid', {'goal': [2, 2]} among"),
        ((*GRID, "validation_tasks"), [], "evaluations.grid_validation.agents", "expected other validation_tasks there, or split training"),
        ((*PENDULUM, "ppo"), None, "environments.pendulum.ppo", "missing (expected how its sources learn, since dataset 'projected'"),
        ((*PENDULUM, "ppo"), None, "evaluations.pendulum.baselines", "ppo_final, but 'pendulum' has no ppo"),
        ((*PENDULUM, "ppo"), None, "figures.sources.environments", "'pendulum' has no ppo"),
    ],
)
def test_tasks_of_training_are_no_test_and_sources_are_asked_for_where_they_are_needed(path, value, where, expected):
    assert any(line.startswith(f"{where}: ") and expected in line for line in _refused((path, value)))


def test_the_same_task_under_another_name_is_no_test_either():
    """It is the id and the arguments that an agent was trained on, whatever the environment is called."""
    raw = _smoke()
    raw["environments"]["other"] = {"id": "gla/GridWorld-v0", "tasks": [{"goal": [0, 2]}, {"goal": [2, 1]}]}
    raw["evaluations"]["other"] = {"environment": "other", "agents": ["grid_gap1"], "episodes": 1}
    with pytest.raises(ConfigError, match="evaluations.other.agents: 'grid_gap1' was trained on 1 of the 2 tasks"):
        load(raw)
    raw["evaluations"]["other"]["split"] = "training"
    load(raw)


def test_relabelled_targets_have_their_snapshots():
    """An update that a target may ask for and that has no snapshot is named, with those that have one."""
    raw = _smoke()
    ppo, agent = raw["environments"]["pendulum"]["ppo"], raw["agents"]["projected_max"]
    assert (ppo["updates"], ppo["snapshot_every"], agent["gap"]) == (6, 2, "max")  # the last has one always
    agent["gap"] = [2, 3]
    with pytest.raises(ConfigError, match=r"the policy of update 3 of 'pendulum', .*nearest: 2 and 4; .*snapshot_every 1, or gap max"):
        load(raw)
    ppo["snapshot_every"] = 1
    load(raw)
    ppo["snapshot_every"], agent["sampling"] = 2, "recorded"  # recorded targets need none
    load(raw)


def test_one_lifetime_cannot_be_trained_on_and_held_out():
    lines = _refused(((*GRID, "lifetimes"), 1))
    assert len(lines) == 2  # two datasets use it
    assert all("'grid' has 1 lifetime (expected at least 2" in line for line in lines)


def test_every_fault_is_told_at_once():
    lines = _refused(((*GRID, "lifetimes"), 0), (("colour",), 1), ((*AGENT, "steps"), -5))
    assert len(lines) == 3


@pytest.mark.parametrize("key, written", [("learning_rate", "3e-4"), ("learning_rate", "2.55e-4"), ("learning_rate", "1e3"),
                                          ("steps", "1e3"), ("steps", "12345e1"), ("steps", "10")])  # fmt: skip
def test_numbers_that_yaml_reads_as_text_are_written_right(key, written):
    """The suggestion, read by YAML in the same place, is accepted and is the number that was meant."""
    (line,) = _refused(((*AGENT, key), written))
    assert line.startswith(f"agents.grid_gap1.{key}: {written!r} (expected a valid ")
    suggestion = re.search(r"write (\S+)\)$", line).group(1)
    raw = _smoke()
    raw["agents"]["grid_gap1"][key] = yaml.safe_load(suggestion)
    assert getattr(load(raw).agents["grid_gap1"], key) == float(written)


def test_yaml_does_read_such_numbers_as_text():
    assert yaml.safe_load("3e-4") == "3e-4" and yaml.safe_load("3.0e-4") == 3.0e-4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_floor_that_is_not_finite_is_refused(value):
    (line,) = _refused(((*AGENT, "log_std_floor"), value))
    assert line.startswith(f"agents.grid_gap1.log_std_floor: {value}") and "expected" in line


def _nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_config_that_nests_too_deep_is_refused():
    (line,) = _refused(((*GRID, "kwargs"), {"start": _nested(10_000)}))
    assert line == "environments.grid.kwargs: nested more than 32 deep (expected fewer; do aliases repeat each other?)"


def test_a_few_lines_that_stand_for_billions_of_values_are_refused():
    """What YAML's aliases can do: a list of nine times the list before, ten times over."""
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 11))
    (line,) = _refused(((*GRID, "kwargs"), yaml.safe_load(text)))
    assert line.startswith("environments.grid.kwargs: more than 200000 values")


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
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
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
    """What Snakemake compares is the same after any number of trips through a file."""
    ppo = {"updates": updates, "learning_rate": rate}
    raw = {
        "environments": {n: {"id": "x", "kwargs": kwargs, "ppo": ppo} for n in names},
        "datasets": {n: {"environments": [n]} for n in names},
        "agents": {n: {"dataset": n, "gap": min(gap, updates - 1)} for n in names},
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
    entry = {"id": "x", "ppo": {"updates": 2}}
    found, listed = (Environment.model_validate(entry | {"tasks": t}) for t in ({"task": [3, 5]}, [{"task": 3}, {"task": 4}]))
    assert found == listed
    for wrong in ({"task": [5, 3]}, {"task": 5}, {"task": [0, 1], "other": [0, 1]}):
        with pytest.raises(ValueError, match="empty range|list"):
            Environment.model_validate(entry | {"tasks": wrong})
