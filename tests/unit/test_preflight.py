"""Mistakes in a config that only the environments themselves, Matplotlib and arithmetic can tell."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from gla import preflight
from gla.config import ConfigError, load, normalise
from gla.stages import Stages

SMOKE = (Path(__file__).parents[2] / "config/smoke.yaml").read_text()
GRID, PENDULUM = ("environments", "grid"), ("environments", "pendulum")


def _edited(*edits):
    # The file shares one dictionary between agents; an edit of one must not reach the other.
    raw = json.loads(json.dumps(yaml.safe_load(SMOKE)))
    for path, value in edits:
        node = raw
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    return raw


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache") / "environments.json"


STYLE, KWARGS = ("figures", "figure3", "style"), (*PENDULUM, "kwargs")
PANEL = ("figures", "figure3", "panels", 0)
NO_TASKS = (*GRID, "tasks"), []  # they would stand for the goal


@pytest.mark.parametrize(
    "edits, key, value, expected",
    [
        # No such environment
        ([((*GRID, "id"), "Gridworld-v9")], "environments.grid.id", "Gridworld-v9", "a Gymnasium id such as"),
        ([((*GRID, "id"), "Reacher-v99")], "environments.grid.id", "Reacher-v99", "a Gymnasium id such as"),
        ([((*GRID, "id"), "")], "environments.grid.id", "''", "a Gymnasium id such as"),
        ([((*GRID, "id"), "no_such_module:Odd-v0")], "environments.grid", "no_such_module", "one that can be made"),
        ([((*PENDULUM, "id"), "dm_control/cartpole-fly-v0")], "environments.pendulum.id", "cartpole-fly", "dm_control/<domain>"),
        ([((*PENDULUM, "id"), "dm_control/nowhere-swingup-v0")], "environments.pendulum.id", "nowhere-swingup", "dm_control/<domain>"),
        # Not one that an agent can act in
        ([((*PENDULUM, "id"), "Humanoid-v5")], "environments.pendulum.id", "348 observation dimensions", "1 to 64"),
        ([((*PENDULUM, "id"), "HumanoidStandup-v5")], "environments.pendulum.id", "348 observation dimensions", "1 to 64"),
        ([((*PENDULUM, "id"), "Blackjack-v1")], "environments.pendulum.id", "Tuple", "a Box, or a Dict of Boxes"),
        ([((*PENDULUM, "id"), "FrozenLake-v1")], "environments.pendulum.id", "Discrete(16)", "a Box, or a Dict of Boxes"),
        ([((*GRID, "kwargs"), {"size": 9})], "environments.grid.id", "81 observation dimensions", "1 to 64"),
        # Nobody looks on
        ([(KWARGS, {"render_mode": "human"})], "environments.pendulum.kwargs", "'human'", "expected none, or rgb_array"),
        ([((*GRID, "tasks"), [{"size": 3}, {"render_mode": "human"}])], "environments.grid.tasks[1]", "'human'", "expected none"),
        # Keyword arguments
        ([(KWARGS, {"colour": "red"})], "environments.pendulum.kwargs", "'colour': 'red'", "keyword arguments that it takes"),
        ([(KWARGS, {"max_episode_steps": "ten"})], "environments.pendulum.kwargs", "'ten'", "expected"),
        ([(KWARGS, {"max_episode_steps": -5})], "environments.pendulum.kwargs", "-5", "expected"),
        ([(KWARGS, {"xml_file": "nowhere.xml"})], "environments.pendulum.kwargs", "nowhere.xml", "one that can be made"),
        ([((*GRID, "kwargs"), {"goal": [3, 3]}), NO_TASKS], "environments.grid.kwargs", "[3, 3]", "[row, column]"),
        ([((*GRID, "kwargs"), {"goal": [0, 0]}), NO_TASKS], "environments.grid.kwargs", "[0, 0]", "another cell"),
        ([((*GRID, "kwargs"), {"size": "three"}), NO_TASKS], "environments.grid.kwargs", "'three'", "keyword arguments that it takes"),
        ([((*GRID, "id"), "gla/AntDir-v0"), ((*GRID, "tasks"), [{"direction": 1}, {"direction": 2}])],
         "environments.grid.tasks[1]", "'direction': 2", "1 or -1"),
        ([((*GRID, "tasks"), [{"goal": [2, 2]}, {"gaol": [2, 0]}])], "environments.grid.tasks[1]", "gaol", "keyword arguments"),
        ([((*GRID, "validation_tasks"), [{"goal": [3, 3]}])], "environments.grid.validation_tasks[0]", "[3, 3]", "[row, column]"),
        ([((*GRID, "test_tasks"), [{"goal": [1, 1]}, {"gaol": [2, 0]}])], "environments.grid.test_tasks[1]", "gaol", "keyword arguments"),
        ([((*GRID, "test_tasks"), [{"size": 3}, {"size": 4}])], "environments.grid.test_tasks[1]", "'size': 4", "what tasks[0] has"),
        ([((*GRID, "tasks"), [{"size": 3}, {"size": 4}])], "environments.grid.tasks[1]", "'size': 4", "what tasks[0] has"),
        # Episodes that need not end
        ([((*PENDULUM, "id"), "dm_control/lqr-lqr_2_1-v0"), (KWARGS, {}), (("evaluations", "pendulum"), {"environment": "pendulum", "agents": ["projected_max"], "episodes": 3})],
         "evaluations.pendulum.episodes", "3", "environments.pendulum.kwargs.max_episode_steps"),
        ([(KWARGS, {"max_episode_steps": -1}), (("evaluations", "pendulum"), {"environment": "pendulum", "agents": ["projected_max"], "episodes": 7})],
         "evaluations.pendulum.episodes", "7", "environments.pendulum.kwargs.max_episode_steps"),
        # Style
        ([(STYLE, {"font.sise": 7})], "figures.figure3.style.font.sise", "7", "rc parameters"),
        ([(STYLE, {"font.size": "big"})], "figures.figure3.style.font.size", "'big'", "a value that Matplotlib takes"),
        ([(STYLE, {"axes.prop_cycle": "red"})], "figures.figure3.style.axes.prop_cycle", "'red'", "a value that Matplotlib takes"),
        ([(STYLE, {"xlabel": "steps"})], "figures.figure3.style.xlabel", "'steps'", "rc parameters"),
        ([(STYLE, {"savefig.dpi": 1e9})], "figures.figure3.style.savefig.dpi", "1000000000.0", "at most 1000"),
        ([(STYLE, {"savefig.dpi": 0})], "figures.figure3.style.savefig.dpi", "0", "at least 10"),
        ([(STYLE, {"figure.figsize": [1e9, 1]})], "figures.figure3.style.figure.figsize", "[1000000000.0, 1]", "at most 50"),
        ([(STYLE, {"font.size": 1e300})], "figures.figure3.style.font.size", "1e+300", "at most 1000"),
        ([(STYLE, {"figure.subplot.left": 5})], "figures.figure3.style", "{'figure.subplot.left': 5}", "a style that Matplotlib can"),
        # Text
        ([((*PANEL, "title"), r"$\frac{$")], "figures.figure3.panels[0].title", r"'$\\frac{$'", "text that Matplotlib can draw"),
        ([((*PANEL, "labels"), ["a", r"$\nope$"])], "figures.figure3.panels[0].labels[1]", r"'$\\nope$'", "text that Matplotlib can draw"),
        # Sizes of the project's own environments
        ([((*GRID, "kwargs"), {"size": 10**12}), NO_TASKS], "environments.grid.kwargs", "size 1000000000000", "1 to 64"),
        ([((*GRID, "id"), "gla/LinearControl-v0"), ((*GRID, "kwargs"), {"size": 10**5}), NO_TASKS],
         "environments.grid.kwargs", "size 100000", "1 to 64"),
        ([((*GRID, "id"), "gla/RandomControl-v0"), ((*GRID, "kwargs"), {"size": 10**5}), NO_TASKS],
         "environments.grid.kwargs", "size 100000", "1 to 64"),
        # Steps that no rollout ends with
        ([(KWARGS, {"max_episode_steps": 10**9}),
          (("evaluations", "pendulum"), {"environment": "pendulum", "agents": ["projected_max"], "episodes": 7})],
         "evaluations.pendulum.episodes", "7 of up to 1000000000 steps", "at most 1000000000 steps in all"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_key_value_and_what_was_expected(cache, edits, key, value, expected):
    with pytest.raises(ConfigError) as error:
        preflight.check(_edited(*edits), cache)
    (line,) = str(error.value).splitlines()
    assert line.startswith(key) and value in line and "expected" in line and expected in line, line


@pytest.mark.skipif(shutil.which("latex") is not None, reason="LaTeX is here")
def test_latex_is_asked_for_where_there_is_none(cache):
    with pytest.raises(ConfigError, match="^figures.figure3.style: {'text.usetex': True} .expected .* latex could not be found"):
        preflight.check(_edited((STYLE, {"text.usetex": True})), cache)


@pytest.mark.parametrize("title", ["$x^2$", "it costs $5", r"\$5 and $x$", "two\nlines"])
def test_text_that_can_be_drawn_may_be_drawn(cache, title):
    preflight.check(_edited(((*PANEL, "title"), title), (STYLE, {"font.size": 7, "savefig.dpi": "figure"})), cache)


def test_an_envpool_that_raises_is_told_in_one_line(cache, monkeypatch):
    def settings(*_):
        raise OverflowError("too\nlarge")

    envpool = ModuleType("gla.environments.envpool")
    envpool.settings = settings
    monkeypatch.setitem(sys.modules, "gla.environments.envpool", envpool)
    with pytest.raises(ConfigError) as error:
        preflight.check(_edited(((*PENDULUM, "reference"), {"backend": "envpool"}), (KWARGS, {"max_episode_steps": 49})), cache)
    assert str(error.value).startswith("environments.pendulum.reference.backend: 'envpool' for 'InvertedPendulum-v5' with {'max_")
    assert "OverflowError: too large (expected one that EnvPool can make)" in str(error.value)


def test_a_reference_that_envpool_cannot_step_is_named_where_its_sources_never_asked_for_it(cache):
    pytest.importorskip("envpool")
    with pytest.raises(ConfigError) as error:
        preflight.check(_edited(((*PENDULUM, "reference"), {"backend": "envpool"}), ((*GRID, "reference"), {"backend": "envpool"})), cache)
    (line,) = str(error.value).splitlines()  # InvertedPendulum is among EnvPool's
    assert line.startswith("environments.grid.reference.backend: 'envpool' for environment 'gla/GridWorld-v0'"), line


MODULE = """
import gymnasium as gym
import numpy as np

