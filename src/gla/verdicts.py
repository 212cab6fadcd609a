"""Does an agent learn from reward? One row for each agent and evaluation, by a rule fixed beforehand.

- *first* and *last* are a seed's mean returns over the first and the last fifth of its episodes; its
  *gain* is their difference. Intervals are Student's t over seeds at 95 %, stratified by task.
- A *control* is the same agent, seed by seed, with its rewards hidden or shuffled. The *excess* over a
  control is the agent's gain minus the control's, paired by seed.

``learns from reward``: the gain's interval lies above 0, and so does the excess over every control.
``improves without reward``: the gain's interval lies above 0, the excess over some control does not.
``does not improve``: the gain's interval reaches 0 or lies below. ``no control``: the gain's does not,
and no control was run.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from gla.evaluate import read_rows
from gla.files import atomic, read_json
from gla.statistics import bootstrap_interval, iqm, mean_interval

CONTROLS = ("rewards_hidden", "rewards_shuffled")
BASELINES = ("random", "zero_action", "ppo", "ppo_final")
COLUMNS = (
    "agent", "environment", "evaluation", "verdict", "first", "last", "gain", "gain_low", "gain_high", "control_gain",
    "excess_low", "context_wiped", *BASELINES, "normalised_score", "score_low", "score_high", "below_zero_action",
    "data_efficiency", "seeds",
)  # fmt: skip


def fifths(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Each seed's mean return over the first and the last fifth of its episodes (at least one), (seeds,) each.

    NaN for a seed that finished no episode.
    """
    count = int(frame["seed"].max()) + 1
    first, last = np.full(count, np.nan), np.full(count, np.nan)
    for seed, own in frame.sort_values("episode").groupby("seed"):
        returns = own["episode_return"].to_numpy()
        n = max(1, len(returns) // 5)
        first[seed], last[seed] = returns[:n].mean(), returns[-n:].mean()
    return first, last


def verdict(gain_low: float, excess_low: list[float]) -> str:
    """The rule above."""
    if not gain_low > 0:
        return "does not improve"
    if not excess_low:
        return "no control"
    return "learns from reward" if all(x > 0 for x in excess_low) else "improves without reward"


def normalised(last: np.ndarray, random: np.ndarray, best: np.ndarray, tasks: int) -> np.ndarray:
    """(x - random) / (PPO - random) by seed, the references averaged over the seeds of its task."""
    task = np.arange(len(last)) % tasks
    low, high = (np.array([x[np.arange(len(x)) % tasks == k].mean() for k in range(tasks)]) for x in (random, best))
    span = np.where(high > low, high - low, np.nan)
    return (last - low[task]) / span[task]


def data_efficiency(frame: pd.DataFrame, last: float, digests: list[str]) -> float:
    """Steps that a source stream's lifetime took to the agent's last return, over the agent's steps to it.

    The agent's are those at which its mean return over seeds first is ``last``. NaN where the sources'
    mean never reaches it.
    """
    bodies = [read_json(path) for path in digests]
    curves = np.array([[np.nan if x is None else x for x in row] for b in bodies for row in b["mean_return"]])
    curve = pd.DataFrame(curves).mean().ffill().to_numpy()
    reached = np.flatnonzero(curve >= last)
    mean = frame.groupby("episode")[["episode_return", "env_steps"]].mean()
    own = mean.loc[mean["episode_return"] >= last, "env_steps"]
    if not len(reached) or own.empty:
        return np.nan
    return float((reached[0] + 1) * bodies[0]["streams"] * bodies[0]["steps_per_update"] / own.iloc[0])


def table(evaluations: list[dict], path: str | Path) -> None:
    """Write the CSV. evaluations: for each its ``name``, ``tasks`` (how many the environment has), and the
    paths of its ``rollouts`` and of the ``digests`` of its environment's histories."""
    rows = []
    for one in evaluations:
        frame = pd.concat([read_rows(p) for p in one["rollouts"]], ignore_index=True)
        tasks, environment = one["tasks"], frame["environment"].iloc[0]
        baseline = {
            # PPO changes as it goes; the others do not, and all their episodes count.
            c: fifths(own)[1] if c == "ppo" else own.groupby("seed")["episode_return"].mean().to_numpy()
            for c, own in frame[frame["agent"] == "baseline"].groupby("condition")
        }
        agents = frame[frame["agent"] != "baseline"]
        for name, own in agents.groupby("agent", sort=False):
            parts = {c: fifths(rows) for c, rows in own.groupby("condition")}
            if "agent" not in parts:
                continue
            gains = {c: last - first for c, (first, last) in parts.items()}
            first, last = parts["agent"]
            gain = mean_interval(gains["agent"], tasks)
            controls = [c for c in CONTROLS if c in gains]
            excess = [mean_interval(gains["agent"] - gains[c], tasks).low for c in controls]
            score = np.full(len(last), np.nan)
            if {"random", "ppo_final"} <= set(baseline):
                score = normalised(last, baseline["random"], baseline["ppo_final"], tasks)
            row = {
                "agent": name, "environment": environment, "evaluation": one["name"],
                "verdict": verdict(gain.low, excess), "first": first.mean(), "last": last.mean(),
                "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high,
                "control_gain": max((gains[c].mean() for c in controls), default=np.nan),
                "excess_low": min(excess, default=np.nan),
                "seeds": len(last),
            }  # fmt: skip
            if "context_wiped" in parts:
                row["context_wiped"] = parts["context_wiped"][1].mean()
            row |= {c: baseline[c].mean() for c in BASELINES if c in baseline}
            row |= zip(("normalised_score", "score_low", "score_high"), bootstrap_interval(score, iqm, tasks), strict=True)
            if "zero_action" in baseline:
                row["below_zero_action"] = int((last < baseline["zero_action"].mean()).sum())
            row["data_efficiency"] = data_efficiency(own[own["condition"] == "agent"], last.mean(), one["digests"])
            rows.append(row)
    with atomic(path) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False, float_format="%.6g")
