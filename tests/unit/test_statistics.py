import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gla.statistics import mean_interval

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).filter(lambda x: np.std(x) > 1e-6)


@given(values=VALUES, confidence=st.floats(0.5, 0.99))
@settings(max_examples=40, deadline=None)
def test_the_interval_is_students(values, confidence):
    found = mean_interval(np.array(values), confidence)
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
