"""Mistakes in a config that only the environments themselves, Matplotlib and arithmetic can tell."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
import zarr

from gla import checked, demands, preflight
from gla.config.agents import Agent
from gla.config.reading import load, normalise
from gla.encoding import projected
from gla.models.kinds import MODELS
from gla.options import ConfigError
from gla.paths import Paths

SMOKE = (Path(__file__).parents[2] / "config/smoke.yaml").read_text()
GRID, PENDULUM, SOURCE = ("environments", "grid"), ("environments", "pendulum"), ("sources", "grid")


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
    return tmp_path_factory.mktemp("cache") / "checked.json"


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
        ([(STYLE, {"axes.xmargin": -0.5})], "figures.figure3.style.axes.xmargin", "-0.5", "a value that Matplotlib takes"),
        ([(STYLE, {"axes.prop_cycle": "cycler('marker', ['o'])"})], "figures.figure3.style", "'marker'", "draw with: KeyError: 'color'"),
        ([(STYLE, {"lines.dashed_pattern": [0, 0]})], "figures.figure3.style", "[0, 0]", "dash list must be positive"),
        ([(STYLE, {"savefig.bbox": "tight", "savefig.pad_inches": 50, "savefig.dpi": 1000})],
         "figures.figure3.style", "'savefig.pad_inches': 50", "65535 a side and 100000000 in all"),
        # Text
        ([((*PANEL, "title"), r"$\frac{$")], "figures.figure3.panels[0].title", r"'$\\frac{$'", "text that Matplotlib can draw"),
        ([((*PANEL, "labels"), ["a", r"$\nope$"])], "figures.figure3.panels[0].labels[1]", r"'$\\nope$'", "text that Matplotlib can draw"),
        # Sizes of the project's own environments
        ([((*GRID, "kwargs"), {"size": 10**12}), NO_TASKS], "environments.grid.kwargs", "size 1000000000000", "1 to 100"),
        ([((*GRID, "id"), "gla/LinearControl-v0"), ((*GRID, "kwargs"), {"size": 10**5}), NO_TASKS],
         "environments.grid.kwargs", "size 100000", "1 to 1000"),
        ([((*GRID, "id"), "gla/RandomControl-v0"), ((*GRID, "kwargs"), {"size": 10**5}), NO_TASKS],
         "environments.grid.kwargs", "size 100000", "1 to 1000"),
        # Steps that no rollout ends with
        ([(KWARGS, {"max_episode_steps": 10**9}),
          (("evaluations", "pendulum"), {"environment": "pendulum", "agents": ["projected_max"], "episodes": 7})],
         "evaluations.pendulum.episodes", "7 of up to 1000000000 steps", "at most 1000000000 steps in all"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_key_value_and_what_was_expected(cache, edits, key, value, expected):
    with pytest.raises(ConfigError) as error:
        checked.checked(_edited(*edits), cache=cache)
    (line,) = str(error.value).splitlines()
    assert line.startswith(key) and value in line and "expected" in line and expected in line, line


@pytest.mark.skipif(shutil.which("latex") is not None, reason="LaTeX is here")
def test_latex_is_asked_for_where_there_is_none(cache):
    with pytest.raises(
        ConfigError, match="^figures.figure3.style: {'text.usetex': True} .expected .* latex could not be found"
    ):
        checked.checked(_edited((STYLE, {"text.usetex": True})), cache=cache)


@pytest.mark.parametrize("title", ["$x^2$", "it costs $5", r"\$5 and $x$", "two\nlines"])
def test_text_that_can_be_drawn_may_be_drawn(cache, title):
    checked.checked(
        _edited(((*PANEL, "title"), title), (STYLE, {"font.size": 7, "savefig.dpi": "figure"})), cache=cache
    )


def test_an_envpool_that_raises_is_told_in_one_line(cache, monkeypatch):
    def settings(*_):
        raise OverflowError("too\nlarge")

    envpool = ModuleType("gla.environments.envpool")
    envpool.settings = settings
    monkeypatch.setitem(sys.modules, "gla.environments.envpool", envpool)
    with pytest.raises(ConfigError) as error:
        checked.checked(
            _edited(((*PENDULUM, "reference"), {"backend": "envpool"}), (KWARGS, {"max_episode_steps": 49})),
            cache=cache,
        )
    assert str(error.value).startswith(
        "environments.pendulum.reference.backend: 'envpool' for 'InvertedPendulum-v5' with {'max_"
    )
    assert "OverflowError: too large (expected one that EnvPool can make)" in str(error.value)


def test_what_envpool_cannot_step_is_named_where_it_was_asked_for(cache):
    """A reference whose sources never asked for it, and a source whose reference never did."""
    pytest.importorskip("envpool")
    with pytest.raises(ConfigError) as error:
        checked.checked(
            _edited(((*PENDULUM, "reference"), {"backend": "envpool"}), ((*GRID, "reference"), {"backend": "envpool"})),
            cache=cache,
        )
    (line,) = str(error.value).splitlines()  # InvertedPendulum is among EnvPool's
    assert line.startswith("environments.grid.reference.backend: 'envpool' for environment 'gla/GridWorld-v0'"), line
    with pytest.raises(ConfigError) as error:
        checked.checked(_edited(((*SOURCE, "backend"), "envpool")), cache=cache)
    (line,) = str(error.value).splitlines()
    assert line.startswith("sources.grid.backend: 'envpool' for environment 'gla/GridWorld-v0'"), line


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
    code = (
        f"import json; from gla.checked import checked; print(json.dumps(checked({raw}, cache='checked.json').facts))"
    )
    (folder / "mymodule.py").write_text(module)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_an_environment_of_ones_own_that_was_edited_is_asked_again(tmp_path):
    for limit in (10, 20):
        done = _check_mine(tmp_path, MODULE.replace("LIMIT", str(limit)))
        assert json.loads(done.stdout)["mine"]["time_limit"] == limit, done.stderr


@pytest.mark.parametrize(
    "found, made, said",
    [
        ("0.0, False", "'1', False", "mine.id: environment 'mymodule:Mine-v0', step 0: reward '1' (expected one"),
        (
            "0.0, False",
            "np.nan, False",
            "mine.id: environment 'mymodule:Mine-v0': reward of step 0 nan (expected finite",
        ),
        (
            "return np.zeros(3, np.float32), {}",
            "return np.zeros(3, np.float32)",
            "first reset: reset returned of shape (3,)",
        ),
        (
            "return np.zeros(3, np.float32), {}",
            "raise OSError(2, 'gone')",
            "first reset: FileNotFoundError: [Errno 2] gone (expected",
        ),
        ("import numpy as np", "raise SystemExit(0)", "SystemExit: 0 (expected one that can be made)"),
    ],
)
def test_an_environment_of_ones_own_is_tried_before_any_job(tmp_path, monkeypatch, cache, found, made, said):
    module = f"tried_{tmp_path.name}"  # imported by no other test
    (tmp_path / f"{module}.py").write_text(MODULE.replace("LIMIT", "9").replace(found, made))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as error:
        checked.checked({"environments": {"mine": {"id": f"{module}:Mine-v0"}}}, cache=cache)
    assert str(error.value).startswith("environments.mine.") and said.replace("mymodule", module) in str(error.value)


def test_an_environment_of_ones_own_is_found_and_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "single.py").write_text("raise RuntimeError")
    (tmp_path / "whole/part").mkdir(parents=True)
    for name in ("__init__.py", "mine.py", "part/__init__.py"):
        (tmp_path / "whole" / name).write_text("raise RuntimeError")
    beside = ["whole/part/arm.xml", "whole/part/meshes/hand", "whole/table.json"]
    for name in (
        *beside,
        "whole/.git/config",
        "whole/part/.arm.xml.swp",
        "whole/__pycache__/mine.txt",
        "whole/mine.pyc",
        "whole/fast.abi3.so",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "whole/pipe")
    assert checked.modules("single:Mine-v0") == ["single.py"]
    code = ["whole/__init__.py", "whole/mine.py", "whole/part/__init__.py"]
    assert checked.modules("whole.mine:Mine-v0") == sorted([*code, *beside])
    monkeypatch.setattr(checked, "MOST_FILES", 6)
    assert checked.modules("whole:Mine-v0") == sorted([*code, *beside])
    monkeypatch.setattr(checked, "MOST_FILES", 5)
    assert checked.modules("whole:Mine-v0") == code
    elsewhere = checked.modules("yaml:Mine-v0")
    assert elsewhere and all(Path(p).is_absolute() for p in elsewhere)
    for name in ("Reacher-v4", "nowhere:Mine-v0", ":Mine-v0", "a b:c", ".x:Mine-v0"):
        assert checked.modules(name) == []


def test_every_fault_is_told_at_once(cache):
    with pytest.raises(ConfigError) as error:
        checked.checked(_edited(((*GRID, "id"), "A-v0"), ((*PENDULUM, "id"), "B-v0")), cache=cache)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [
        "environments.grid.id",
        "environments.pendulum.id",
    ]


def test_what_environments_are_like_is_told_and_kept(cache, monkeypatch):
    def facts(*edits):
        return preflight.all_facts(load(_edited(*edits)), cache.with_name("environments.json"))

    found = facts()
    assert found["grid"] == {
        "observation_size": 9,
        "action_size": 4,
        "discrete": True,
        "states": 0,
        "tables": False,
        "bounded": False,
        "time_limit": 10,
    }
    assert found["pendulum"] == {
        "observation_size": 4,
        "action_size": 1,
        "discrete": False,
        "states": 0,
        "tables": False,
        "bounded": False,
        "time_limit": 50,
    }
    monkeypatch.setattr(preflight, "_facts", None)  # no environment is made again
    assert facts() == found
    with pytest.raises(TypeError):
        facts((KWARGS, {"max_episode_steps": 51}))


# Encodings

WIDE = """
import gymnasium as gym
import numpy as np