class Mine(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}
    def step(self, action):
        return np.zeros(3, np.float32), 0.0, False, False, {}

gym.register("Mine-v0", Mine, max_episode_steps=LIMIT)
"""


def _check_mine(folder, module):
    """Preflight of an environment of one's own, in a process that has not imported it."""
    raw = {"environments": {"mine": {"id": "mymodule:Mine-v0"}}}
    code = f"import json; from gla import preflight; print(json.dumps(preflight.check({raw}, 'cache.json')))"
    (folder / "mymodule.py").write_text(module)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_an_environment_of_ones_own_that_was_edited_is_asked_again(tmp_path):
    for limit in (10, 20):
        done = _check_mine(tmp_path, MODULE.replace("LIMIT", str(limit)))
        assert json.loads(done.stdout)["mine"]["time_limit"] == limit, done.stderr


@pytest.mark.parametrize(
    "found, made, said",
    [
        ("0.0, False", "'1', False", "mine.id: environment 'mymodule:Mine-v0', step 0: reward '1' (expected one"),
        ("0.0, False", "np.nan, False", "mine.id: environment 'mymodule:Mine-v0': reward of step 0 nan (expected finite"),
        ("return np.zeros(3, np.float32), {}", "return np.zeros(3, np.float32)", "first reset: reset returned of shape (3,)"),
        ("return np.zeros(3, np.float32), {}", "raise OSError(2, 'gone')", "first reset: FileNotFoundError: [Errno 2] gone (expected"),
        ("import numpy as np", "raise SystemExit(0)", "SystemExit: 0 (expected one that can be made)"),
    ],
)
def test_an_environment_of_ones_own_is_tried_before_any_job(tmp_path, found, made, said):
    done = _check_mine(tmp_path, MODULE.replace("LIMIT", "9").replace(found, made))
    line = done.stderr.splitlines()[-1]
    assert line.startswith("gla.config.ConfigError: environments.mine.") and said in line, done.stderr


