"""Intervals for one arm: accuracies clustered by problem, and plain means.

Several training seeds answering the same problem are not independent trials, so every interval here counts problems:
n is the number of problems, and rows only sharpen each problem's own mean. With several rows an interval covers other
problems *and* other training seeds, as that of a difference does (`twolevel`, whose seed part and quantile these are):
the share of the variance that the seeds have is added to that of the problems, and weighs the t quantile of their few
degrees of freedom. With one row nothing is known of other seeds, and the interval is over problems.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from elicit.schema import Estimate
from elicit.statistics.scores import Scores, validate_scores
from elicit.statistics.twolevel import NO_SEEDS, SeedPart, find_seed_part


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
    return Estimate(successes / n, n, _wilson_bounds(successes / n, n, _normal_quantile(level)))


def estimate_accuracy(scores: Scores) -> Estimate:
    """Accuracy with a 95 % interval over problems and, with several rows, seeds; n counts the problems with any score.

    The value is the mean over problems of each problem's mean over its (non-missing) rows. One row of 0/1 gives
    exactly Wilson's interval; see `estimate_clustered_mean` for the others.

    Raises:
        ValueError: for arrays that hold no scores (see `scores.checked`).
    """
    array = validate_scores(scores)
    array = array[:, ~np.isnan(array).all(axis=0)]
    trials = int((~np.isnan(array)).sum())
    return estimate_clustered_mean(np.nanmean(array, axis=0), trials=trials, seeds=find_seed_part(array))


def estimate_clustered_mean(
    problem_means: Float[np.ndarray, " problems"], *, trials: int, seeds: SeedPart = NO_SEEDS
) -> Estimate:
    """The mean of per-problem means in [0, 1], with Wilson's interval at the effective sample size.

    The effective size is problems / (share of p(1 - p) that lies between problems), the inverse design effect of Kish
    (1965; used so by Korn and Graubard 1998): equal to the number of problems when rows agree on every problem, and
    at most `trials`, the number of scores behind the means, when they are independent. The share is computed with one
    all-wrong and one all-right problem added, so that it is 1 at an accuracy of 0 or 1 (where nothing is known of it)
    and getting one more answer right never lowers the interval. A seed part lowers the effective size to
    p(1 - p) / (variance over problems + variance over seeds), and the interval takes the weighted quantile.
    """
    means = np.asarray(problem_means, dtype=np.float64)
    if means.ndim != 1 or means.size == 0 or bool(np.isnan(means).any()):
        raise ValueError(f"need a non-empty vector of problem means without NaN, but got shape {means.shape}")
    value = min(1.0, max(0.0, float(means.mean())))
    padded = np.concatenate([means, [0.0, 1.0]])
    centre = float(padded.mean())
    between = float(((padded - centre) ** 2).mean()) / (centre * (1 - centre))
    effective = max(min(means.size / between, max(trials, means.size)), means.size)
    problems = value * (1 - value) / effective
    if seeds.variance == 0:
        return Estimate(value, means.size, _wilson_bounds(value, effective, _normal_quantile(0.95)))
    quantile = seeds.weigh_quantile(_normal_quantile(0.95), problems, 0.025)
    size = value * (1 - value) / (problems + seeds.variance)
    return Estimate(value, means.size, _wilson_bounds(value, size, quantile))


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


def estimate_table_mean(table: Scores) -> Estimate:
    """`estimate_mean` of a table of quantities of any size, over problems and, with several rows, seeds.

    A problem's value is its mean over rows that have one; problems without any do not count.

    Raises:
        ValueError: if `table` is not a table.
    """
    array = np.asarray(table, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"table must have one row per seed and one column per problem, but has shape {array.shape}")
    array = array[:, ~np.isnan(array).all(axis=0)]
    means = np.nanmean(array, axis=0)
    estimate, seeds = estimate_mean(means), find_seed_part(array)
    if estimate.ci is None or seeds.variance == 0:
        return estimate
    from scipy import special

    problems = float(means.var(ddof=1)) / means.size
    quantile = seeds.weigh_quantile(float(special.stdtrit(means.size - 1, 0.975)), problems, 0.025)
    half = quantile * math.sqrt(problems + seeds.variance)
    return Estimate(estimate.value, estimate.n, (estimate.value - half, estimate.value + half))


def check_level(level: float) -> None:
    """Raises ValueError unless `level` lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, but is {level!r}")


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _wilson_bounds(p: float, n: float, z: float) -> tuple[float, float]:
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At p = 0 and 1 the bound is the value itself; rounding must not push it past.
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
