"""Does an agent learn from reward? One row for each agent and evaluation, by a rule fixed before the runs.

All quantities are those of one network in one test seed. *First episode* is the return of its first episode; *first* and *last* are
its mean returns over the first and the last fifth of its episodes. A *control* is the same network in
the same seed with its rewards hidden or shuffled. All tests are one-sided, paired by network and seed, at 2.5 %, over
training and test seeds (``gla.statistics.crossed_test``). If there is only one network, a verdict is about that network
alone.

Second version, column ``verdict``:

- ``learns from reward``: the last fifth is above the agent's own first episode, above every control's last fifth, and rises by
  more above its first episode than every control does above the control's own. The largest probability of these tests,
  Holm-corrected over all rows of the same split, is below 2.5 %. An agent that has learned everything within the first fifth
  passes; one that ends below a control does not, no matter how much that control fell.
- ``controls harmed``: all of that holds, but every control was shown to end below its own first episode. The unusual rewards, rather
  than the lack of true rewards, may have harmed the controls, so that no conclusion is drawn.
- ``improves without reward``: the last fifth is above the first episode (uncorrected), and another of these conditions does not hold.
- ``does not improve``: the last fifth is not shown to be above the first episode.
- ``no control``: the last fifth is shown to be above the first episode, but no control was run, or rewards never differ, so that
  neither hiding nor shuffling them takes anything away.
- ``too few episodes``: fewer than half of the test seeds finished an episode with every network in every condition.
  Column ``seeds_by_condition`` has the number of test seeds that did, for each condition and baseline.

First version, column ``verdict_v1``, kept for comparison: the *gain* is the last fifth minus the first, and the *excess* over
a control is the gain minus the gain of the control. ``learns from reward``: the intervals of the gain, and of the excess over
every control, lie above 0. ``improves without reward``: the interval of the gain lies above 0, and that of the excess over
some control does not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gla.conditions.roles import of_role
from gla.files import atomic, read_description
from gla.references import Curve
from gla.rows import read_evaluation
from gla.statistics import Interval, bootstrap_interval, crossed_mean, crossed_test, holm, iqm, seeds_interval

CONTROLS, ABLATIONS, CALM, ONLINE = of_role("control"), of_role("ablation"), of_role("calm"), of_role("online")
LEARNING = (*ONLINE, *of_role("history"))  # baselines that change as they act
ENDS = (*of_role("reference"), *of_role("source"))  # the baseline with a score of 1 is the first of these that was run
LEVEL = 0.025
COLUMNS = (
    "agent", "environment", "evaluation", "split", "set", "verdict", "verdict_v1", "p_value", "p_holm", "first_episode", "first", "last",
    "last_low", "last_high", "gain", "gain_low", "gain_high", "control_gain", "control_last", "controls_harmed", "excess_low",
    *ABLATIONS, *CALM, *LEARNING, *of_role("source", "reference"), "best_online", "best_online_last", "beats_online",
    "beats_online_low", "beats_online_high", "normalised_score", "score_low", "score_high", "score_above_calm",
    "score_above_calm_low", "score_above_calm_high", "below_zero_action", "data_efficiency", "training_seeds", "seeds",
    "fewest_episodes", "seeds_by_condition",
)  # fmt: skip


def _matrix(frame: pd.DataFrame, seeds: int, statistic, networks: int | None = None) -> np.ndarray:
    """Returns (R, seeds): a statistic of each seed's returns in order, NaN if it finished no episode. networks: R; by default
    the number of networks in the frame."""
    result = np.full((networks or int(frame["training_seed"].max() if len(frame) else 0) + 1, seeds), np.nan)
    ordered = frame[["training_seed", "seed", "episode", "episode_return"]].sort_values(
        ["training_seed", "seed", "episode"]
    )
    network, seed, returns = (ordered[column].to_numpy() for column in ("training_seed", "seed", "episode_return"))
    begins = np.flatnonzero((np.diff(network, prepend=-1) != 0) | (np.diff(seed, prepend=-1) != 0))
    for begin, own in zip(
        begins, np.split(returns, begins[1:]), strict=False
    ):  # without rows there is one part, and none begins
        result[network[begin], seed[begin]] = statistic(own)
    return result


def _first_fifth(returns: np.ndarray) -> float:
    return returns[: max(1, len(returns) // 5)].mean()


def _last_fifth(returns: np.ndarray) -> float:
    return returns[-max(1, len(returns) // 5) :].mean()


def fifths(frame: pd.DataFrame, seeds: int, networks: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean returns over the first and the last fifth of the episodes (at least one), (R, seeds) each.

    frame: rollouts of one condition. seeds, networks: their numbers. Values are NaN if no episode was finished.
    """
    return _matrix(frame, seeds, _first_fifth, networks), _matrix(frame, seeds, _last_fifth, networks)