class Wide(gym.Env):
    def __init__(self, size=3, actions=2):
        self.observation_space = gym.spaces.Box(-1, 1, (size,))
        self.action_space = gym.spaces.Discrete(actions)
    def reset(self, *, seed=None, options=None):
        return self.observation_space.low, {}
    def step(self, action):
        return self.observation_space.low, 0.0, False, False, {}

gym.register("Wide-v0", Wide, max_episode_steps=5)
"""
WHERE = "datasets.projected.sources: 'pendulum': environment "


@pytest.mark.parametrize(
    "id, kwargs, said",
    [
        (
            "Humanoid-v5",
            {},
            "'Humanoid-v5': 348 observation dimensions (expected at most 64 for the encoding 'projected')",
        ),
        (
            "HumanoidStandup-v5",
            {},
            "'HumanoidStandup-v5': 348 observation dimensions (expected at most 64 for the encoding 'projected')",
        ),
        (
            "widemodule:Wide-v0",
            {"size": 65},
            "'widemodule:Wide-v0': 65 observation dimensions (expected at most 64 for the encoding 'projected')",
        ),
        (
            "widemodule:Wide-v0",
            {"actions": 17},
            "'widemodule:Wide-v0': 17 action dimensions (expected at most 16 for the encoding 'projected')",
        ),
    ],
)
def test_an_environment_that_an_encoding_cannot_hold_is_one_line_with_the_limit(
    cache, tmp_path, monkeypatch, id, kwargs, said
):
    """One line, where it is met first, however many evaluations meet it too."""
    (tmp_path / "widemodule.py").write_text(WIDE)
    monkeypatch.syspath_prepend(tmp_path)
    edits = [((*PENDULUM, "id"), id), (KWARGS, {"max_episode_steps": 50} | kwargs)]
    with pytest.raises(ConfigError) as error:
        checked.checked(_edited(*edits), cache=cache)
    assert str(error.value) == WHERE + said
    # Where nobody is trained there, it is the evaluation that says so.
    with pytest.raises(ConfigError) as error:
        checked.checked(_edited(*edits, (("datasets", "projected", "sources"), ["grid"])), cache=cache)
    assert str(error.value) == f"evaluations.pendulum.agents: 'projected_max': environment {said}"


def test_a_baseline_for_discrete_observations_is_refused_elsewhere(cache):
    for id, fits in (("gla/DarkRoom-v0", True), ("CartPole-v1", False)):
        raw = {
            "environments": {"e": {"id": id}},
            "evaluations": {"v": {"environment": "e", "baselines": ["online_psrl"], "episodes": 2}},
        }
        if fits:
            checked.checked(raw, cache=cache)
        else:
            with pytest.raises(ConfigError) as error:
                checked.checked(raw, cache=cache)
            assert str(error.value) == (
                "evaluations.v.baselines: 'online_psrl' in 'e' (expected an environment whose observations and actions are Discrete)"
            )


def test_a_model_that_counts_states_is_refused_where_there_are_none(cache):
    """CartPole's actions are discrete, and its observations are not."""
    raw = {
        "environments": {"e": {"id": "CartPole-v1"}, "room": {"id": "gla/DarkRoom-v0"}},
        "sources": {"s": {"environment": "e", "kind": "random", "lifetimes": 2}},
        "datasets": {"d": {"sources": ["s"], "encoding": {"kind": "tabular", "states": 4, "actions": 2}}},
        "agents": {"a": {"dataset": "d", "windows": {"kind": "consecutive", "steps": 20}, "loss": "action_likelihood", "model": "gru"}},
    }  # fmt: skip
    checked.checked(raw, cache=cache)
    raw["agents"]["a"]["model"] = "value_iteration"
    with pytest.raises(ConfigError) as error:
        checked.checked(raw, cache=cache)
    assert str(error.value) == (
        "agents.a.model.kind: 'value_iteration' in environment 'e' (expected one whose observations are Discrete)"
    )


