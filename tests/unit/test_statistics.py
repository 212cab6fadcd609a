import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gla.statistics import bootstrap_interval, iqm, mean_interval

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).filter(lambda x: np.std(x) > 1e-6)


@given(values=VALUES, confidence=st.floats(0.5, 0.99))
@settings(max_examples=40, deadline=None)
def test_the_interval_is_students(values, confidence):
    found = mean_interval(np.array(values), confidence=confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found == pytest.approx((np.mean(values), low, high), rel=1e-6, abs=1e-9)


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


@pytest.mark.parametrize("statistic", [iqm, lambda x: x.mean(-1)], ids=["iqm", "mean"])
def test_the_bootstrap_agrees_with_scipys(statistic):
    values = np.random.default_rng(3).exponential(2.0, 40)
    found = bootstrap_interval(values, statistic, resamples=20000)
    reference = stats.bootstrap(
        (values,), lambda x, axis: statistic(np.moveaxis(x, axis, -1)), n_resamples=20000, method="percentile", rng=1
    ).confidence_interval
    width = reference.high - reference.low
    assert found.mean == pytest.approx(statistic(values))
    assert found[1:] == pytest.approx((reference.low, reference.high), abs=0.04 * width)
    assert bootstrap_interval(values, statistic) == bootstrap_interval(values, statistic)


def test_the_bootstrap_resamples_within_tasks():
    """What tasks differ by is in every resample alike; a plain bootstrap would count it as uncertainty."""
    values = np.tile([0.0, 100.0], 10) + np.random.default_rng(0).normal(0, 0.1, 20)
    stratified, plain = (bootstrap_interval(values, lambda x: x.mean(-1), tasks) for tasks in (2, 1))
    assert stratified.high - stratified.low < 0.2 and plain.high - plain.low > 20
    assert np.isnan(bootstrap_interval(np.array([1.0, np.nan]), iqm)).all()


def test_the_interquartile_mean_is_rliables():
    """rliable's aggregate_iqm: scipy's mean trimmed by a quarter on each side, over runs and tasks together."""
    scores = np.random.default_rng(0).normal(size=(10, 6))
    assert iqm(scores.ravel()) == stats.trim_mean(scores, proportiontocut=0.25, axis=None)