def verdict_v1(gain_low: float, excess_low: list[float]) -> str:
    """Applies the rule of the first version."""
    if not gain_low > 0:
        return "does not improve"
    if not excess_low:
        return "no control"
    return "learns from reward" if all(x > 0 for x in excess_low) else "improves without reward"


def probability(
    first: np.ndarray, last: np.ndarray, controls: Mapping[str, tuple[np.ndarray, np.ndarray]], tasks: int
) -> float:
    """Returns the probability of the second version's claim before any correction: the largest probability of its tests. NaN
    if there is no control, or if one of the tests could not be made.

    first, last: (R, S), first episode and last fifth. controls: the same pair for each control.
    """
    if not controls:
        return np.nan
    differences = [last - first]
    for control_first, control_last in controls.values():
        differences += [last - control_last, (last - first) - (control_last - control_first)]
    return float(
        np.max([crossed_test(x, tasks) for x in differences])
    )  # NaN means that there was no test, and does not pass


def harmed(first: np.ndarray, last: np.ndarray, tasks: int) -> bool:
    """Returns whether a control was shown to end below its own first episode."""
    return bool(crossed_test(first - last, tasks) < LEVEL)


def verdict(p_holm: float, p_improves: float, controls_harmed: int, controls: int) -> str:
    """Applies the rule of the second version, given the corrected probability of its claim, the probability of the test that
    the last fifth is above the first episode, and how many of the controls are harmed."""
    if not p_improves < LEVEL:
        return "does not improve"
    if not controls:
        return "no control"
    if not p_holm < LEVEL:
        return "improves without reward"
    return "controls harmed" if controls_harmed == controls else "learns from reward"


def normalised(last: np.ndarray, random: np.ndarray, best: np.ndarray, tasks: int) -> np.ndarray:
    """(x - random) / (reference - random) of (..., R, S) returns; the two references (..., R', S) are averaged over each task.

    Seed s has task s % tasks. NaN in tasks whose reference is not above random actions.
    """
    task = np.arange(last.shape[-1]) % tasks
    low, high = (np.stack([x[..., k::tasks].mean((-2, -1)) for k in range(tasks)], -1) for x in (random, best))
    span = np.where(high > low, high - low, np.nan)
    return (last - low[..., None, task]) / span[..., None, task]


def normalised_score(last: np.ndarray, random: np.ndarray, best: np.ndarray, tasks: int) -> Interval:
    """Returns the interquartile mean of ``normalised`` returns, and its bootstrap interval (Agarwal et al., 2021).

    All three are resampled, so that the interval includes the uncertainty of the references. NaN if a seed finished no episode, or if a
    reference is not above random actions in a task.
    """

    def score(last: np.ndarray, random: np.ndarray, best: np.ndarray) -> np.ndarray:
        scores = normalised(last, random, best, tasks)
        scores = scores.reshape(*scores.shape[:-2], -1)
        return np.where(np.isfinite(scores).all(-1), iqm(scores), np.nan)

    return bootstrap_interval([last, random, best], score, tasks)


