"""Which code decides which result: of the smoke config by name, and of every kind there is."""

import ast
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from snakemake.settings.types import RerunTrigger

from gla import code
from gla.conditions.kinds import CONDITIONS, module
from gla.conditions.roles import BASELINES, IN_CONTEXT
from gla.config.reading import normalise
from gla.encoding.kinds import ENCODINGS
from gla.environments import kinds as environments
from gla.figures.kinds import FIGURES
from gla.labels.kinds import LABELS
from gla.losses.kinds import LOSSES
from gla.models.kinds import MODELS
from gla.paths import Paths
from gla.sources.kinds import SOURCES
from gla.trainers.kinds import TRAINERS
from gla.windows.kinds import WINDOWS

# Modules that decide no result of the workflow: what a user runs by hand, and what is asked before jobs run, or around them.
APART = {
    "gla.__main__", "gla.api", "gla.checked", "gla.cli", "gla.code", "gla.demands", "gla.drawable", "gla.export", "gla.foreign", "gla.hub", "gla.judging", "gla.paths", "gla.preflight", "gla.verify",
    "gla.watch",
}  # fmt: skip
CHECKOUT = Path(__file__).parents[2]
SCRIPTS = CHECKOUT / "workflow/scripts"


@pytest.fixture(scope="module")
def smoke():
    return normalise(yaml.safe_load((CHECKOUT / "config/smoke.yaml").read_text()))


@pytest.fixture(scope="module")
def trees():
    return _scan()