def test_an_environment_of_ones_own_is_found_and_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "single.py").write_text("raise RuntimeError")
    (tmp_path / "whole/part").mkdir(parents=True)
    for name in ("__init__.py", "mine.py", "part/__init__.py"):
        (tmp_path / "whole" / name).write_text("raise RuntimeError")
    assert preflight.sources("single:Mine-v0") == ["single.py"]
    assert preflight.sources("whole.mine:Mine-v0") == ["whole/__init__.py", "whole/mine.py", "whole/part/__init__.py"]
    elsewhere = preflight.sources("yaml:Mine-v0")
    assert elsewhere and all(Path(p).is_absolute() for p in elsewhere)
    for name in ("Reacher-v4", "nowhere:Mine-v0", ":Mine-v0", "a b:c", ".x:Mine-v0"):
        assert preflight.sources(name) == []


def test_every_fault_is_told_at_once(cache):
    with pytest.raises(ConfigError) as error:
        preflight.check(_edited(((*GRID, "id"), "A-v0"), ((*PENDULUM, "id"), "B-v0")), cache)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["environments.grid.id", "environments.pendulum.id"]


def test_what_is_right_is_told_and_kept(cache, monkeypatch):
    facts = preflight.check(_edited(), cache)
    assert facts["grid"] == {"observation_size": 9, "action_size": 4, "discrete": True, "time_limit": 10}
    assert facts["pendulum"] == {"observation_size": 4, "action_size": 1, "discrete": False, "time_limit": 50}
    monkeypatch.setattr(preflight, "_facts", None)  # no environment is made again
    assert preflight.check(_edited(), cache) == facts
    with pytest.raises(TypeError):
        preflight.check(_edited((KWARGS, {"max_episode_steps": 51})), cache)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}'])
