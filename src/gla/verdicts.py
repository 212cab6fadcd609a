"""Does an agent learn from reward? One row for each agent and evaluation, by a rule fixed before the runs.

Of every network in every test seed: *first episode* is its return there, *first* and *last* are its mean returns over the
first and the last fifth of its episodes. A *control* is the same network in the same seed with its rewards hidden or
shuffled. All tests are one-sided, paired by network and seed, at 2.5 %, over training and test seeds
(``gla.statistics.crossed_test``). What is said of one network is said of that network alone.

Second version, column ``verdict``:

- ``learns from reward``: the last fifth is above the agent's own first episode, above every control's last fifth, and rises by
  more above its first episode than every control does above the control's own. The largest of these probabilities, Holm-corrected
  over all rows of the same split, is below 2.5 %. An agent that is done within the first fifth passes; one that ends below its
  control does not, however much the control fell.
- ``controls harmed``: all of that holds, but every control was shown to end below its own first episode. The strange rewards
  may have harmed the controls, rather than the lack of true ones, so that no conclusion is drawn.
- ``improves without reward``: the last fifth is above the first episode (uncorrected), and something else of the above does not hold.
- ``does not improve``: the last fifth is not shown to be above the first episode.
- ``no control``: it is, and no control was run, or rewards never differ, so that neither hiding nor shuffling them takes anything away.
- ``too few episodes``: fewer than half of the test seeds finished an episode with every network in every condition.
  Column ``seeds_by_condition`` says how many did, of each condition and baseline.

First version, column ``verdict_v1``, kept to compare with: the *gain* is the last fifth minus the first, and the *excess* over a
control is the gain minus the control's. ``learns from reward``: the gain's interval lies above 0, and so does the excess over every
control. ``improves without reward``: the gain's does, and the excess over some control does not.
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
from gla.statistics import crossed_mean, crossed_test, holm, iqm, resampled, seeds_interval

CONTROLS, ABLATIONS, CALM, ONLINE = of_role("control"), of_role("ablation"), of_role("calm"), of_role("online")
LEARNING = (*ONLINE, *of_role("history"))  # baselines that change as they act
ENDS = (*of_role("reference"), *of_role("source"))  # what a score of 1 stands for: the first of them that was run
LEVEL = 0.025
RESAMPLES = 2000
COLUMNS = (
    "agent", "environment", "evaluation", "split", "verdict", "verdict_v1", "p_value", "p_holm", "first_episode", "first", "last",
    "last_low", "last_high", "gain", "gain_low", "gain_high", "control_gain", "control_last", "controls_harmed", "excess_low",
    *ABLATIONS, *CALM, *LEARNING, *of_role("source", "reference"), "best_online", "best_online_last", "beats_online",
    "beats_online_low", "beats_online_high", "normalised_score", "score_low", "score_high", "score_above_calm",
    "score_above_calm_low", "score_above_calm_high", "below_zero_action", "data_efficiency", "training_seeds", "seeds",
    "fewest_episodes", "seeds_by_condition",
)  # fmt: skip


def _matrix(frame: pd.DataFrame, seeds: int, statistic, networks: int | None = None) -> np.ndarray:
    """(R, seeds): a statistic of each seed's returns in order, NaN where it finished no episode. networks: R, or as many as there
    are in the frame."""
    result = np.full((networks or int(frame["training_seed"].max() if len(frame) else 0) + 1, seeds), np.nan)
    for (network, seed), own in frame.sort_values("episode").groupby(["training_seed", "seed"]):
        result[network, seed] = statistic(own["episode_return"].to_numpy())
    return result


def _first_fifth(returns: np.ndarray) -> float:
    return returns[: max(1, len(returns) // 5)].mean()


def _last_fifth(returns: np.ndarray) -> float:
    return returns[-max(1, len(returns) // 5) :].mean()


def fifths(frame: pd.DataFrame, seeds: int, networks: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean returns over the first and the last fifth of the episodes (at least one), (R, seeds) each.

    frame: rollouts of one condition. seeds, networks: how many there are. NaN where no episode was finished.
    """
    return _matrix(frame, seeds, _first_fifth, networks), _matrix(frame, seeds, _last_fifth, networks)


