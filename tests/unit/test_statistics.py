import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gla.statistics import (
    bootstrap_interval,
    crossed_mean,
    crossed_test,
    holm,
    iqm,
    mean_interval,
    resampled,
    seeds_interval,
)

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).filter(lambda x: np.std(x) > 1e-6)


@given(values=VALUES, confidence=st.floats(0.5, 0.99))
@settings(max_examples=40, deadline=None)
def test_the_interval_is_students(values, confidence):
    found = mean_interval(np.array(values), confidence=confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found == pytest.approx((np.mean(values), low, high), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e30])
def test_the_interval_has_the_unit_of_its_values(scale):
    """Squares of small variances are too small for a number."""
    values = np.array([1.0, 2.0, 4.0, 7.0])
    expected = mean_interval(values, tasks=2)
    assert np.array(mean_interval(values * scale, tasks=2)) / scale == pytest.approx(expected)


def test_two_values_have_a_closed_form():
    # Student's t with one degree of freedom is Cauchy's: its quantile is a tangent.
    half = np.tan(np.pi * 0.475) * 1.0
    assert mean_interval(np.array([1.0, 3.0])) == pytest.approx((2.0, 2.0 - half, 2.0 + half))


def test_values_that_are_missing_are_left_out():
    assert mean_interval(np.array([1.0, np.nan, 3.0])) == mean_interval(np.array([1.0, 3.0]))
    assert mean_interval(np.array([np.nan, 2.0])) == (2.0, 2.0, 2.0)
    assert np.isnan(mean_interval(np.array([np.nan]))).all()
    assert np.isnan(mean_interval(np.array([]))).all()


@pytest.mark.parametrize("n", [3, 10])
def test_the_interval_covers_the_mean_as_often_as_it_says(n):
    draws = np.random.default_rng(0).normal(5.0, 2.0, (2000, n))
    intervals = [mean_interval(d) for d in draws]
    covered = np.mean([i.low <= 5.0 <= i.high for i in intervals])
    assert covered == pytest.approx(0.95, abs=0.02)  # four standard errors


def test_what_tasks_differ_by_is_no_uncertainty():
    noise = np.random.default_rng(0).normal(0, 1, 40)
    tasks = np.tile([0.0, 5.0, 10.0, 100.0], 10)
    plain, stratified = mean_interval(noise), mean_interval(noise + tasks, tasks=4)
    assert stratified.mean == pytest.approx(plain.mean + 28.75)
    assert stratified.high - stratified.low == pytest.approx(plain.high - plain.low, rel=0.2)
    assert mean_interval(tasks, tasks=4) == pytest.approx((28.75, 28.75, 28.75))


def test_a_stratified_interval_covers_the_mean_as_often_as_it_says():
    rng, centre = np.random.default_rng(1), np.array([0.0, 5.0, 10.0])
    draws = rng.normal(0, 2.0, (2000, 12)) + np.tile(centre, 4)
    intervals = [mean_interval(d, tasks=3) for d in draws]
    assert np.mean([i.low <= 5.0 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.02)


def test_a_task_with_one_value_makes_one_stratum_of_all():
    values = np.array([1.0, 4.0, 2.0])
    assert mean_interval(values, tasks=2) == mean_interval(values)


def test_the_interquartile_mean_leaves_out_the_outer_quarters():
    assert iqm(np.array([100.0, 1.0, 2.0, -50.0])) == 1.5
    np.testing.assert_allclose(iqm(np.arange(16.0).reshape(2, 8)), [3.5, 11.5])


def _flat(statistic):
    """A statistic of (..., n) as one of (..., R, S)."""
    return lambda x: statistic(x.reshape(*x.shape[:-2], -1))


@pytest.mark.parametrize("statistic", [iqm, lambda x: x.mean(-1)], ids=["iqm", "mean"])
def test_the_bootstrap_agrees_with_scipys(statistic):
    values = np.random.default_rng(3).exponential(2.0, 40)
    found = bootstrap_interval([values], _flat(statistic), resamples=20000)
    reference = stats.bootstrap(
        (values,), lambda x, axis: statistic(np.moveaxis(x, axis, -1)), n_resamples=20000, method="percentile", rng=1
    ).confidence_interval
    width = reference.high - reference.low
    assert found.mean == pytest.approx(statistic(values))
    assert found[1:] == pytest.approx((reference.low, reference.high), abs=0.04 * width)
    assert bootstrap_interval([values], _flat(statistic)) == bootstrap_interval([values], _flat(statistic))


def test_the_bootstrap_resamples_within_tasks():
    """Differences between tasks are the same in every resample. A plain bootstrap would count them as uncertainty."""
    values = np.tile([0.0, 100.0], 10) + np.random.default_rng(0).normal(0, 0.1, 20)
    stratified, plain = (bootstrap_interval([values], lambda x: x.mean((-2, -1)), tasks) for tasks in (2, 1))
    assert stratified.high - stratified.low < 0.2 and plain.high - plain.low > 20
    assert np.isnan(bootstrap_interval([np.array([1.0, np.nan])], _flat(iqm))).all()


def test_the_interquartile_mean_is_rliables():
    """rliable's aggregate_iqm: scipy's mean trimmed by a quarter on each side, over runs and tasks together."""
    scores = np.random.default_rng(0).normal(size=(10, 6))
    assert iqm(scores.ravel()) == stats.trim_mean(scores, proportiontocut=0.25, axis=None)


def _crossed(rng, networks, seeds, mean=0.0, between=1.0, within=1.0, noise=0.5):
    """(R, S) values of networks and test seeds that both differ."""
    return (
        mean
        + between * rng.standard_normal((networks, 1))
        + within * rng.standard_normal(seeds)
        + noise * rng.standard_normal((networks, seeds))
    )


def test_one_network_is_tested_by_its_seeds_alone():
    values = np.random.default_rng(0).normal(0.3, 1.0, 20)
    assert crossed_test(values) == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)