def test_a_damaged_cache_is_made_anew(tmp_path, content):
    path = tmp_path / "environments.json"
    path.write_text(content)
    assert preflight.check(_edited(), path)["grid"]["time_limit"] == 10
    assert json.loads(path.read_text()).keys() > set()


def test_rollouts_that_need_much_memory_are_named(cache, capsys):
    model = {"layers": 8, "width": 512, "heads": 8}
    raw = _edited((("agents", "grid_gap1", "model"), model), (("evaluations", "grid", "seeds"), 4000))
    preflight.check(raw, cache)  # 4000 seeds, 40 steps, 8 layers, keys and values of 512 four-byte numbers
    assert "evaluations.grid: 4000 seeds with a window of 4000 keep 5242 MB" in capsys.readouterr().err
    preflight.check(_edited(), cache)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind, key_heads", [("transformer", None), ("transformer", 2), ("equivariant", None)])
@pytest.mark.parametrize("limit, steps, tokens", [(10, None, 40), (None, None, 100), (1000, None, 100), (None, 60, 60)])
def test_the_memory_of_a_rollout_is_that_of_its_cache(limit, steps, tokens, kind, key_heads):
    from gla import models
    from gla.config import Model

    sizes = {"kind": kind, "layers": 4, "width": 256, "heads": 4, "key_heads": key_heads}
    model = normalise(_edited())["agents"]["grid_gap1"]["model"] | sizes
    evaluation = {"seeds": 512, "window": 100, "episodes": None if steps else 4, "steps": steps}
    cache = models.build(Model(**model)).cache(512, tokens)
    assert preflight.decoding_mb(evaluation, model, limit) == cache.memory.nbytes // 10**6


