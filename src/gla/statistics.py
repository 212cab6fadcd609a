"""Statistics of learning curves.

Intervals are Student's, of means over networks or seeds. rliable's are bootstraps of aggregates over tasks, such as the interquartile mean,
which answer another question and need many runs of each task.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean and its two-sided 95 % confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: np.ndarray, tasks: int = 1, confidence: float = 0.95) -> Interval:
    """Returns Student's t interval of the mean of independent values. NaN is left out.

    tasks: value i belongs to task i % tasks. Tasks are enumerated, not drawn, so that differences between them add no
    uncertainty: the sample is stratified, its variance is that within tasks (Cochran, 1977, Section 5.3), and its degrees of
    freedom are those of Welch and Satterthwaite. If a task has fewer than two values, all values count as one stratum. With
    one value the interval is that value, and with none it is NaN.
    """
    values = np.asarray(values, dtype=float)
    variance, freedom, n = _within_tasks(values, tasks)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(np.nanmean(values))
    if variance == 0:
        return Interval(mean, mean, mean)
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom) * np.sqrt(variance))
    return Interval(mean, mean - half, mean + half)


def _within_tasks(values: np.ndarray, tasks: int) -> tuple[float, float, int]:
    """Returns the variance of the mean of (S,) values, its degrees of freedom, and how many values are not NaN. See
    ``mean_interval``.
    """
    stratum = np.arange(len(values)) % tasks
    finite = np.isfinite(values)
    values, stratum = values[finite], stratum[finite]
    n = len(values)
    if n < 2:
        return 0.0, np.inf, n
    groups = [values[stratum == s] for s in np.unique(stratum)]
    if min(len(g) for g in groups) < 2:
        groups = [values]
    parts = np.array([len(g) * g.var(ddof=1) / n**2 for g in groups])
    if not parts.any():
        return 0.0, np.inf, n
    shares = parts / parts.sum()  # whose squares are not too small for a number
    freedom = 1 / sum(share**2 / (len(g) - 1) for share, g in zip(shares, groups, strict=True))
    return float(parts.sum()), float(freedom), n


class Mean(NamedTuple):
    """A mean, its variance, and the degrees of freedom of that variance."""

    mean: float
    variance: float
    freedom: float

    def interval(self, confidence: float = 0.95) -> Interval:
        """Returns Student's t interval; NaN if the variance is not known."""
        half = (
            float(stats.t.ppf(0.5 + confidence / 2, self.freedom) * np.sqrt(self.variance))
            if self.freedom > 0
            else np.nan
        )
        return Interval(self.mean, self.mean - half, self.mean + half)

    def minus(self, other: "Mean") -> "Mean":
        """Returns the difference of two independent means, with the degrees of freedom of Welch and Satterthwaite."""
        parts = [(x.variance, x.freedom) for x in (self, other)]
        variance = sum(v for v, _ in parts)
        freedom = (
            variance**2 / sum(v**2 / f for v, f in parts) if variance > 0 and min(f for _, f in parts) > 0 else 0.0
        )
        return Mean(self.mean - other.mean, variance, freedom)


def crossed_mean(values: np.ndarray, tasks: int = 1) -> Mean:
    """Returns the mean of (R, S) values of R training seeds and S test seeds. Each network has a value in every test seed.

    Its variance is that of the R networks' means plus that of the S test seeds' means, the latter within tasks as in
    ``mean_interval``; chance that belongs to neither is counted in both. The degrees of freedom are those of the test seeds
    but, with several networks, R - 1 at most, even if the networks hardly differ. Both choices make the interval wider rather
    than narrower. With one network the mean is about that network alone. A test seed that any network lacks is left out; with
    fewer than two, the variance is not known.
    """
    values = np.atleast_2d(np.asarray(values, dtype=float))
    columns = np.where(np.isfinite(values).all(0), values.mean(0), np.nan)
    variance, freedom, n = _within_tasks(columns, tasks)
    if n < 2:
        return Mean(float(np.nanmean(columns)) if n else np.nan, np.nan, 0.0)
    if len(values) > 1:
        networks = values[:, np.isfinite(columns)].mean(1)
        variance, freedom = variance + float(networks.var(ddof=1)) / len(networks), min(freedom, len(networks) - 1)
    return Mean(float(np.nanmean(columns)), variance, freedom)


