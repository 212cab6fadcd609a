"""Mistakes in a config that only the environments themselves, Matplotlib and arithmetic can tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gla import preflight
from gla.config import ConfigError, normalise

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
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_key_value_and_what_was_expected(cache, edits, key, value, expected):
    with pytest.raises(ConfigError) as error:
        preflight.check(_edited(*edits), cache)
    (line,) = str(error.value).splitlines()
    assert line.startswith(key) and value in line and "expected" in line and expected in line, line


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


def test_asking_again_imports_neither_torch_nor_gymnasium(cache):
    preflight.check(_edited(), cache)
    code = (
        "import sys, json; from gla import preflight; preflight.check(json.loads(sys.argv[1]), sys.argv[2]);"
        "print([m for m in ('torch', 'gymnasium', 'mujoco', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(_edited()), str(cache)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