def test_rollouts_that_may_end_before_an_episode_does_are_named(cache, capsys):
    preflight.check(_edited((("evaluations", "pendulum", "steps"), 49)), cache)
    assert capsys.readouterr().err == (
        "warning: evaluations.pendulum.steps: 49, but an episode of 'pendulum' may last 50; those that are not finished count for nothing "
        "(expected at least 50)\n"
    )
    preflight.check(_edited((("evaluations", "pendulum", "steps"), 50)), cache)
    assert capsys.readouterr().err == ""


# Memory

FACTS = {"observation_size": 27, "action_size": 8, "discrete": False, "time_limit": 1000}


@pytest.mark.parametrize(
    "edits, memory, line",
    [
        (
            [((*GRID, "streams"), 1000), ((*GRID, "ppo", "steps"), 10_000)], 10**9,
            "environments.grid: a block of 2 lifetimes with 1000 streams of 10000 steps and 64 hidden units takes at least 5 GB "
            "(expected at most the 1 GB there are: fewer lifetimes_per_block, streams or ppo.steps, or a smaller ppo.hidden)",
        ),
        (
            [((*GRID, "lifetimes"), 10**6), ((*GRID, "lifetimes_per_block"), 1000), ((*GRID, "streams"), 100)], 10**10,
            "datasets.grid: a manifest of 100000000 streams takes at least 40 GB (expected at most the 10 GB there are: "
            "fewer lifetimes or streams of its environments)",
        ),
        (
            [(("agents", "grid_gap1", "batch"), 10**6)], 10**10,
            "agents.grid_gap1: a step of 1000000 windows of 4 times 10 tokens through 2 layers of width 32 takes at least 91 GB "
            "(expected at most the 10 GB there are: a smaller batch, pieces, piece_steps or model)",
        ),
        (
            [(("evaluations", "grid_validation", "seeds"), 2**20)], 10**9,
            "evaluations.grid_validation: a rollout of 1048576 seeds with a window of 4000 takes at least 23 GB (expected at most the 1 GB "
            "there are: fewer seeds or episodes, or a smaller window or model)",
        ),
        (
            [((*PENDULUM, "reference"), {"runs": 1000, "streams": 1000})], 10**9,
            "environments.pendulum.reference: 1000 runs of 1000 streams on the tasks of split test takes at least 17 GB "
            "(expected at most the 1 GB there are: fewer runs or streams)",
        ),
    ],
)  # fmt: skip
def test_what_cannot_fit_into_memory_is_refused(cache, edits, memory, line):
    raw = _edited(*edits)
    with pytest.raises(ConfigError) as error:
        preflight.check(raw, cache, memory=memory)
    assert line in str(error.value).splitlines(), str(error.value)
    preflight.check(raw, cache, memory=preflight.MOST_MEMORY)  # another machine's


def test_memory_is_this_machines_unless_jobs_run_elsewhere(cache, monkeypatch):
    raw = _edited((("agents", "grid_gap1", "batch"), 10**5))
    of = preflight.psutil.virtual_memory()
    monkeypatch.setattr(preflight.psutil, "virtual_memory", lambda: of._replace(total=4 * 10**9))
    monkeypatch.setattr(preflight.psutil, "swap_memory", lambda: SimpleNamespace(total=10**9))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match="at most the 5 GB there are"):
        preflight.check(raw, cache)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)  # whose memory the batch is shared among
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(total_memory=10**10))
    preflight.check(raw, cache)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_fit_into_24_gibibytes(path):
    config = load(yaml.safe_load(path.read_text()))
    assert list(preflight._too_large(config, dict.fromkeys(config.environments, FACTS), 24 * 2**30)) == []


