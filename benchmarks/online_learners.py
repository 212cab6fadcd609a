"""Which settings do the online learners have? Chosen here, on environments that agents are trained on, and nowhere else.

Every combination of a few values is run for a thousand steps, 32 seeds, in five training environments: a hidden goal in a
grid and in the plane, and random control of three sizes. An environment's score is 0 at the better of random and zero action
and 1 at the best of all learners and settings there; the setting with the highest mean is the one that ``gla.learners`` has.
Writes docs/online_learners.csv, and says where a chosen setting is not the one in the code. A quarter of an hour on one core.

    python benchmarks/online_learners.py
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gla.config import CALM, Environment, Evaluation
from gla.evaluate import run_online, run_simple
from gla.learners import linear, ppo, random_search
from gla.verdicts import fifths

SEEDS, STEPS, SEED = 32, 1000, 2  # agents are tried at seeds 0 and 1
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
        for size, actions in ((2, 1), (4, 2), (8, 6))
    },
}  # fmt: skip
GRIDS = {
    "online_ppo": {"learning_rate": [1e-3, 3e-3, 1e-2], "epochs": [5, 10, 20], "gamma": [0.9, 0.97], "steps": [25, 50]},
    "online_linear": {"actor": [0.03, 0.1, 0.3, 1.0], "critic": [0.1, 0.3], "gamma": [0.9, 0.97], "trace": [0.8, 0.95]},
    "online_ars": {"noise": [0.1, 0.3, 1.0], "step": [0.1, 0.3, 1.0], "directions": [1, 2]},
}  # fmt: skip


def own(learner: str) -> dict:
    """The settings that the code has."""
    if learner == "online_ppo":
        return {key: getattr(ppo.settings(), key) for key in GRIDS[learner]}
    if learner == "online_linear":
        return {"actor": linear.ACTOR, "critic": linear.CRITIC, "gamma": linear.GAMMA, "trace": linear.TRACE}
    return {"noise": random_search.NOISE, "step": random_search.STEP, "directions": random_search.DIRECTIONS}


def returns() -> pd.DataFrame:
    """A row for each environment, learner and setting: the mean return over the last fifth of the episodes."""
    evaluation = Evaluation(environment="", seeds=SEEDS, steps=STEPS, seed=SEED, split="training")
    rows = []
    for name, entry in ENVIRONMENTS.items():
        for condition in CALM:
            last = fifths(run_simple(entry, evaluation, condition).frame("", name, condition), SEEDS)[1]
            rows.append((name, condition, "", np.nanmean(last)))
        for learner, grid in GRIDS.items():
            for values in product(*grid.values()):
                settings = dict(zip(grid, values, strict=True))
                frame = run_online(entry, evaluation, learner, f"{name} {learner}", **settings).frame("", name, learner)
                text = " ".join(f"{k}={v:g}" for k, v in settings.items())
                rows.append((name, learner, text, np.nanmean(fifths(frame, SEEDS)[1])))
    return pd.DataFrame(rows, columns=("environment", "learner", "settings", "last"))


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each learner and setting with its score in each environment and their mean, best first."""
    calm = frame[frame["learner"].isin(CALM)].groupby("environment")["last"].max()
    best = frame.groupby("environment")["last"].max()
    learned = frame[~frame["learner"].isin(CALM)]
    score = (learned["last"] - learned["environment"].map(calm)) / learned["environment"].map(best - calm)
    wide = learned.assign(score=score).pivot(index=["learner", "settings"], columns="environment", values="score")
    return wide.assign(mean=wide.mean(axis=1)).reset_index().sort_values(["learner", "mean"], ascending=[True, False])


if __name__ == "__main__":
    torch.set_num_threads(1)
    frame = scores(returns())
    frame.to_csv(OUTPUT, index=False, float_format="%.4g")
    for learner, rows in frame.groupby("learner"):
        now = " ".join(f"{k}={v:g}" for k, v in own(learner).items())
        print(f"{learner}: best {rows['settings'].iloc[0]} ({rows['mean'].iloc[0]:.3f}); the code has {now}")