def crossed_test(values: np.ndarray, tasks: int = 1) -> float:
    """Returns the one-sided probability of a mean as large as that of (R, S) values if the true mean is 0 or less. See
    ``crossed_mean``.

    If all values are the same, it is the probability of as many equal signs as there are networks or, with one network, test
    seeds. NaN if the variance is not known.
    """
    values = np.atleast_2d(np.asarray(values, dtype=float))
    found = crossed_mean(values, tasks)
    if found.freedom <= 0:
        return np.nan
    if found.variance == 0:
        n = len(values) if len(values) > 1 else int(np.isfinite(values).sum())
        return 0.5**n if found.mean > 0 else 1.0
    return float(stats.t.sf(found.mean / np.sqrt(found.variance), found.freedom))


def holm(p: np.ndarray) -> np.ndarray:
    """Returns probabilities (n,) adjusted for n tests (Holm, 1979). NaN means that there was no test; it stays NaN and is not
    counted.
    """
    p = np.asarray(p, dtype=float)
    adjusted, tested = np.full(len(p), np.nan), np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def iqm(values: np.ndarray) -> float:
    """Returns the interquartile mean of (n,) or, along the last axis, of (..., n): the mean without the lowest and the
    highest quarter (Agarwal et al., 2021)."""
    return stats.trim_mean(values, 0.25, axis=-1)


def resampled(
    shape: tuple[int, int], tasks: int, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the R training seeds and the S test seeds of each bootstrap resample, (resamples, R) and (resamples, S).

    They are drawn with replacement, test seeds within their tasks, where seed i belongs to task i % tasks (the stratified
    bootstrap of Agarwal et al., 2021, over networks too). If a task has fewer than two seeds, all seeds count as one task.
    """
    r, s = shape
    columns = np.empty((resamples, s), np.int64)
    for own in (np.arange(task, s, tasks) for task in range(tasks)) if s >= 2 * tasks else (np.arange(s),):
        columns[:, own] = own[rng.integers(0, len(own), (resamples, len(own)))]
    return rng.integers(0, r, (resamples, r)), columns


def bootstrap_interval(
    values: Sequence[np.ndarray],
    statistic,
    tasks: int = 1,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns a statistic of several samples and its percentile bootstrap interval over training and test seeds.

    values: (S,), or (R, S) of R networks or runs in the same S test seeds. The samples are drawn independently (see ``resampled``).
    statistic: takes as many arrays as there are values, (..., R, S) each, and returns (...). The interval is NaN if the statistic is,
    or if it is NaN in as many resamples as lie beyond one of the bounds.
    """
    values = [np.atleast_2d(np.asarray(v, dtype=float)) for v in values]
    if not all(v.size for v in values):
        return Interval(np.nan, np.nan, np.nan)
    found, rng, drawn, tail = float(statistic(*values)), np.random.default_rng(seed), [], 0.5 - confidence / 2
    for v in values:
        rows, columns = resampled(v.shape, tasks, resamples, rng)
        drawn.append(v[rows[:, :, None], columns[:, None, :]])
    again = statistic(*drawn)
    again = again[np.isfinite(again)]
    if not np.isfinite(found) or len(again) <= (1 - tail) * resamples:
        return Interval(found, np.nan, np.nan)
    low, high = np.quantile(again, [tail, 1 - tail])
    return Interval(found, float(low), float(high))


def seeds_interval(values: np.ndarray, tasks: int = 1) -> Interval:
    """Returns the mean of (R, S) values and its 95 % interval over training and test seeds. See ``crossed_mean``."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    return mean_interval(values[0], tasks) if len(values) == 1 else crossed_mean(values, tasks).interval()
