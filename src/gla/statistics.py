"""Statistics of learning curves."""

from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean and its two-sided 95 % confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: np.ndarray, tasks: int = 1, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values, NaN left out.

    tasks: value i belongs to task i % tasks. Tasks are enumerated, not drawn, so what they differ by
    is no uncertainty: the sample is stratified, its variance is that within tasks (Cochran, 1977,
    Section 5.3), and its degrees of freedom are Welch's and Satterthwaite's. Where a task has fewer
    than two values, all count as one stratum. With one value the interval is that value, and with
    none it is NaN.
    """
    values = np.asarray(values, dtype=float)
    stratum = np.arange(len(values)) % tasks
    finite = np.isfinite(values)
    values, stratum = values[finite], stratum[finite]
    n = len(values)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if n == 1:
        return Interval(mean, mean, mean)
    groups = [values[stratum == s] for s in np.unique(stratum)]
    if min(len(g) for g in groups) < 2:
        groups = [values]
    parts = np.array([len(g) * g.var(ddof=1) / n**2 for g in groups])
    if not parts.any():
        return Interval(mean, mean, mean)
    freedom = parts.sum() ** 2 / sum(p**2 / (len(g) - 1) for p, g in zip(parts, groups, strict=True))
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom) * np.sqrt(parts.sum()))
    return Interval(mean, mean - half, mean + half)


def iqm(values: np.ndarray) -> float:
    """Interquartile mean of (n,) or, along the last axis, of (..., n): the mean without the lowest and highest
    quarter (Agarwal et al., 2021)."""
    return stats.trim_mean(values, 0.25, axis=-1)


def bootstrap_interval(
    values: np.ndarray, statistic, tasks: int = 1, confidence: float = 0.95, resamples: int = 5000, seed: int = 0
) -> Interval:
    """A statistic and its stratified percentile bootstrap interval (Agarwal et al., 2021).

    values: (n,), value i belonging to task i % tasks; each resample draws as many values of each task
    as there are, with replacement. statistic: maps (..., n) to (...). NaN where a value is NaN.
    """
    values = np.asarray(values, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        return Interval(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    groups = [values[i::tasks] for i in range(min(tasks, len(values)))]
    drawn = np.concatenate([g[rng.integers(0, len(g), (resamples, len(g)))] for g in groups], 1)
    low, high = np.quantile(statistic(drawn), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(statistic(values)), float(low), float(high))