def test_where_one_agent_counts_states_another_of_its_dataset_may_act_without(cache):
    agent = {"dataset": "d", "windows": {"kind": "consecutive", "steps": 20}, "loss": "action_likelihood"}
    raw = {
        "environments": {"e": {"id": "CartPole-v1"}, "room": {"id": "gla/DarkRoom-v0"}},
        "sources": {"s": {"environment": "room", "kind": "random", "lifetimes": 2}},
        "datasets": {"d": {"sources": ["s"], "encoding": {"kind": "tabular", "states": 81, "actions": 5}}},
        "agents": {"a": agent | {"model": "value_iteration"}, "b": agent | {"model": "gru"}},
        "evaluations": {"v": {"environment": "e", "agents": ["b"], "episodes": 2}},
    }
    checked.checked(raw, cache=cache)
    raw["evaluations"]["v"]["agents"] = ["a", "b"]
    with pytest.raises(ConfigError, match=r"agents\.a\.model\.kind: 'value_iteration' in environment 'e'"):
        checked.checked(raw, cache=cache)


@pytest.mark.parametrize("key, room, said", [("states", 8, "9 observation dimensions (expected at most 8, the encoding's states)"),
                                             ("actions", 3, "4 actions (expected at most 3, the encoding's actions)")])  # fmt: skip
