"""AUROC with an interval, and p values corrected for a false discovery rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from elicit.schema import Estimate


def estimate_auroc(scores: ArrayLike, labels: ArrayLike) -> Estimate:
    """P(a positive's score exceeds a negative's), ties count half, with a 95 % interval; n counts all scores.

    The interval is Newcombe's (2006, method 5, after Hanley and McNeil): the values t with

        |t - AUROC| <= z sqrt(t (1 - t) / (m n) * (2 N - 1 - (3 N - 3) / ((2 - t)(1 + t)))),     N = (m + n) / 2

    which is not empty at 0 and 1. Without positives or without negatives the value is NaN and there is no interval.

    Args:
        scores: one finite number a case.
        labels: True for positives.

    Raises:
        ValueError: vectors of unequal lengths, or a score that is not finite.
    """
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if values.shape != positive.shape or values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"need finite scores and labels of one length, but got {values.shape} and {positive.shape}")
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        return Estimate(math.nan, m + n, None)
    order, low = np.unique(values, return_inverse=True)
    counts = np.bincount(low, minlength=len(order))
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[low]
    value = float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n))
    z, half = NormalDist().inv_cdf(0.975), (m + n) / 2

    def is_inside(t: float) -> bool:
        variance = t * (1 - t) / (m * n) * (2 * half - 1 - (3 * half - 3) / ((2 - t) * (1 + t)))
        return abs(t - value) <= z * math.sqrt(max(0.0, variance))

    return Estimate(value, m + n, (_find_end(is_inside, value, 0.0), _find_end(is_inside, value, 1.0)))


def _find_end(is_inside: Callable[[float], bool], value: float, end: float) -> float:
    """The point nearest to `end` that is inside, between it and `value`, by bisection."""
    inside, outside = value, end
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return inside


def false_discovery_correction(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values (q values) of Benjamini and Hochberg (1995), in the order given.

    Rejecting those at most q keeps the expected share of false rejections at most q, for independent or positively
    dependent tests.

    Raises:
        ValueError: a value outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p values must lie in [0, 1]")
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return [float(value) for value in adjusted]
