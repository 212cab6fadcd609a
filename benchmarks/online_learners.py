"""Chooses the settings of the online learners, on environments that agents are trained on.

Every combination of a few values is run for a thousand steps, 32 seeds, in four training environments: a hidden goal in a
grid and in the plane, and random control of two sizes. In each the last fifth of the episodes counts, of all thousand steps and of the
first three hundred. A score is 0 at the better of random and zero action and 1 at the best of all learners and settings
there; the setting with the highest mean is the one that ``gla.learners`` has, of the linear learner one for discrete and one for
continuous actions. Writes docs/online_learners.csv, and says which settings are best and which the code has. A quarter of an hour on one core.

    python benchmarks/online_learners.py
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gla.conditions.kinds import runner
from gla.conditions.roles import of_role
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners import linear, random_search, small_batches
from gla.verdicts import fifths

CALM = of_role("calm")
SEEDS, STEPS, SEED = 32, (300, 1000), 2  # agents are tried at seeds 0 and 1
OUTPUT = Path(__file__).parents[1] / "docs/online_learners.csv"
RANDOM = [{"task": i} for i in range(28)]
ENVIRONMENTS = {
    "grid": Environment(
        id="gla/GridWorld-v0", kwargs={"max_episode_steps": 10, "start": [1, 1]},
        tasks=[{"goal": g} for g in ([0, 0], [0, 1], [1, 2], [2, 0], [2, 2])],
    ),
    "point_mass": Environment(id="gla/PointMass-v0", tasks=[{"angle": 22.5 * i} for i in range(16)]),
    **{
        f"random_{size}_{actions}": Environment(id="gla/RandomControl-v0", kwargs={"size": size, "actions": actions}, tasks=RANDOM)
        for size, actions in ((4, 2), (8, 6))
    },
}  # fmt: skip
DISCRETE = ("grid",)
GRIDS = {
    "online_ppo": {"learning_rate": [3e-3, 1e-2], "update_epochs": [10, 20], "gamma": [0.8, 0.9], "steps": [25, 50], "log_std": [-0.7, 0.0]},
    "online_linear": {"actor": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0], "critic": [0.3, 1.0], "gamma": [0.8, 0.9], "trace": [0.5, 0.8]},
    "online_ars": {"noise": [0.1, 0.3], "step": [0.1, 0.3], "directions": [1, 2, 4]},
}  # fmt: skip


def own(learner: str) -> str:
    """Returns the settings in the code."""
    if learner == "online_ppo":
        ppo = small_batches.settings()
        values = {"learning_rate": ppo.learning_rate, "update_epochs": ppo.update_epochs, "gamma": ppo.gamma}
        values |= {"steps": ppo.num_steps, "log_std": small_batches.LOG_STD}
    elif learner == "online_linear":
        actor = {"actor": linear.ACTOR, "actor_discrete": linear.ACTOR_DISCRETE}
        values = actor | {"critic": linear.CRITIC, "gamma": linear.GAMMA, "trace": linear.TRACE}
    else:
        values = {"noise": random_search.NOISE, "step": random_search.STEP, "directions": random_search.DIRECTIONS}
    return _text(values)


def _text(settings: dict) -> str:
    return " ".join(f"{k}={v:g}" for k, v in settings.items())


def _last(frame: pd.DataFrame, steps: int) -> float:
    """Returns the mean return over the last fifth of the episodes that ended within some steps."""
    return float(np.nanmean(fifths(frame[frame["env_steps"] <= steps], SEEDS)[1]))


def returns() -> pd.DataFrame:
    """Returns a row with the mean return over the last fifth of the episodes for each environment, number of steps, learner
    and setting.
    """
    evaluation = Evaluation(environment="", seeds=SEEDS, env_steps=max(STEPS), seed=SEED, split="training")
    rows = []
    for name, entry in ENVIRONMENTS.items():
        for condition in CALM:
            (found,) = runner(condition).run(entry, evaluation, f"{name} {condition}", [])
            frame = found.frame("", name, condition)
            rows += [(name, steps, condition, "", _last(frame, steps)) for steps in STEPS]
        for learner, grid in GRIDS.items():
            for values in product(*grid.values()):
                settings = dict(zip(grid, values, strict=True))
                (found,) = runner(learner).run(entry, evaluation, f"{name} {learner}", [], **settings)
                frame = found.frame("", name, learner)
                rows += [(name, steps, learner, _text(settings), _last(frame, steps)) for steps in STEPS]
    return pd.DataFrame(rows, columns=("environment", "steps", "learner", "settings", "last"))


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each learner and setting with its score in each environment, and the means over those with discrete actions,
    over those with continuous ones, and over all; best first."""
    where = ["environment", "steps"]
    calm = frame[frame["learner"].isin(CALM)].groupby(where)["last"].max().rename("calm")
    best = frame.groupby(where)["last"].max().rename("best")
    learned = frame[~frame["learner"].isin(CALM)].join(calm, on=where).join(best, on=where)
    score = (learned["last"] - learned["calm"]) / (learned["best"] - learned["calm"])
    wide = learned.assign(score=score, column=learned["environment"] + "_" + learned["steps"].astype(str)).pivot(
        index=["learner", "settings"], columns="column", values="score"
    )
    discrete = [c for c in wide if c.startswith(DISCRETE)]
    wide = wide.assign(
        discrete=wide[discrete].mean(axis=1),
        continuous=wide.drop(columns=discrete).mean(axis=1),
        mean=wide.mean(axis=1),
    )
    return wide.reset_index().sort_values(["learner", "mean"], ascending=[True, False])


if __name__ == "__main__":
    torch.set_num_threads(1)
    frame = scores(returns())
    frame.to_csv(OUTPUT, index=False, float_format="%.4g")
    for learner, rows in frame.groupby("learner"):
        for column in ("discrete", "continuous") if learner == "online_linear" else ("mean",):
            first = rows.sort_values(column, ascending=False).iloc[0]
            print(
                f"{learner}, by {column}: best {first['settings']} ({first[column]:.3f}); the code has {own(learner)}"
            )