def test_a_tabular_encoding_has_as_much_room_as_it_says(cache, key, room, said):
    encoding = {"kind": "tabular", "states": 9, "actions": 4}
    checked.checked(_edited((("datasets", "grid", "encoding"), encoding)), cache=cache)
    with pytest.raises(ConfigError) as error:
        checked.checked(_edited((("datasets", "grid", "encoding"), encoding | {key: room})), cache=cache)
    assert str(error.value) == f"datasets.grid.sources: 'grid': environment 'gla/GridWorld-v0': {said}"
    with pytest.raises(ConfigError) as error:
        checked.checked(_edited((("datasets", "projected", "encoding"), encoding)), cache=cache)
    assert (
        str(error.value)
        == f"{WHERE}'InvertedPendulum-v5': continuous actions (expected discrete ones for the encoding 'tabular')"
    )


@pytest.mark.parametrize("id, facts", [("FrozenLake-v1", {"observation_size": 16, "action_size": 4, "states": 16}),
                                       ("Blackjack-v1", {"observation_size": 45, "action_size": 2, "states": 0})])  # fmt: skip
def test_worlds_of_integers_are_environments_like_others(cache, id, facts):
    found = checked.checked(_edited(((*PENDULUM, "id"), id)), cache=cache)
    assert found.facts["pendulum"] == facts | {"discrete": True, "time_limit": 50, "tables": False, "bounded": False}


# What was found is kept

PROBE = """
import json, sys
from gla import checked
if sys.argv[4:]:
    checked._check = None
found = checked.checked(json.loads(sys.argv[1]), cache=sys.argv[2], memory=int(sys.argv[3]))
print(json.dumps([found, [m for m in ("torch", "gymnasium", "mujoco", "pandas", "matplotlib", "gla.preflight", "mymodule") if m in sys.modules]]))
"""


def _asked(raw, cache, *never, memory=24 * 2**30, folder=None):
    """Returns the findings about a config, and the modules that were imported, from a separate process. never: the config must not be
    checked again.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder or ""), *sys.path])}
    command = [sys.executable, "-c", PROBE, json.dumps(raw), str(cache), str(memory), *never]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_asking_again_imports_neither_torch_nor_gymnasium(tmp_path):
    """Also of an environment of one's own, whose module is looked at and not imported."""
    (tmp_path / "mymodule.py").write_text(MODULE.replace("LIMIT", "10"))
    raw = _edited((("environments", "mine"), {"id": "mymodule:Mine-v0"}))
    first, imported = _asked(raw, "checked.json", folder=tmp_path)
    assert {"torch", "gymnasium", "mymodule"} <= set(imported)
    again, imported = _asked(raw, "checked.json", "never", folder=tmp_path)
    assert imported == [] and again == first
    assert again[0] == normalise(raw)


def test_a_changed_config_and_a_changed_environment_are_checked_again(tmp_path, monkeypatch):
    asked, check = [], checked._check
    monkeypatch.setattr(checked, "_check", lambda raw, *rest: asked.append(raw) or check(raw, *rest))
    monkeypatch.setattr(preflight, "_facts", lambda name, *_: FACTS | {"time_limit": len(asked)})
    monkeypatch.syspath_prepend(tmp_path)
    module, cache = tmp_path / "asked_again.py", tmp_path / "checked.json"

    def find(seed=0):
        raw = {"environments": {"mine": {"id": "asked_again:Mine-v0", "reference": {"seed": seed}}}}
        return checked.checked(raw, cache=cache).facts["mine"]["time_limit"], len(asked)

    module.write_text("LIMIT = 1")
    assert [find(), find(), find(seed=1), find(), find(seed=1)] == [
        (1, 1),
        (1, 1),
        (1, 2),
        (1, 2),
        (1, 2),
    ]  # the environment is the same
    module.write_text("LIMIT = 2")
    assert [find(), find(), find(seed=1)] == [(3, 3), (3, 3), (3, 4)]
    module.write_text("LIMIT = 1")
    assert find() == (1, 4)  # what was found of it before


