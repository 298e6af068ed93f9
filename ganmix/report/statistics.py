"""What a few seeds can tell: mean, standard deviation, and a bootstrap interval of paired differences."""

from collections.abc import Sequence

import numpy as np

EXACT = 5  # seeds up to which every resample is counted: 5**5 = 3125
RESAMPLES = 10_000
LEVELS = (0.025, 0.975)


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (n - 1), which one value does not have."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the mean; None for fewer than two values.

    Up to `EXACT` values all n**n resamples are counted, above it `RESAMPLES` are drawn, always the same. The bounds
    are inverses of the resamples' distribution function, without interpolation: of 2 or 3 values, where a resample of
    one value alone has probability 1/4 or 1/27, they are the least and the greatest value.
    """
    num = len(values)
    if num < 2:
        return None
    if num <= EXACT:
        picks = np.indices((num,) * num).reshape(num, -1).T  # [n**n, n]
    else:
        picks = np.random.default_rng(0).integers(num, size=(RESAMPLES, num))
    means = np.asarray(values, dtype=float)[picks].mean(axis=1)
    low, high = np.quantile(means, LEVELS, method="inverted_cdf")
    return float(low), float(high)