def _scan(scripts=SCRIPTS):
    return code.scan() | code.scan_scripts(scripts)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, which ``scan`` reads instead."""
    copy = shutil.copytree(code.ROOT, tmp_path / "gla", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", copy)
    return copy


def _stages(config, trees):
    """The code of each stage of a config, as the rules ask for it."""
    own, paths = code.Code(trees), Paths(config)
    environments, evaluations = config["environments"], config["evaluations"]
    found = {
        f"collect {name}": own.collection(s, environments[s["environment"]]) for name, s in config["sources"].items()
    }
    found |= {f"manifest {name}": own.manifest(d) for name, d in config["datasets"].items()}
    for name, a in config["agents"].items():
        found[f"train {name}"], found[f"card {name}"] = (
            own.training(a, paths.dataset_of(name)),
            own.card(paths.dataset_of(name)),
        )
    for name, v in evaluations.items():
        entry = environments[v["environment"]]
        for a in v["agents"]:
            agent = config["agents"][a], paths.dataset_of(a)
            found |= {f"rollout {name} {a} {c}": own.rollout(*agent, c, entry) for c in v["conditions"]}
        found |= {f"baseline {name} {c}": own.baseline(c, entry) for c in v["baselines"]}
        found[f"refer {v['environment']}"] = own.reference(entry)
    for name, f in config["figures"].items():
        drawn = paths.conditions(p["evaluation"] for p in f.get("panels", []))
        found[f"table {name}"] = own.table(f["kind"], [p["environment"] for p in paths.panels(name)], drawn)
        found[f"draw {name}"] = own.drawing(f["kind"], drawn)
    last = {"verdicts": own.verdicts(paths.conditions(evaluations)), "software": own.software(), "acting": own.acting()}
    return found | last


def _of_every_kind(trees):
    """The code of stages that each name one kind, and between them all of them."""
    own = code.Code(trees)
    ids = [*environments.ENVIRONMENTS, "Reacher-v5"]
    entries = [{"id": id, "reference": {"backend": backend}} for id in ids for backend in environments.BACKENDS]
    agents = [
        {"windows": {"kind": w}, "labels": {"kind": k}, "loss": {"kind": loss}, "model": {"kind": m}, "training": {"kind": t}}
        for w in WINDOWS for k in LABELS for loss in LOSSES for m in MODELS for t in TRAINERS
    ]  # fmt: skip
    datasets = [{"encoding": {"kind": e}} for e in ENCODINGS]
    for entry in entries:
        yield own.reference(entry)
        yield from (own.collection({"kind": s, "backend": b}, entry) for s in SOURCES for b in environments.BACKENDS)
        yield from (own.baseline(c, entry) for c in BASELINES)
    for dataset in datasets:
        yield own.manifest(dataset)
        yield own.card(dataset)
        yield from (own.training(a, dataset) for a in agents)
        yield from (own.rollout(a, dataset, c, entries[0], prompted=True) for a in agents for c in IN_CONTEXT)
    yield from (own.table(f, entries, CONDITIONS) for f in FIGURES)
    yield from (own.drawing(f, CONDITIONS) for f in FIGURES)
    yield own.verdicts(CONDITIONS)
    yield own.software()
    yield own.acting()


def test_every_module_decides_some_result_or_is_known_to_decide_none(trees):
    """The same holds for every script of the workflow, and for the style of figures."""
    covered = {name for found in _of_every_kind(trees) for name in found if name in trees}
    neutral = {name for name in trees if code.neutral(name)}
    assert covered | neutral | APART == trees.keys()
    assert not covered & neutral and not covered & APART and not neutral & APART
    assert set(code.NEUTRAL) <= trees.keys()


def test_entries_of_the_config_hold_options_and_their_checks_alone(trees):
    """Editing them reruns nothing, so that all other code that decides a result has to be elsewhere."""
    used = {
        name
        for found in _of_every_kind(trees)
        for module in found
        if module in trees
        for name in trees[module][1]
        if name.startswith("gla.config.")
    }
    assert len(used) > 4
    for name in used:
        for node in ast.walk(ast.parse(code.path_of(name).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                decorators = {ast.unparse(d).partition("(")[0] for d in getattr(node, "decorator_list", [])}
                assert decorators & {"field_validator", "model_validator"}, f"{name}: line {node.lineno}"


def test_every_kind_is_a_module_of_the_package(trees):
    registries = (environments.BACKENDS, ENCODINGS, FIGURES, LABELS, LOSSES, MODELS, SOURCES, TRAINERS, WINDOWS)
    modules = [m for kinds in registries for m in kinds.modules.values()] + [
        own.module for own in environments.ENVIRONMENTS.values()
    ]
    assert {*modules, *map(module, CONDITIONS)} <= trees.keys()


@pytest.mark.parametrize("profile", sorted(path.parent.name for path in CHECKOUT.glob("profiles/*/profile.yaml")))
def test_no_profile_reruns_what_is_older_than_its_script(profile):
    """Snakemake would, where the trigger ``code`` is not left out; what scripts say is in params."""
    settings = yaml.safe_load((CHECKOUT / "profiles" / profile / "profile.yaml").read_text())
    assert set(settings["rerun-triggers"]) == {*RerunTrigger.choices()} - {"code"}


def test_no_import_is_relative():
    """Those are not followed."""
    for path in code.ROOT.rglob("*.py"):
        assert not any(getattr(node, "level", 0) for node in ast.walk(ast.parse(path.read_text()))), path


IN_GRID = ["rollout grid*", "baseline grid*"]
ROLLOUTS = ["rollout *", "baseline *"]
CURVES = ["table figure*", "draw figure*"]
STORED = [
    "collect *", "manifest *", "train *", "card *", "rollout *", "baseline * ppo_final", "table sources", "draw sources",
]  # fmt: skip
# Which stages of the smoke config a change of each module makes again.
CHANGES = {
    "acting": ["acting"],
    "agent": ["train *", "card *", "rollout *"],
    "card": ["card *"],
    "conditions": ["verdicts", "table *", "draw *", *ROLLOUTS],
    "conditions.agent": ["rollout * agent"],
    "conditions.context_wiped": [],
    "conditions.online_ars": ["baseline * online_ars"],
    "conditions.online_linear": ["baseline * online_linear"],
    "conditions.online_psrl": [],
    "conditions.online_rmax": [],
    "conditions.online_rmax_three": [],
    "conditions.online_rmax_memory": [],
    "conditions.online_q_ucb": [],
    "conditions.online_search": [],
    "conditions.online_ucb": [],
    "conditions.online_ppo": ["baseline * online_ppo"],
    "conditions.ppo_final": ["baseline * ppo_final"],
    "conditions.prompt": [],
    "conditions.random": ["baseline * random"],
    "conditions.reference": ["baseline * reference"],
    "conditions.rewards_hidden": ["rollout * rewards_hidden"],
    "conditions.rewards_shuffled": ["rollout * rewards_shuffled"],
    "conditions.roles": ["verdicts", "table *", "draw *"],
    "conditions.source_curve": [],
    "conditions.zero_action": ["baseline * zero_action"],
    "config.agents": [],
    "devices": ["train *", "rollout *"],
    "encoding": ["manifest *", "train *", "card *", "rollout *"],
    "encoding.making": ["train *", "card *", "rollout *"],
    "encoding.projected": ["manifest *", "train *", "card *", "rollout *"],
    "encoding.scaled": [],
    "encoding.standardise": ["manifest *", "train *", "card *", "rollout *"],
    "encoding.tabular": [],
    "encoding.tokens": ["manifest *", "train *", "card *", "rollout *"],
    "environments": ["collect *", "manifest *", "train *", "card *", "refer *", "table *", *ROLLOUTS],
    "environments.ant_dir": [],
    "environments.anymdp": [],
    "environments.bandit": [],
    "environments.dark_room": [],
    "environments.envpool": [],
    "environments.grid_world": ["collect grid", "refer grid", *IN_GRID, "table figure*"],
    "environments.linear_control": [],
    "environments.making": ["collect *", "refer *", "table *", *ROLLOUTS],
    "environments.point_mass": [],
    "environments.random_control": [],
    "environments.returns": ["collect *", "refer *", "baseline * reference"],
    "environments.spaces": ["collect *", "manifest *", "train *", "card *", "refer *", "table *", *ROLLOUTS],
    "environments.tabular": [],
    "environments.toy_text": [],
    "environments.switch": [],
    "environments.vector": ["collect *", "refer *", *ROLLOUTS],
    "environments.watermaze": [],
    "figures": ["table *", "draw *"],
    "figures.drawing": ["table *", "draw *"],
    "figures.gathering": ["table *"],
    "figures.in_context": CURVES,
    "figures.mplstyle": ["draw *"],
    "figures.panels": ["table *", "draw *"],
    "figures.scaling": [],
    "figures.normalised": [],
    "figures.training_tasks": [],
    "figures.scores": [],
    "figures.sources": ["table sources", "draw sources"],
    "figures.training": ["table training", "draw training"],
    "files": [],
    "in_context": ["rollout *"],
    "labels": ["train *"],
    "labels.later_policy": ["train projected_max"],
    "labels.optimal_action": [],
    "labels.options": ["train *"],
    "labels.recorded": ["train grid_gap1"],
    "labels.trust_horizon": [],
    "learners": ["collect *", "refer *", "baseline * online_*", "baseline * reference"],
    "learners.advantages": ["collect *", "refer *", "baseline * reference", "baseline * online_ppo"],
    "learners.linear": ["baseline * online_linear"],
    "learners.ppo": ["collect *", "refer *", "baseline * online_ppo", "baseline * reference"],
    "learners.posterior_sampling": [],
    "learners.rmax": [],
    "learners.q_ucb": [],
    "learners.search": [],
    "learners.ucb": [],
    "learners.tabular": [],
    "learners.random_search": ["baseline * online_ars"],
    "learners.scale": ["baseline * online_linear", "baseline * online_ars"],
    "learners.small_batches": ["baseline * online_ppo"],
    "losses": ["train *", "card *", "rollout *"],
    "losses.action_likelihood": [],
    "losses.divergence": ["train *"],
    "losses.options": ["train *", "card *", "rollout *"],
    "losses.q_values": [],
    "manifests": ["manifest *", "train *", "card *", "rollout *"],
    "memory": ["train *"],
    "models": ["train *", "card *", "rollout *"],
    "models.attention": ["train *", "rollout *"],
    "models.building": ["train *", "card *", "rollout *"],
    "models.equivariant": [],
    "models.planning": [],
    "models.predictive_control": [],
    "models.regression": [],
    "models.value_iteration": [],
    "models.gated_delta": [],
    "models.gru": [],
    "models.lstm": [],
    "models.options": ["train *", "rollout *"],
    "models.recurrent": [],
    "models.transformer": ["train *", "rollout *"],
    "networks": ["rollout *", "card *"],
    "paths": [],
    "policies": ["collect *", "train *", "refer *", *ROLLOUTS],
    "processes": ["train *"],
    "prompts": [],
    "reference": ["refer *", "baseline * reference"],
    "references": ["refer *", "verdicts", "baseline * reference", *CURVES],
    "rollout": ROLLOUTS,
    "rows": ["card *", "verdicts", *ROLLOUTS, *CURVES],
    "sources": STORED,
    "sources.acting": [],
    "sources.behaviours": [],
    "sources.noisy_oracle": [],
    "sources.options": STORED,
    "sources.ppo": ["collect *"],
    "sources.q_learning": [],
    "sources.random": [],
    "sources.thompson": [],
    "sources.ucb": [],
    "splits": ["refer *", *ROLLOUTS],
    "statistics": ["verdicts", "card *", "table sources", "draw sources", *CURVES],
    "storage": STORED,
    "storage.collecting": ["collect *"],
    "storage.layout": STORED,
    "storage.reading": ["train *", "baseline * ppo_final"],
    "train": ["train *"],
    "trainers": ["train *"],
    "trainers.acting": [],
    "trainers.base": ["train *"],
    "trainers.dagger": [],
    "trainers.distillation": ["train *"],
    "trainers.options": ["train *"],
    "trainers.prediction": [],
    "trainers.rl2": [],
    "verdicts": ["verdicts", *CURVES],
    "verify": [],
    "windows": ["train *"],
    "windows.across_updates": ["train grid_gap1"],
    "windows.batches": ["train *"],
    "windows.chunks": ["train *"],
    "windows.consecutive": [],
    "windows.rising_quality": ["train projected_max"],
    "windows.rows": ["train *"],
    "windows.shuffled": [],
}
SCRIPTED = {
    "collect": "collect *", "manifest": "manifest *", "train": "train *", "card": "card *", "evaluate_agent": "rollout *",
    "evaluate_baseline": "baseline *", "refer": "refer *", "tabulate": "table *", "plot": "draw *", "verdicts": "verdicts", "software": "software", "acting": "acting",
}  # fmt: skip


def test_every_module_has_a_row_or_decides_no_result(trees):
    modules = {name.removeprefix("gla.") for name in trees if not name.startswith("script ")}
    apart = {name.removeprefix("gla.") for name in trees if name in APART or code.neutral(name)}
    assert CHANGES.keys() | apart == modules


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_module_changes_exactly_the_stages_that_use_it(smoke, trees, name):
    before = _stages(smoke, trees)
    after = _stages(smoke, trees | {f"gla.{name}": ["changed", trees[f"gla.{name}"][1]]})
    changed = {stage for stage in before if after[stage] != before[stage]}
    assert changed == {stage for stage in before if any(fnmatch(stage, pattern) for pattern in CHANGES[name])}


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_changed_script_changes_exactly_its_stage(smoke, trees, name):
    assert {f"script {own}" for own in SCRIPTED} == code.scan_scripts(SCRIPTS).keys()
    before = _stages(smoke, trees)
    after = _stages(smoke, trees | {f"script {name}": ["changed", trees[f"script {name}"][1]]})
    assert {stage for stage in before if after[stage] != before[stage]} == {
        stage for stage in before if fnmatch(stage, SCRIPTED[name])
    }


def test_kinds_that_do_not_use_each_other_share_no_code(trees):
    """An edit of PPO collects no random actions again, and one of projections trains no agent whose encoding has none."""
    own, tabular = code.Code(trees), {"encoding": {"kind": "tabular"}}
    agent = {
        "windows": {"kind": "across_updates"},
        "labels": {"kind": "recorded"},
        "loss": {"kind": "action_likelihood"},
        "model": {"kind": "lstm"},
        "training": {"kind": "distillation"},
    }
    for found in (
        own.manifest(tabular),
        own.training(agent, tabular),
        own.rollout(agent, tabular, "agent", {"id": "Reacher-v5"}),
    ):
        assert "gla.encoding.tabular" in found and "gla.encoding.projected" not in found
    assert not any(name.startswith("gla.learners") for name in own.collection({"kind": "random"}, {"id": "Reacher-v5"}))


def test_a_changed_function_changes_its_module_and_no_other(package):
    before = code.scan()
    edits = {
        "models/recurrent.py": ("nn.init.zeros_(p)", "nn.init.ones_(p)"), "losses/divergence.py": ("+ 0.5 *", "+ 0.25 *"),
        "learners/scale.py": ("def ", "def _"), "figures/training.py": ('"held-out"', '"held out"'),
    }  # fmt: skip
    for name, (old, new) in edits.items():
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new, 1))
    after = code.scan()
    assert {name for name in before if after[name] != before[name]} == {
        f"gla.{name[:-3].replace('/', '.')}" for name in edits
    }


def test_comments_docstrings_and_formatting_are_no_code(package, tmp_path):
    scripts = Path(shutil.copytree(SCRIPTS, tmp_path / "scripts"))
    before = _scan()
    for path in (*package.rglob("*.py"), *scripts.glob("*.py")):
        path.write_text(reworded(path.read_text()))
    style = package / "figures/gla.mplstyle"
    style.write_text("# Another comment.\n\n" + style.read_text())
    assert _scan(scripts) == before
    style.write_text(style.read_text().replace("font.size: 8", "font.size: 9"))
    assert {name for name, tree in _scan(scripts).items() if tree != before[name]} == {code.STYLE}


def reworded(text):
    """The same code in other lines, without comments, and with another documentation."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = "Something else."
    return f"# A comment.\n\n\n{ast.unparse(tree)}\n"


