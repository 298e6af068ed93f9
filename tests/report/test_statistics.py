import itertools

import numpy as np
import pytest

from ganmix.report.statistics import bootstrap_interval, mean_and_std


def test_std_is_the_samples():
    values = [1.0, 2.0, 4.5]
    mean, std = mean_and_std(values)
    assert mean == pytest.approx(2.5)
    assert std == pytest.approx(np.std(values, ddof=1))
    assert std == pytest.approx(((1.5**2 + 0.5**2 + 2**2) / 2) ** 0.5)


def test_one_value_has_no_std_and_no_interval():
    assert mean_and_std([3.0]) == (3.0, None)
    assert bootstrap_interval([3.0]) is None
    assert bootstrap_interval([]) is None


def test_two_values_bound_their_interval():
    # Resamples by hand: (1, 1), (1, 3), (3, 1), (3, 3), with means 1, 2, 2, 3; each has probability 1/4 > 0.025.
    assert bootstrap_interval([3.0, 1.0]) == (1.0, 3.0)


def test_three_values_bound_their_interval():
    assert bootstrap_interval([0.2, -0.5, 0.1]) == pytest.approx((-0.5, 0.2))


@pytest.mark.parametrize("num", [4, 5])
def test_few_values_are_resampled_exhaustively(num):
    values = np.random.default_rng(num).normal(size=num)
    means = sorted(sum(resample) / num for resample in itertools.product(values, repeat=num))
    total = len(means)
    assert total == num**num
    low = next(mean for place, mean in enumerate(means, start=1) if place / total >= 0.025)
    high = next(mean for place, mean in enumerate(means, start=1) if place / total >= 0.975)
    assert bootstrap_interval(list(values)) == pytest.approx((low, high))
    assert low > min(values)
    assert high < max(values)


def test_many_values_give_the_normal_interval_and_the_same_each_time():
    values = list(np.random.default_rng(1).normal(2.0, 1.0, size=100))
    low, high = bootstrap_interval(values)
    half = 1.96 * np.std(values) / 10
    assert low == pytest.approx(np.mean(values) - half, abs=0.02)
    assert high == pytest.approx(np.mean(values) + half, abs=0.02)
    assert bootstrap_interval(values) == (low, high)


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap_interval([0.3] * 3) == pytest.approx((0.3, 0.3))
