"""Is it the same algorithm as Stable-Baselines3's PPO?

Runs both with the same hyper-parameters, batches and number of streams for the same number of
steps, and compares the mean training return of each lifetime's last fifth. Equivalence is tested
by two one-sided Welch t-tests (Schuirmann, 1987) against a margin of 10 % of the way from the
first returns to the last. Writes docs/ppo_agreement.csv.

    python benchmarks/ppo_agreement.py [--environment Reacher-v4] [--lifetimes 8] [--steps 102400]
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from table import put_row

from gla.environments.making import make
from gla.environments.returns import ReturnTracker
from gla.learners.ppo import PPO, Population
from gla.progress import Progress

TABLE = Path(__file__).parents[1] / "docs" / "ppo_agreement.csv"
# HalfCheetah is not among them: its lifetimes deviate by 859 (docs/ppo_reference.csv), so that the margin, there about
# 230, would need a hundred of each.
ENVIRONMENTS = ("Reacher-v4", "InvertedPendulum-v5", "Pusher-v5")
STREAMS, STEPS = 8, 128


def ours(env_id: str, updates: int, lifetimes: int) -> list[list[tuple[int, float]]]:
    """Returns, for each lifetime, (update, return) of every finished episode."""
    ppo = PPO(num_updates=updates, num_steps=STEPS)
    population, tracker = (
        Population(ppo, env_id, {}, [], range(lifetimes), STREAMS, seed=2),
        ReturnTracker(lifetimes, STREAMS),
    )
    progress, episodes = Progress(f"ours {env_id}", updates, "updates"), [[] for _ in range(lifetimes)]
    for u in range(updates):
        rollout = population.collect()
        for k, ended in enumerate(tracker.add(rollout.reward, rollout.terminated | rollout.truncated)):
            episodes[k] += [(u, x) for x in ended]
        population.improve(rollout)
        progress.advance(1)
    population.close()
    return episodes


def theirs(env_id: str, updates: int, lifetimes: int) -> list[list[tuple[int, float]]]:
    """Returns the same from Stable-Baselines3."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    from stable_baselines3 import PPO as SB3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    class Record(BaseCallback):
        def __init__(self, into):
            super().__init__()
            self.into = into

        def _on_step(self) -> bool:
            update = (self.num_timesteps - 1) // (STREAMS * STEPS)
            self.into += [(update, i["episode"]["r"]) for i in self.locals["infos"] if "episode" in i]
            return True

    progress, episodes = Progress(f"Stable-Baselines3 {env_id}", lifetimes, "lifetimes", every=0), []
    for k in range(lifetimes):
        envs = VecNormalize(DummyVecEnv([lambda: Monitor(make(env_id)) for _ in range(STREAMS)]), gamma=0.99)
        model = SB3(
            "MlpPolicy", envs, learning_rate=lambda left: 3e-4 * left, n_steps=STEPS,
            batch_size=STREAMS * STEPS // 32, n_epochs=10, gamma=0.99, gae_lambda=0.95, clip_range=0.2,
            clip_range_vf=0.2, ent_coef=0.0, vf_coef=0.5 * 0.5, max_grad_norm=0.5, seed=1000 + k, device="cpu",
            policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh},
        )  # vf_coef: its value loss has no factor 1/2  # fmt: skip
        episodes.append([])
        model.learn(updates * STREAMS * STEPS, callback=Record(episodes[-1]))
        envs.close()
        progress.advance(1)
    return episodes


def fifth(episodes: list[tuple[int, float]], updates: int, last: bool) -> float:
    """Returns the mean return of the episodes that ended in the first or last fifth of the updates."""
    return float(np.mean([x for u, x in episodes if (u >= 0.8 * updates if last else u < 0.2 * updates)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", choices=ENVIRONMENTS, action="append", help="one of them (default: all)")
    parser.add_argument("--lifetimes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=102_400, help="steps of a lifetime")
    options = parser.parse_args()
    torch.set_num_threads(1)
    updates = options.steps // (STREAMS * STEPS)
    for env_id in options.environment or ENVIRONMENTS:
        runs = [f(env_id, updates, options.lifetimes) for f in (ours, theirs)]
        a, b = ([fifth(e, updates, True) for e in run] for run in runs)
        start = np.mean([fifth(e, updates, False) for run in runs for e in run])
        margin = 0.1 * abs(np.mean(b) - start)
        low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.90)
        row = {
            "environment": env_id,
            "steps": updates * STREAMS * STEPS,
            "lifetimes": options.lifetimes,
            "ours": round(np.mean(a), 2),
            "ours_deviation": round(np.std(a, ddof=1), 2),
            "stable_baselines3": round(np.mean(b), 2),
            "stable_baselines3_deviation": round(np.std(b, ddof=1), 2),
            "difference_low": round(low, 2),
            "difference_high": round(high, 2),
            "margin": round(margin, 2),
            "equivalent": bool(-margin < low and high < margin),
            "p_of_no_difference": round(float(stats.ttest_ind(a, b, equal_var=False).pvalue), 3),
        }
        put_row(TABLE, row)


if __name__ == "__main__":
    main()