def score_above_calm(last: np.ndarray, calm: list[np.ndarray], best: np.ndarray, tasks: int) -> Interval:
    """Returns (x - calm) / (reference - calm) of mean returns, and its bootstrap interval. calm is the better of random and
    zero action.

    last, best: (R, S) of the agent and of the reference's runs, or (1, S) of the end of the source if there is no reference.
    calm: (1, S) each. The runs and seeds of all of them are resampled. The score is NaN if the reference is not above calm.
    """

    def score(*returns: np.ndarray) -> np.ndarray:
        x, low, high = (np.nanmean(v, (-2, -1)) for v in returns)
        return (x - low) / np.where(high > low, high - low, np.nan)

    better = max((x for x in calm if np.isfinite(x).any()), key=np.nanmean)
    return bootstrap_interval(_above(better, [last, better, best], tasks), score, tasks)


def data_efficiency(frame: pd.DataFrame, last: float, references: list[str]) -> float:
    """Returns the number of steps in which the reference's learner reached the agent's last return, divided by the agent's
    number of steps.

    The agent has reached it when its mean return over seeds is ``last`` for the first time. The reference learns from large batches;
    ``best_online`` is for learners that are made for few steps. NaN if the reference's mean never reaches this return.
    """
    bodies = [read_description(path, Curve) for path in references]
    curves = np.array([[np.nan if x is None else x for x in row] for b in bodies for row in b["mean_return"]])
    curve = pd.DataFrame(curves).mean().ffill().to_numpy()
    reached = np.flatnonzero(curve >= last)
    mean = frame.groupby("episode")[["episode_return", "env_steps"]].mean()
    own = mean.loc[mean["episode_return"] >= last, "env_steps"]
    if not len(reached) or own.empty:
        return np.nan
    return float((reached[0] + 1) * bodies[0]["num_envs"] * bodies[0]["steps_per_update"] / own.iloc[0])


