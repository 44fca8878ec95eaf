"""Intervals for one arm: accuracies clustered by problem, and plain means.

Several training seeds answering the same problem are not independent trials, so every interval here counts problems:
n is the number of problems, and rows only sharpen each problem's own mean. The interval is over problems *for these
training seeds*; how much another training run would differ is what `paired.difference` answers.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from elicit.schema import Estimate
from elicit.statistics.scores import Scores, validate_scores


def wilson_interval(successes: float, n: int, level: float = 0.95) -> Estimate:
    """A proportion with Wilson's (1927) score interval. With `n == 0` the value is NaN and there is no interval.

    Raises:
        ValueError: unless 0 <= successes <= n and 0 < level < 1.
    """
    if not (n >= 0 and 0 <= successes <= n):
        raise ValueError(f"need 0 <= successes <= n, but got successes={successes!r}, n={n!r}")
    check_level(level)
    if n == 0:
        return Estimate(math.nan, 0, None)
    return Estimate(successes / n, n, _wilson_bounds(successes / n, n, level))


def estimate_accuracy(scores: Scores) -> Estimate:
    """Accuracy with a 95 % interval clustered by problem; n counts the problems that have any score.

    The value is the mean over problems of each problem's mean over its (non-missing) rows. One row of 0/1 gives
    exactly Wilson's interval; see `clustered` for the others.

    Raises:
        ValueError: for arrays that hold no scores (see `scores.checked`).
    """
    array = validate_scores(scores)
    array = array[:, ~np.isnan(array).all(axis=0)]
    return estimate_clustered_mean(np.nanmean(array, axis=0), trials=int((~np.isnan(array)).sum()))


def estimate_clustered_mean(problem_means: Float[np.ndarray, " problems"], *, trials: int) -> Estimate:
    """The mean of per-problem means in [0, 1], with Wilson's interval at the effective sample size.

    The effective size is problems / (share of p(1 - p) that lies between problems), the inverse design effect of Kish
    (1965; used so by Korn and Graubard 1998): equal to the number of problems when rows agree on every problem, and
    at most `trials`, the number of scores behind the means, when they are independent. The share is computed with one
    all-wrong and one all-right problem added, so that it is 1 at an accuracy of 0 or 1 (where nothing is known of it)
    and getting one more answer right never lowers the interval.
    """
    means = np.asarray(problem_means, dtype=np.float64)
    if means.ndim != 1 or means.size == 0 or bool(np.isnan(means).any()):
        raise ValueError(f"need a non-empty vector of problem means without NaN, but got shape {means.shape}")
    value = min(1.0, max(0.0, float(means.mean())))
    padded = np.concatenate([means, [0.0, 1.0]])
    centre = float(padded.mean())
    between = float(((padded - centre) ** 2).mean()) / (centre * (1 - centre))
    effective = min(means.size / between, max(trials, means.size))
    return Estimate(value, means.size, _wilson_bounds(value, max(effective, means.size), 0.95))


def estimate_mean(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of per-problem quantities of any size (tokens, KL in nats) with a t interval; NaN entries are left out.

    No interval for n < 2, nor when all values are equal: the spread is then unknown, not zero.

    Raises:
        ValueError: if `values` is not a vector.
    """
    check_level(level)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must be a vector with one entry per problem, but have shape {array.shape}")
    array = array[~np.isnan(array)]
    n = array.size
    if n == 0:
        return Estimate(math.nan, 0, None)
    value = float(array.mean())
    if n == 1 or float(np.ptp(array)) == 0.0:
        return Estimate(value, n, None)
    from scipy import special  # scipy costs most of a second to import: only where a number needs it

    half = float(special.stdtrit(n - 1, (1 + level) / 2) * array.std(ddof=1) / math.sqrt(n))
    return Estimate(value, n, (value - half, value + half))


def check_level(level: float) -> None:
    """Raises ValueError unless `level` lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, but is {level!r}")


def _wilson_bounds(p: float, n: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At p = 0 and 1 the bound is the value itself; rounding must not push it past.
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