def test_a_changed_table_beside_an_environment_is_a_changed_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(
        preflight, "_facts", lambda *_: FACTS | {"time_limit": len((tmp_path / "tabled/table.json").read_text())}
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tabled").mkdir()
    (tmp_path / "tabled/__init__.py").touch()
    for length in (1, 2):
        (tmp_path / "tabled/table.json").write_text("1" * length)
        raw = {"environments": {"mine": {"id": "tabled:Mine-v0"}}}
        assert checked.checked(raw, cache=tmp_path / "checked.json").facts["mine"]["time_limit"] == length


def test_how_much_memory_there_is_is_asked_every_time(tmp_path):
    raw = _edited((("agents", "grid_gap1", "training", "batch_size"), 10**5))
    cache = tmp_path / "checked.json"
    found = checked.checked(raw, 10**11, cache)
    with pytest.raises(ConfigError, match="^agents.grid_gap1: a step of 100000 windows .* at most the 1 GB there are"):
        checked.checked(raw, 10**9, cache)
    assert checked.checked(raw, 10**11, cache) == found


@pytest.mark.parametrize("results", ["file", "file/below/it", "./link"])
def test_results_below_a_file_are_refused_however_often_it_is_asked(tmp_path, monkeypatch, results):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gla.code.scan", dict)  # a second each time
    raw, cache = _edited((("pathvars", "results"), results)), tmp_path / "checked.json"
    checked.checked(raw, cache=cache)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "link").symlink_to("nowhere")
    for path in (cache, tmp_path / "other.json"):  # known, and new
        with pytest.raises(
            ConfigError, match=rf"^pathvars.results: '{results}', but '(file|link)' is no folder \(expected a folder\)$"
        ):
            checked.checked(raw, cache=path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"x": 1}', "KEY: 1", "KEY: {}", "KEY: null", "KEY: [1, 2]", "KEY: {config: {}}"]
)
def test_a_damaged_cache_is_ignored_and_made_anew(tmp_path, content):
    path, raw = tmp_path / "checked.json", _edited()
    key = checked._key(raw)
    path.write_text(
        json.dumps({key: yaml.safe_load(content.partition(": ")[2])}) if content.startswith("KEY") else content
    )
    assert checked.checked(raw, cache=path).facts["grid"]["time_limit"] == 10
    assert json.loads(path.read_text())[key]["config"] == normalise(raw)
    path.write_text(path.read_text().replace('"time_limit": 10', '"time_limit": 11'))  # not what its hash says
    assert checked.checked(raw, cache=path).facts["grid"]["time_limit"] == 10


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}'])
def test_damaged_facts_are_found_anew(tmp_path, content):
    path = tmp_path / "environments.json"
    path.write_text(content)
    assert preflight.all_facts(load(_edited()), path)["grid"]["time_limit"] == 10
    assert json.loads(path.read_text()).keys() > set()


def test_tasks_that_several_environments_have_are_made_once(tmp_path, monkeypatch):
    made, original = [], preflight._made
    monkeypatch.setattr(
        preflight, "_made", lambda entry, kwargs, *more: made.append(kwargs) or original(entry, kwargs, *more)
    )
    room = {"id": "gla/DarkRoom-v0", "kwargs": {"size": 3}}
    entries = {
        "few": room | {"tasks": {"task": [0, 2]}},
        "all": room | {"tasks": {"task": [0, 5]}, "test_tasks": {"task": [5, 7]}},
    }
    found = preflight.all_facts(load({"environments": entries}), tmp_path / "environments.json")
    assert [one["task"] for one in made] == list(range(7)) and found["few"] == found["all"]


@pytest.mark.parametrize("odd", [{3: 2}, {"b": 1, 3: 2}, {True: 1}])
def test_a_config_that_json_would_change_is_checked_every_time(tmp_path, monkeypatch, odd):
    """Keys that are no text become text in JSON, and another config could be taken for this one."""
    monkeypatch.setattr(preflight, "_facts", lambda *_: FACTS)
    for more in (0, 1):
        for _ in range(2):
            raw = {"environments": {"x": {"id": "gla/GridWorld-v0", "kwargs": {"odd": odd | {"more": more}}}}}
            assert checked.checked(raw, cache=tmp_path / "checked.json").config["environments"]["x"]["kwargs"] == {
                "odd": odd | {"more": more}
            }
    assert not (tmp_path / "checked.json").exists()


def test_a_few_lines_that_stand_for_billions_of_values_are_refused_before_they_are_hashed(cache):
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 11))
    with pytest.raises(ConfigError, match=r"^environments.grid.kwargs.*: more than 200000 values"):
        checked.checked(
            _edited() | {"environments": {"grid": {"id": "x", "kwargs": yaml.safe_load(text)}}}, cache=cache
        )


# Warnings


def _warned(capsys, cache, *edits):
    """Returns the warnings about a config, which are the same the second time."""
    for _ in range(2):
        checked.warn(checked.checked(_edited(*edits), cache=cache))
        yield capsys.readouterr().err


def test_rollouts_that_need_much_memory_are_named(cache, capsys):
    model = {"layers": 8, "width": 512, "heads": 8}
    for said in _warned(
        capsys, cache, (("agents", "grid_gap1", "model"), model), (("evaluations", "grid", "seeds"), 4000)
    ):
        # 4000 seeds, 40 steps, 8 layers, keys and values of 512 four-byte numbers
        assert "warning: evaluations.grid: 4000 seeds with a context of 4000 keep 5242 MB\n" in said
    assert [*_warned(capsys, cache)] == ["", ""]