def test_a_file_more_in_every_folder_and_a_line_for_it_change_nothing(smoke, package):
    before = _scan()
    for folder in {path.parent for path in package.rglob("kinds.py")}:
        (folder / "another.py").write_text('"""Another."""\n')
        with open(folder / "kinds.py", "a") as file:
            file.write('ANOTHER = "another"\n')
    after = _scan()
    assert len(after) == len(before) + 11  # the package's own folder has a kinds.py, too
    assert _stages(smoke, after) == _stages(smoke, before)


def test_an_import_counts_wherever_it_stands(smoke, package):
    statements = [
        "import gla.added0",
        "from gla import added1",
        "from gla.added2 import x",
        "def f():\n    import gla.added3 as a",
    ]
    for number in range(len(statements)):
        (package / f"added{number}.py").write_text("x = 1\n")
    with open(package / "train.py", "a") as file:
        file.write("\n\n" + "\n\n\n".join(statements) + "\n")
    found = _stages(smoke, _scan())
    for number in range(len(statements)):
        assert {stage for stage, own in found.items() if f"gla.added{number}" in own} == {
            "train grid_gap1",
            "train projected_max",
        }


@pytest.mark.parametrize(
    "table, name, change, stages",
    [
        (
            environments.ENVIRONMENTS,
            "gla/GridWorld-v0",
            {"max_episode_steps": 11},
            ["collect grid", "refer grid", *IN_GRID, "table figure*"],
        ),
        (environments.ENVIRONMENTS, "gla/PointMass-v0", {"max_episode_steps": 11}, []),
        (CONDITIONS, "random", {"label": "chance"}, ["verdicts", *CURVES]),
        (CONDITIONS, "ppo_final", {"role": "calm"}, ["verdicts", "table figure5", "draw figure5"]),
        (CONDITIONS, "context_wiped", {"dashes": ":"}, []),
    ],
)
def test_a_changed_row_of_a_table_changes_exactly_the_stages_that_use_it(
    smoke, trees, monkeypatch, table, name, change, stages
):
    before = _stages(smoke, trees)
    monkeypatch.setitem(table, name, table[name]._replace(**change))
    after = _stages(smoke, trees)
    changed = {stage for stage in before if after[stage] != before[stage]}
    assert changed == {stage for stage in before if any(fnmatch(stage, pattern) for pattern in stages)}


def test_another_version_of_python_is_no_other_code(package, monkeypatch):
    before, parse = code.scan(), ast.parse

    def later(text):
        tree = parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):  # as since Python 3.12, or until then
                if hasattr(node, "type_params"):
                    del node.type_params
                else:
                    node._fields, node.type_params = (*node._fields, "type_params"), []
        return tree

    with monkeypatch.context() as during:  # pytest parses too
        during.setattr(ast, "parse", later)
        after = code.scan()
    assert after == before