def test_networks_without_a_difference_between_seeds_are_tested_by_the_networks_alone():
    means = np.random.default_rng(0).normal(0.3, 1.0, 5)
    assert crossed_test(means[:, None].repeat(64, 1)) == pytest.approx(
        stats.ttest_1samp(means, 0, alternative="greater").pvalue
    )


@pytest.mark.parametrize("networks", [1, 2, 5])
def test_what_is_not_there_is_found_no_oftener_than_said(networks):
    """Of networks that differ among each other, one in forty sets may pass at 2.5 %; of one network the claim is about itself."""
    rng = np.random.default_rng(0)
    between = 0.0 if networks == 1 else 1.0
    found = np.mean([crossed_test(_crossed(rng, networks, 32, between=between)) < 0.025 for _ in range(800)])
    assert found <= 0.025 + 4 * np.sqrt(0.025 / 800)
    power = np.mean([crossed_test(_crossed(rng, 5, 32, mean=3.0)) < 0.025 for _ in range(200)])
    assert power > 0.95


def test_without_variance_the_signs_are_counted():
    """Whole numbers of goals may all be the same: of two seeds that is no proof."""
    assert (
        crossed_test(np.ones((1, 2))) == 0.25
        and crossed_test(np.ones((5, 64))) == 0.5**5
        and crossed_test(np.zeros((2, 4))) == 1
    )
    assert np.isnan(crossed_test(np.full((2, 4), np.nan))) and np.isnan(crossed_test(np.ones((3, 1))))
    values = np.array([[1.0, np.nan, 3.0], [2.0, 5.0, 4.0]])  # a seed that one network missed is left out
    assert crossed_mean(values).mean == 2.5


@pytest.mark.parametrize("networks, seeds", [(5, 2), (10, 3)])
def test_few_seeds_are_no_proof_either(networks, seeds):
    rng = np.random.default_rng(0)
    found = np.mean([crossed_test(_crossed(rng, networks, seeds, between=0.1)) < 0.025 for _ in range(800)])
    assert found <= 0.025 + 4 * np.sqrt(0.025 / 800)


@pytest.mark.parametrize("networks, between", [(1, 0.0), (2, 2.0), (5, 2.0)])
def test_intervals_of_means_and_of_their_differences_cover(networks, between):
    """Also where networks differ by more than seeds do, for which a bootstrap over five networks would cover 85 %."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        ours, other = _crossed(rng, networks, 32, between=between), rng.standard_normal((1, 32))
        interval = crossed_mean(ours).minus(crossed_mean(other)).interval()
        covered.append(interval.low <= 0 <= interval.high)
    assert np.mean(covered) >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 400)


def test_tasks_are_no_uncertainty_of_a_test():
    values = np.random.default_rng(0).normal(0.5, 0.1, (1, 16)) + np.tile([-10.0, 10.0], 8)
    assert crossed_test(values, tasks=2) < 1e-6 < 0.3 < crossed_test(values)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_holm_is_the_closed_testing_of_bonferroni(p):
    adjusted = holm(np.array(p))
    for level in (0.01, 0.025, 0.2):
        order, rejected = np.argsort(p, kind="stable"), set()
        for k, i in enumerate(order):  # step down: stop at the first that stays
            if p[i] * (len(p) - k) > level:
                break
            rejected.add(i)
        assert rejected == set(np.flatnonzero(adjusted <= level))


def test_holm_counts_tests_that_were_made():
    np.testing.assert_array_equal(holm(np.array([0.01, np.nan, 0.04, 0.03])), [0.03, np.nan, 0.06, 0.06])


def test_resamples_keep_tasks_and_draw_networks():
    rows, columns = resampled((3, 10), 2, 500, np.random.default_rng(0))
    assert rows.shape == (500, 3) and columns.shape == (500, 10)
    assert (
        (columns % 2 == np.arange(10) % 2).all()
        and set(rows.ravel()) == {0, 1, 2}
        and set(columns.ravel()) == set(range(10))
    )


def test_networks_widen_the_interval():
    """Five networks that differ much: the interval is that of their means, and not that of 5 * 64 values."""
    values = _crossed(np.random.default_rng(0), 5, 64, between=2.0)
    found, means = seeds_interval(values), mean_interval(values.mean(1))
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(means.high - means.low, rel=0.1)
    assert seeds_interval(values[0]) == mean_interval(values[0])


def test_a_task_with_one_seed_is_no_stratum():
    """Resampled within tasks of one seed, nothing would vary."""
    values = np.random.default_rng(0).standard_normal((1, 8))
    found = bootstrap_interval([values], lambda x: x.mean((-2, -1)), tasks=8)
    assert found.high - found.low > 0.5