@pytest.mark.parametrize("name", ["gla/GridWorld-v0", "gla/PointMass-v0"])
def test_a_population_takes_no_less_than_was_said(name):
    from gla.config import PPO, Environment
    from gla.environments.making import make
    from gla.environments.spaces import env_spec
    from gla.ppo import Population

    entry = Environment(id=name, lifetimes=3, streams=4, ppo=PPO(updates=2, steps=50, minibatches=2, hidden=32))
    spec = env_spec(make(name))
    facts = {"observation_size": spec.observation_size, "action_size": spec.action_size, "discrete": spec.discrete}
    population = Population(entry, range(3), 4, 50, 0)
    rollout = population.collect()
    held = sum(x.nbytes for x in rollout) + 2 * population._weights.nbytes
    population.improve(rollout)
    held += sum(x.nbytes for x in population.optimizer.state[population._weights].values())
    batch = 3 * 4 * 50 * 4 * (spec.observation_size + spec.action_size + 4) * 2  # data and shuffled, in ``improve``
    assert 0.5 * (held + batch) < preflight._population(3, 4, 50, 32, facts) - 3 * 4 * 1000 <= held + batch


@pytest.mark.parametrize("sizes", [{"kind": "transformer", "heads": 4}, {"kind": "transformer", "heads": 4, "key_heads": 1},
                                   {"kind": "equivariant", "heads": 4, "channels": 8}])  # fmt: skip
def test_a_training_step_takes_no_less_than_was_said(sizes):
    """Of what the backward pass keeps, nothing is counted twice."""
    import torch

    from gla.agent import AgentModel
    from gla.config import Agent

    entry = Agent(dataset="x", pieces=4, piece_steps=16, batch=8, model={"layers": 3, "width": 128, **sizes})
    model, kept = AgentModel(entry), {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(x):
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(8, 64, 147))
    parameters = sum(p.numel() for p in model.parameters())
    assert 0.5 * parameters < preflight.parameters(entry) <= parameters
    activations = preflight.training_bytes(entry) - 16 * preflight.parameters(entry) - 8 * 64 * 1000
    held = sum(x.untyped_storage().nbytes() for x in kept.values())
    assert 0.1 * held < activations <= held


# Extremes

NUMBERS = (10**12, 2**63 - 1, 2**64, 10**400, -1, 0, 10**6, 10**9, 1e-300, 5e-324, 1e300, -1e300, -0.0, float("inf"), float("nan"))
ENTRIES = (PENDULUM, ("datasets", "projected"), ("agents", "projected_max"), ("evaluations", "pendulum"))


def _numbers(value, path=()):
    """Paths of the numbers in a normalised config, those that are None included: they may be one."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(inner, (*path, key))
    elif value is None or type(value) in (int, float):
        yield path


NORMALISED = normalise(yaml.safe_load(SMOKE))
PATHS = [p for p in _numbers(NORMALISED) if p[:2] in ENTRIES]


@pytest.mark.parametrize("path", PATHS, ids=lambda p: ".".join(map(str, p)))
def test_any_number_anywhere_is_refused_in_a_line_or_is_harmless(cache, path):
    for number in NUMBERS:
        start = time.monotonic()
        try:
            raw = normalise(_edited_normal(path, number))
            preflight.check(raw, cache, memory=24 * 2**30)
            stages = Stages(raw)
            stages.judged(), stages.stores(list(raw["environments"])), [stages.rollouts(v) for v in raw["evaluations"]]
        except ConfigError as error:
            assert all(": " in line and "(expected " in line and len(line) < 1000 for line in str(error).splitlines()), str(error)
        assert time.monotonic() - start < 5


def _edited_normal(path, value):
    raw = json.loads(json.dumps(NORMALISED))
    node = raw
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return raw


def test_asking_again_imports_neither_torch_nor_gymnasium(cache):
    preflight.check(_edited(), cache)
    code = (
        "import sys, json; from gla import preflight; preflight.check(json.loads(sys.argv[1]), sys.argv[2]);"
        "print([m for m in ('torch', 'gymnasium', 'mujoco', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(_edited()), str(cache)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
