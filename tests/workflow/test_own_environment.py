"""An environment of the user's own under Snakemake: what an edit of its module schedules."""

import re

import yaml
from checkouts import copied
from warm import snakemake

MODULE = """
import gymnasium as gym
import numpy as np

class Mine(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}

    def step(self, action):
        return np.zeros(3, np.float32), 0.5, False, False, {}

gym.register("Mine-v0", Mine, max_episode_steps=10)
"""
CONFIG = {
    "pathvars": {"results": "results"},
    "environments": {
        "mine": {"id": "mymodule:Mine-v0", "reference": {"env_steps": 64, "runs": 1, "num_envs": 1}},
        "grid": {"id": "gla/GridWorld-v0"},
    },
    "sources": {
        name: {"environment": name, "kind": "ppo", "lifetimes": 2, "num_envs": 2, "num_updates": 2, "num_steps": 10, "num_minibatches": 2}
        for name in ("mine", "grid")
    },
    "evaluations": {"mine": {"environment": "mine", "seeds": 2, "episodes": 2, "baselines": ["random", "reference"]}},
}  # fmt: skip


def _snakemake(folder, *arguments):
    return snakemake(folder, "--configfile", "config.yaml", "--cores", "2", *arguments, "histories", "rollouts")


def test_editing_ones_own_environment_makes_anew_what_it_decides_and_nothing_else(tmp_path):
    copied(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "mymodule.py").write_text(MODULE)
    output, status = _snakemake(tmp_path)
    assert status == 0, output
    (tmp_path / "mymodule.py").write_text(MODULE.replace("0.5", "1.0"))
    output, status = _snakemake(tmp_path, "--dry-run")
    assert status == 0, output
    counts = dict(re.findall(r"^(collect|refer|evaluate_baseline) +(\d+)$", output, re.MULTILINE))
    assert counts == {"collect": "1", "refer": "1", "evaluate_baseline": "2"}, output
    (tmp_path / "mymodule.py").write_text(MODULE.replace("0.5", "'much'"))
    output, status = _snakemake(tmp_path, "--dry-run")
    assert (
        status == 1
        and "environments.mine.id: environment 'mymodule:Mine-v0', step 0: reward 'much' (expected one" in output
    ), output
    (tmp_path / "mymodule.py").write_text(MODULE)
    output, status = _snakemake(tmp_path, "--dry-run")
    assert status == 0 and "Nothing to be done" in output, output