def verdict_v1(gain_low: float, excess_low: list[float]) -> str:
    """The first version's rule."""
    if not gain_low > 0:
        return "does not improve"
    if not excess_low:
        return "no control"
    return "learns from reward" if all(x > 0 for x in excess_low) else "improves without reward"


def probability(
    first: np.ndarray, last: np.ndarray, controls: Mapping[str, tuple[np.ndarray, np.ndarray]], tasks: int
) -> float:
    """The probability of the second version's claim before any correction: the largest of its tests' probabilities. NaN if there is
    no control, or if one of the tests could not be made.

    first, last: (R, S), first episode and last fifth. controls: the same of each control.
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
    """Whether a control was shown to end below its own first episode."""
    return bool(crossed_test(first - last, tasks) < LEVEL)


def verdict(p_holm: float, p_improves: float, controls_harmed: int, controls: int) -> str:
    """The second version's rule, from the corrected probability of its claim, that of the last fifth's being above the
    first episode, and how many of the controls are harmed."""
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


def normalised_score(
    last: np.ndarray, random: np.ndarray, best: np.ndarray, tasks: int, seed: int = 0
) -> tuple[float, float, float]:
    """The interquartile mean of ``normalised`` returns, and its bootstrap interval (Agarwal et al., 2021).

    All three are resampled (``gla.statistics.resampled``), so that the interval holds the references' uncertainty. NaN where a seed
    finished no episode; an interval is NaN where a reference is above random actions in no more than 39 of 40 resamples.
    """
    score = iqm(normalised(last, random, best, tasks).reshape(-1))
    rng, drawn = np.random.default_rng(seed), []
    for values in (last, random, best):
        rows, columns = resampled(values.shape, tasks, RESAMPLES, rng)
        drawn.append(values[rows[:, :, None], columns[:, None, :]])
    scores = normalised(*drawn, tasks)
    scores = scores[np.isfinite(scores).all((1, 2))].reshape(-1, last.size)
    if not np.isfinite(score) or len(scores) <= (1 - LEVEL) * RESAMPLES:
        return float(score), np.nan, np.nan
    return float(score), *np.quantile(iqm(scores), [LEVEL, 1 - LEVEL])


def score_above_calm(
    last: np.ndarray, calm: list[np.ndarray], best: np.ndarray, tasks: int, seed: int = 0
) -> tuple[float, float, float]:
    """(x - calm) / (reference - calm) of mean returns, and its bootstrap interval; calm is the better of random and zero action.

    last, best: (R, S) of the agent and of the reference's runs, or (1, S) of its source's end where no reference is run. calm: (1, S) each. All of them are resampled, runs and seeds
    (``gla.statistics.resampled``). NaN where the reference is not above calm; an interval is NaN where it is not in more than
    one resample of forty.
    """
    better = max((x for x in calm if np.isfinite(x).any()), key=np.nanmean)
    values = _above(better, [last, better, best], tasks)
    x, low, high = (float(np.nanmean(v)) for v in values)
    if not high > low:
        return np.nan, np.nan, np.nan
    means = _resampled_means(values, tasks, seed)
    spans = means[2] - means[1]
    bounds = (np.nan, np.nan)
    if (spans > 0).mean() > 1 - LEVEL:
        scores = (means[0] - means[1])[spans > 0] / spans[spans > 0]
        bounds = tuple(np.quantile(scores, [LEVEL, 1 - LEVEL]))
    return (x - low) / (high - low), *bounds


def data_efficiency(frame: pd.DataFrame, last: float, references: list[str]) -> float:
    """Steps that the reference's learner took to the agent's last return, over the agent's steps to it.

    The agent's are those at which its mean return over seeds first is ``last``. The reference learns from large batches: a learner
    of few steps is ``best_online``. NaN where the reference's mean never reaches it.
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
    """Everything of one agent in one evaluation but what depends on the other rows."""
    seeds, tasks, networks = one["seeds"], one["tasks"], one["agents"][name]
    # Of every condition that was run, whether or not an episode ended there.
    frames = {c: own[own["condition"] == c] for c in one["conditions"]}
    first = {c: _matrix(f, seeds, lambda returns: returns[0], networks) for c, f in frames.items()}
    fifth = {c: fifths(f, seeds, networks) for c, f in frames.items()}
    gains = {c: last - start for c, (start, last) in fifth.items()}
    finished = np.isfinite([last for _, last in fifth.values()]).all((0, 1))  # by test seed
    ended = {c: last for c, (_, last) in fifth.items()} | baseline
    baseline = {
        c: x for c, x in baseline.items() if np.isfinite(x).any()
    }  # beside one without any episode nothing can stand
    last, gain = fifth["agent"][1], seeds_interval(gains["agent"], tasks)
    run = [c for c in CONTROLS if c in frames]
    told = run if own["rewards_vary"].any() else []  # rewards that never differ are not missed
    excess = [seeds_interval(gains["agent"] - gains[c], tasks).low for c in run]
    row = {
        "agent": name, "environment": own["environment"].iloc[0] if len(own) else "", "evaluation": one["name"], "split": one["split"],
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
    if (
        row.get("score_above_calm_low", np.nan) > 0
    ):  # one that is not shown to end above doing nothing has reached nothing early
        row["data_efficiency"] = data_efficiency(frames["agent"], row["last"], one["references"])
    return row


def _mean(values: np.ndarray) -> float:
    """The mean of what is there."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _above(zero: np.ndarray, values: list[np.ndarray], tasks: int) -> list[np.ndarray]:
    """(R, S) values less the mean of ``zero`` in the same task, so that a missing seed does not count for its task's difficulty;
    NaN in a seed that any network or run misses."""
    offset = np.array([np.nanmean(zero[:, k::tasks]) for k in range(tasks)])
    return [np.where(np.isfinite(v).all(0), v - offset[np.arange(v.shape[1]) % tasks], np.nan) for v in values]


def _resampled_means(values: list[np.ndarray], tasks: int, seed: int = 0) -> list[np.ndarray]:
    """Means of bootstrap resamples of each, (RESAMPLES,), drawn apart from each other."""
    rng, means = np.random.default_rng(seed), []
    for v in values:
        rows, columns = resampled(v.shape, tasks, RESAMPLES, rng)
        means.append(np.nanmean(v[rows[:, :, None], columns[:, None, :]], (1, 2)))
    return means


def rows_of(one: Mapping[str, Any], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of one evaluation's agents, less what depends on other evaluations."""
    own = frame[frame["agent"] == "baseline"]
    baseline = {
        # Of every one that was run, whether or not an episode ended there. Learners change as they go; the others do not, and all
        # their episodes count.
        c: _matrix(own[own["condition"] == c], one["seeds"], _last_fifth if c in LEARNING else np.mean)
        for c in sorted(one["baselines"])
    }
    if "agent" not in one["conditions"]:
        return []
    return [_row(name, frame[frame["agent"] == name], baseline, one) for name in one["agents"]]


def table(evaluations: list[dict], path: str | Path) -> None:
    """Write the CSV. evaluations: for each its ``name``, ``split``, ``seeds``, ``tasks`` (how many its split has), ``agents`` (how
    many networks each has), ``conditions``, ``baselines``, and the paths of its ``rollouts`` and of the descriptions of its ``references``."""
    frame = judge([(one, read_evaluation(one["rollouts"], one["seeds"])) for one in evaluations])
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")


def judge(evaluations: list[tuple[dict, pd.DataFrame]]) -> pd.DataFrame:
    """The table of evaluations, as in ``table``, with the rollouts of each in the place of their paths."""
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