OPTIONS = [
    (kind, more)
    for kind in MODELS
    for more in ({}, {"key_heads": 2}, {"window": 24})
    if not MODELS.options(kind).plans and more.keys() <= MODELS.options(kind).model_fields.keys()
]


@pytest.mark.parametrize("kind, more", OPTIONS)
@pytest.mark.parametrize("limit, steps, tokens", [(10, None, 40), (None, None, 100), (1000, None, 100), (None, 60, 60)])
def test_the_memory_of_a_rollout_is_that_of_its_state(limit, steps, tokens, kind, more):
    options, config = MODELS.options(kind)(layers=4, width=64, **more), load(_edited())
    config.agents["grid_gap1"] = config.agents["grid_gap1"].model_copy(update={"model": options})
    evaluation = config.evaluations["grid"].model_copy(
        update={"seeds": 512, "context_length": 100, "episodes": None if steps else 4, "env_steps": steps}
    )
    encoding = projected.Options()
    sizes = (
        encoding.spanned([(FACTS["observation_size"], FACTS["action_size"], FACTS["discrete"])])
        if options.turns
        else encoding.sizes
    )
    state = MODELS[kind].SequenceModel(options, sizes).initial_state(512, tokens)
    held = sum(x.nbytes for x in vars(state).values() if isinstance(x, torch.Tensor))
    assert demands.state(evaluation, config.agents["grid_gap1"], config, FACTS | {"time_limit": limit}) == held


def test_rollouts_that_may_end_before_an_episode_does_are_named(cache, capsys):
    for said in _warned(capsys, cache, (("evaluations", "pendulum", "env_steps"), 49)):
        assert said == (
            "warning: evaluations.pendulum.env_steps: 49, but an episode of 'pendulum' may last 50; those that do not finish are not counted "
            "(expected at least 50)\n"
        )
    assert [*_warned(capsys, cache, (("evaluations", "pendulum", "env_steps"), 50))] == ["", ""]


# Memory

FACTS = {"observation_size": 27, "action_size": 8, "discrete": False, "states": 0, "time_limit": 1000}


@pytest.mark.parametrize(
    "edits, memory, line",
    [
        (
            [((*SOURCE, "num_envs"), 1000), ((*SOURCE, "num_steps"), 10_000)], 10**9,
            "sources.grid: a block of 2 lifetimes with 1000 copies of the environment, 10000 steps and 64 hidden units takes at least 5 GB "
            "(expected at most the 1 GB there are: fewer lifetimes_per_block, num_envs or num_steps, or a smaller hidden)",
        ),
        (
            [((*SOURCE, "lifetimes"), 10**6), ((*SOURCE, "lifetimes_per_block"), 1000), ((*SOURCE, "num_envs"), 100)], 10**10,
            "datasets.grid: a manifest of 100000000 streams takes at least 40 GB (expected at most the 10 GB there are: "
            "fewer lifetimes or num_envs of its sources)",
        ),
        (
            [(("agents", "grid_gap1", "training", "batch_size"), 10**6)], 10**10,
            "agents.grid_gap1: a step of 1000000 windows of 40 tokens through 2 layers of width 32 takes at least 75 GB "
            "(expected at most the 10 GB there are: a smaller training.batch_size, window or model)",
        ),
        (
            [(("evaluations", "grid_validation", "seeds"), 2**20)], 10**9,
            "evaluations.grid_validation: a rollout of 1048576 seeds with a context of 4000 takes at least 23 GB (expected at most the 1 GB "
            "there are: fewer seeds or episodes, or a smaller context_length or model)",
        ),
        (
            [((*PENDULUM, "reference"), {"runs": 1000, "num_envs": 1000})], 10**9,
            "environments.pendulum.reference: 1000 runs of 1000 copies of the environment on the tasks of split test takes at least 17 GB "
            "(expected at most the 1 GB there are: fewer runs or num_envs)",
        ),
        (
            [(("sources", "walk"), {"environment": "grid", "kind": "random", "lifetimes": 10**5, "lifetimes_per_block": 10**5, "num_steps": 1024})],
            10**9,
            "sources.walk: a block of 100000 lifetimes with 8 copies of the environment, 1024 steps takes at least 70 GB (expected at most the "
            "1 GB there are: fewer lifetimes_per_block, num_envs or num_steps)",
        ),
    ],
)  # fmt: skip
def test_what_cannot_fit_into_memory_is_refused(cache, edits, memory, line):
    raw = _edited(*edits)
    with pytest.raises(ConfigError) as error:
        checked.checked(raw, memory, cache)
    assert line in str(error.value).splitlines(), str(error.value)
    checked.checked(raw, checked.MOST_MEMORY, cache, math.inf)  # another machine's


