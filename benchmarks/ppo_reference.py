"""Does PPO reach published returns at equal steps?

Runs a population per environment with CleanRL's recipe (batches of 2,048 steps, 10 epochs of 32
minibatches) and writes one row per environment to docs/ppo_reference.csv: the mean training return
over the last 5 % of the steps, its standard deviation over lifetimes, and the published figure.

    python benchmarks/ppo_reference.py [--environment HalfCheetah-v4] [--lifetimes 5]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from table import put_row

from gla.environments.returns import ReturnTracker
from gla.learners.ppo import PPO, Population
from gla.progress import Progress

TABLE = Path(__file__).parents[1] / "docs" / "ppo_reference.csv"
# Steps, and the return and its deviation that CleanRL's documentation publishes for
# ppo_continuous_action.py (docs.cleanrl.dev/rl-algorithms/ppo, "Experiment results").
PUBLISHED = {
    "HalfCheetah-v4": (1_000_000, 1442.64, 46.03),
    "dm_control/cartpole-balance-v0": (1_000_000, 855.0, None),
    "dm_control/cartpole-swingup-v0": (1_000_000, 641.0, None),
    "Reacher-v4": (8_000_000, -4.65, 0.96),
}


def run(env_id: str, steps: int, lifetimes: int, streams: int = 8, batch: int = 2048) -> pd.Series:
    """Returns the mean return of each update, averaged over the last 5 % of the updates, for each lifetime."""
    updates = steps // batch
    ppo = PPO(num_updates=updates, num_steps=batch // streams)
    population = Population(ppo, env_id, {}, [], range(lifetimes), streams, seed=1)
    tracker, progress = ReturnTracker(lifetimes, streams), Progress(env_id, updates * batch * lifetimes, "steps")
    curve: list[list[list[float]]] = []
    for _ in range(updates):
        rollout = population.collect()
        curve.append(tracker.add(rollout.reward, rollout.terminated | rollout.truncated))
        population.improve(rollout)
        recent = [x for update in curve[-10:] for lifetime in update for x in lifetime]
        progress.advance(batch * lifetimes, f"mean return {np.mean(recent):.2f}" if recent else "")
    population.close()
    last = curve[-max(1, updates // 20) :]
    return pd.Series([np.mean([x for update in last for x in update[k]]) for k in range(lifetimes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", choices=PUBLISHED, action="append", help="one of them (default: all)")
    parser.add_argument("--lifetimes", type=int, default=5)
    parser.add_argument("--steps", type=int, help="steps of a lifetime (default: as published)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for env_id in options.environment or PUBLISHED:
        published_steps, published, deviation = PUBLISHED[env_id]
        steps = options.steps or published_steps
        returns = run(env_id, steps, options.lifetimes)
        row = {
            "environment": env_id,
            "steps": steps,
            "lifetimes": options.lifetimes,
            "return": round(returns.mean(), 2),
            "deviation": round(returns.std(), 2),
            "lowest": round(returns.min(), 2),
            "highest": round(returns.max(), 2),
            "published_steps": published_steps,
            "published_return": published,
            "published_deviation": deviation,
        }
        put_row(TABLE, row)


if __name__ == "__main__":
    main()