def _row(name: str, own: pd.DataFrame, baseline: Mapping[str, np.ndarray], one: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all columns of one agent in one evaluation that do not depend on other rows."""
    seeds, tasks, networks = one["seeds"], one["tasks"], one["agents"][name]
    # All conditions that were run, even if no episode ended there.
    frames = {c: own[own["condition"] == c] for c in one["conditions"]}
    first = {c: _matrix(f, seeds, lambda returns: returns[0], networks) for c, f in frames.items()}
    fifth = {c: fifths(f, seeds, networks) for c, f in frames.items()}
    gains = {c: last - start for c, (start, last) in fifth.items()}
    finished = np.isfinite([last for _, last in fifth.values()]).all((0, 1))  # by test seed
    ended = {c: last for c, (_, last) in fifth.items()} | baseline
    baseline = {
        c: x for c, x in baseline.items() if np.isfinite(x).any()
    }  # baselines without any episode cannot be compared
    last, gain = fifth["agent"][1], seeds_interval(gains["agent"], tasks)
    run = [c for c in CONTROLS if c in frames]
    told = run if own["rewards_vary"].any() else []  # hiding rewards that never differ takes nothing away
    excess = [seeds_interval(gains["agent"] - gains[c], tasks).low for c in run]
    row = {
        "agent": name, "environment": own["environment"].iloc[0] if len(own) else "", "evaluation": one["name"], "split": one["split"], "set": one["set"],
        "verdict_v1": verdict_v1(gain.low, excess),
        "p_value": probability(first["agent"], last, {c: (first[c], fifth[c][1]) for c in told}, tasks),
        "p_improves": crossed_test(last - first["agent"], tasks),
        "first_episode": _mean(first["agent"]), "first": _mean(fifth["agent"][0]),
        "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high,
        "control_gain": max((_mean(gains[c]) for c in run), default=np.nan),
        "control_last": max((_mean(fifth[c][1]) for c in run), default=np.nan),
        "controls_harmed": sum(harmed(first[c], fifth[c][1], tasks) for c in told), "controls": len(told),
        "excess_low": min(excess, default=np.nan),
        "training_seeds": networks, "seeds": seeds, "enough": finished.sum() >= seeds / 2,
        "fewest_episodes": own.groupby(["condition", "training_seed", "seed"]).size().min() if finished.all() else 0,
    }  # fmt: skip
    row["seeds_by_condition"] = ", ".join(f"{c} {np.isfinite(x).all(0).sum()}" for c, x in ended.items())
    row |= zip(("last", "last_low", "last_high"), seeds_interval(last, tasks), strict=True)
    row |= {c: _mean(fifth[c][1]) for c in ABLATIONS if c in frames} | {c: _mean(x) for c, x in baseline.items()}
    if online := [c for c in ONLINE if np.isfinite(row.get(c, np.nan))]:
        best = max(online, key=lambda c: row[c])
        row |= {"best_online": best, "best_online_last": row[best]}
        names = ("beats_online", "beats_online_low", "beats_online_high")
        values = (crossed_mean(x, tasks) for x in _above(baseline[best], [last, baseline[best]], tasks))
        row |= zip(names, next(values).minus(next(values)).interval(), strict=True)
    end = next((c for c in ENDS if c in baseline), None)
    if "random" in baseline and end:
        score = normalised_score(last, baseline["random"], baseline[end], tasks)
        row |= zip(("normalised_score", "score_low", "score_high"), score, strict=True)
    if end and (calm := [baseline[c] for c in CALM if c in baseline]):
        names = ("score_above_calm", "score_above_calm_low", "score_above_calm_high")
        row |= zip(names, score_above_calm(last, calm, baseline[end], tasks), strict=True)
    if "zero_action" in baseline:
        (above,) = _above(baseline["zero_action"], [last], tasks)
        row["below_zero_action"] = int((above < 0).sum())
    if row.get("score_above_calm_low", np.nan) > 0:  # others are not shown to have reached anything, early or late
        row["data_efficiency"] = data_efficiency(frames["agent"], row["last"], one["references"])
    return row


def _mean(values: np.ndarray) -> float:
    """Returns the mean of the values that are not missing."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _above(zero: np.ndarray, values: list[np.ndarray], tasks: int) -> list[np.ndarray]:
    """Returns (R, S) values minus the mean of ``zero`` in the same task, so that a missing seed does not change the mean by
    the difficulty of its task. Values are NaN in a seed that any network or run lacks."""
    offset = np.array([_mean(zero[:, k::tasks]) for k in range(tasks)])
    return [np.where(np.isfinite(v).all(0), v - offset[np.arange(v.shape[1]) % tasks], np.nan) for v in values]


def rows_of(one: Mapping[str, Any], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the rows of one evaluation's agents, without columns that depend on other evaluations."""
    own = frame[frame["agent"] == "baseline"]
    baseline = {
        # All baselines that were run, even if no episode ended there. Learners change over their episodes; the others do not, so that all
        # their episodes count.
        c: _matrix(own[own["condition"] == c], one["seeds"], _last_fifth if c in LEARNING else np.mean)
        for c in sorted(one["baselines"])
    }
    if "agent" not in one["conditions"]:
        return []
    return [_row(name, frame[frame["agent"] == name], baseline, one) for name in one["agents"]]


def table(evaluations: list[dict], path: str | Path) -> None:
    """Writes the CSV. evaluations: for each its ``name``, ``split``, ``set``, ``seeds``, ``tasks`` (how many its split has),
    ``agents`` (how many networks each has), ``conditions``, ``baselines``, and the paths of its ``rollouts`` and of the
    descriptions of its ``references``."""
    frame = judge([(one, read_evaluation(one["rollouts"], one["seeds"])) for one in evaluations])
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")


def judge(evaluations: list[tuple[dict, pd.DataFrame]]) -> pd.DataFrame:
    """Returns the table. evaluations: pairs of an evaluation as in ``table`` and its rollouts."""
    frame = pd.DataFrame([row for one, rollouts in evaluations for row in rows_of(one, rollouts)])
    if not frame.empty:
        frame["p_holm"] = frame.groupby("split")["p_value"].transform(lambda p: holm(p.to_numpy()))
        frame["verdict"] = [
            verdict(r.p_holm, r.p_improves, r.controls_harmed, r.controls) if r.enough else "too few episodes"
            for r in frame.itertuples()
        ]
        frame.loc[frame["verdict"] != "learns from reward", "data_efficiency"] = (
            np.nan
        )  # nothing was learned, early or late
    return frame.reindex(columns=list(COLUMNS))