def test_what_each_job_takes_is_known(cache):
    """By what it makes: of an agent's networks once, and of each split that is referred to."""
    raw = _edited()
    paths, found = Paths(normalise(raw), "in"), checked.checked(raw, cache=cache).jobs
    rollouts = [path for v in raw["evaluations"] for path in paths.rollouts(v)]
    made = {path.removesuffix(".parquet") for path in rollouts if "/baseline/" in path}
    made |= {str(Path(path).parent) for path in rollouts if "/baseline/" not in path and ".1/" not in path}
    made |= {
        f"in/{noun}/{name}"
        for noun, of in (("histories", "sources"), ("manifests", "datasets"), ("agents", "agents"))
        for name in raw[of]
    }
    made |= {path.removesuffix(".json") for path in paths.references() if path.endswith(".json")}
    assert {f"in/{job}" for job in found} == made and all(type(size) is int and size > 0 for size in found.values())


def test_memory_is_this_machines_unless_jobs_run_elsewhere(cache, monkeypatch):
    raw = _edited((("agents", "grid_gap1", "training", "batch_size"), 10**5))
    of = checked.psutil.virtual_memory()
    monkeypatch.setattr(checked.psutil, "virtual_memory", lambda: of._replace(total=4 * 10**9))
    monkeypatch.setattr(checked.psutil, "swap_memory", lambda: SimpleNamespace(total=10**9))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match="at most the 5 GB there are"):
        checked.checked(raw, cache=cache)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)  # whose memory the batch is shared among
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(total_memory=10**10))
    checked.checked(raw, cache=cache)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_fit_into_24_gibibytes(path):
    config = load(yaml.safe_load(path.read_text()))
    facts = dict.fromkeys(config.environments, FACTS)
    assert list(checked.too_large(demands.demands(config, facts), 24 * 2**30)) == []
    assert list(checked.too_large_for_a_disk(demands.disk(config, facts), 10 * 10**9)) == []


@pytest.mark.parametrize("name", ["gla/GridWorld-v0", "gla/PointMass-v0"])
def test_a_population_takes_no_less_than_was_said(name):
    from gla.environments.making import make
    from gla.environments.spaces import env_spec
    from gla.learners.ppo import PPO, Population

    spec = env_spec(make(name))
    facts = {"observation_size": spec.observation_size, "action_size": spec.action_size, "discrete": spec.discrete}
    ppo = PPO(num_updates=2, num_steps=50, num_minibatches=2, hidden=32)
    population = Population(ppo, name, {}, [], range(3), 4, 0)
    rollout = population.collect()
    held = sum(x.nbytes for x in rollout) + 2 * population._weights.nbytes
    population.improve(rollout)
    held += sum(x.nbytes for x in population.optimizer.state[population._weights].values())
    batch = 3 * 4 * 50 * 4 * (spec.observation_size + spec.action_size + 4) * 2  # data and shuffled, in ``improve``
    assert 0.5 * (held + batch) < demands.population(3, 4, 50, 32, facts) - 3 * 4 * 1000 <= held + batch


@pytest.mark.parametrize("sizes", [{"kind": "transformer", "heads": 4}, {"kind": "transformer", "heads": 4, "key_heads": 1},
                                   {"kind": "equivariant", "heads": 4, "channels": 8}, {"kind": "lstm"},
                                   {"kind": "gated_delta", "heads": 4}])  # fmt: skip
def test_a_training_step_takes_no_less_than_was_said(sizes):
    """No part of what the backward pass keeps is counted twice."""
    from gla.agent import AgentModel

    entry = Agent(
        dataset="projected",
        windows={"chunks": 4, "chunk_steps": 16},
        training={"batch_size": 8},
        model={"layers": 3, "width": 128, **sizes},
    )
    config, encoding = load(_edited()), projected.Options()
    token = (
        encoding.spanned([(FACTS["observation_size"], FACTS["action_size"], FACTS["discrete"])])
        if entry.model.turns
        else encoding.sizes
    )
    model, kept = AgentModel(entry, token), {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(x):
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(8, 64, token.token))
    parameters = sum(p.numel() for p in model.parameters())
    assert 0.5 * parameters < entry.model.parameters(token) <= parameters
    activations = (
        demands.training(entry, config, dict.fromkeys(config.environments, FACTS))
        - 16 * entry.model.parameters(token)
        - 8 * 64 * 4 * token.token
    )
    held = sum(x.untyped_storage().nbytes() for x in kept.values())
    assert 0.1 * held < activations <= held


# Disk

LONG = [
    ((*SOURCE, "lifetimes"), 2000),
    ((*SOURCE, "num_updates"), 20_000),
    ((*SOURCE, "num_steps"), 1000),
    ((*SOURCE, "snapshot_every"), 20_000),
]
LONG_SAID = (
    "the history of 2000 lifetimes with 2 copies of the environment, 20000000 steps each takes at least 301 GB on disk (expected at most the "
    "270 GB that it has: fewer lifetimes, num_envs or steps, or a larger snapshot_every)"
)


def test_histories_that_cannot_fit_on_the_disk_are_refused(tmp_path, monkeypatch):
    raw, cache = _edited(*LONG, (("pathvars", "results"), str(tmp_path / "not/there/yet"))), tmp_path / "checked.json"
    asked = []
    monkeypatch.setattr(
        checked.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(total=270 * 10**9)
    )
    with pytest.raises(ConfigError) as error:
        checked.checked(raw, cache=cache)
    assert str(error.value).splitlines()[0] == f"sources.grid: {LONG_SAID}" and asked == [tmp_path]
    found = checked.checked(raw, cache=cache, disk=math.inf)  # a storage
    with pytest.raises(
        ConfigError, match="^sources.grid: the history of 2000 lifetimes"
    ):  # also of a config that is known
        checked.checked(raw, cache=cache)
    assert len(asked) == 2 and [where for where, *_ in found.disk] == ["sources.grid", "sources.pendulum", "sources"]


def test_histories_that_fit_alone_and_not_together_are_refused(cache):
    walk = {"environment": "grid", "kind": "random", "lifetimes": 100, "num_steps": 10**6}
    raw = _edited((("sources", "walk"), walk), (("sources", "stroll"), walk))
    (size,) = {
        size
        for where, _, size, _ in checked.checked(raw, cache=cache, disk=math.inf).disk
        if where in ("sources.walk", "sources.stroll")
    }
    with pytest.raises(ConfigError, match="^sources: all histories together takes at least") as error:
        checked.checked(raw, cache=cache, disk=1.5 * size)
    assert len(str(error.value).splitlines()) == 1


def _bytes(folder):
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())


def _spec(name):
    from gla.environments.making import make
    from gla.environments.spaces import env_spec

    return env_spec(make(name))


def test_histories_take_no_less_than_was_said(grid_store, grid_source, pendulum_store, pendulum_source):
    for (store, _), source, name in (
        (grid_store, grid_source, "gla/GridWorld-v0"),
        (pendulum_store, pendulum_source, "InvertedPendulum-v5"),
    ):
        assert 0 < demands.histories(source, _spec(name).__dict__) <= _bytes(store)


@pytest.mark.parametrize("states", [9, 200])
def test_the_history_that_is_packed_best_takes_no_less_than_was_said(tmp_path, states):
    """It is the history of a policy that repeats the same walk through one-hot states for ever, and never changes."""
    from gla.environments.spaces import EnvSpec
    from gla.sources import ppo
    from gla.storage.layout import create

    source = ppo.Options(environment="x", lifetimes=1, num_envs=1, num_updates=20, num_steps=1024, snapshot_every=20)
    state, rng = np.arange(20 * 1024) % 10 % min(states, 7) * (states // 9), np.random.default_rng(0)
    seen = np.eye(states, dtype=np.float32)[state]
    end = np.arange(len(state)) % 10 == 9
    values = {
        "observation": seen, "final_observation": seen * end[:, None], "action": state % 4, "reward": end, "terminated": end, "truncated": ~end & end,
        "logits": rng.standard_normal((states, 4))[state],
    }  # fmt: skip
    group, spec = zarr.open_group(tmp_path, mode="w", zarr_format=3), EnvSpec(states, 4, True, None, None)
    for name, array in ppo.arrays(source, spec, range(1)).items():
        shape = tuple(array.axes.values())
        create(group, name, array)[...] = values[name].reshape(shape) if name in values else rng.standard_normal(shape)
    assert demands.histories(source, spec.__dict__) <= _bytes(tmp_path)


# Extremes

NUMBERS = (
    10**12,
    2**63 - 1,
    2**64,
    10**400,
    -1,
    0,
    10**6,
    10**9,
    1e-300,
    5e-324,
    1e300,
    -1e300,
    -0.0,
    float("inf"),
    float("nan"),
)
ENTRIES = (
    PENDULUM, ("sources", "pendulum"), ("datasets", "projected"), ("agents", "projected_max"), ("evaluations", "pendulum"),
)  # fmt: skip


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
def test_any_number_anywhere_is_refused_in_a_line_or_is_harmless(cache, monkeypatch, path):
    monkeypatch.setattr("gla.code.scan", dict)  # a second each time
    for number in NUMBERS:
        start = time.monotonic()
        try:
            raw = checked.checked(_edited_normal(path, number), 24 * 2**30, cache).config
            paths = Paths(raw)
            paths.judged(), paths.stores(list(raw["sources"])), [paths.rollouts(v) for v in raw["evaluations"]]
        except ConfigError as error:
            assert all(
                ": " in line and "(expected " in line and len(line) < 1000 for line in str(error).splitlines()
            ), str(error)
        assert time.monotonic() - start < 5


def _edited_normal(path, value):
    raw = json.loads(json.dumps(NORMALISED))
    node = raw
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return raw
