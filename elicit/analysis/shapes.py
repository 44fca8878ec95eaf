"""The shapes a curve over training can have, and how probable each is for a measured curve.

**Rule for a curve without noise**, c[0] being the base and m the margin, everything relative to c[0]:

1. Nothing leaves the base by m: `flat`. Else only excursions of m or more count that are at least an eighth of the
   largest: a slip of two points before a rise of eighty is a rise.
2. The first excursion that counts is upward, to a highest point A: `peak-decline` if the end has lost at least a
   third of A (2509.12235), else `monotone-up`.
3. It is downward, to a depth A: `dip-recover` if the end has regained at least half of A (2604.06628; the end may lie
   below or above the base); else `dip-only` if three quarters of the fall were over by the middle checkpoint (number
   K // 2 of 0..K-1: checkpoints are log-spaced, so this is the middle in log steps), and `monotone-down` if not.

So a movement that undoes little of the one before it does not count, and a dip without recovery differs from a decline
in that it has stopped.

**With noise** the rule is never applied to the measured points: their highest and lowest are selected by noise.
Instead a bank of random curves of every shape is weighed by how well each agrees with the bootstrap distribution of
the measured curve, taken as N(c, Sigma) (a bootstrap likelihood: Davison, Hinkley and Worton 1992; Efron 2012). The
common level is free, the size A is integrated out (uniform from m to where the curve spans 1, on [0, m] for flat), and
a shape's probability is its prior times its mean weight. Many shapes that could fit share one prior, so freedom to fit
noise is paid for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from elicit.seeds import make_generator

SHAPES = ("flat", "monotone-up", "monotone-down", "dip-recover", "dip-only", "peak-decline")
DIPS = ("dip-recover", "dip-only")
#: Prior. More for the shapes with two movements, which have more forms to share it among (set so that a dip before a
#: rise is told from a rise alone, and the like, with about equal errors); little for flat, which the sup-t test guards.
PRIOR = {
    "flat": 0.05,
    "monotone-up": 0.17,
    "monotone-down": 0.20,
    "dip-recover": 0.20,
    "dip-only": 0.15,
    "peak-decline": 0.23,
}
COUNTS, LOST, REGAINED, EARLY = 1 / 8, 1 / 3, 1 / 2, 0.75
_PER_SHAPE = 3000


class ShapeBank(NamedTuple):
    """Curves of size 1, which start at 0, and the label of each (an index into SHAPES; never flat)."""

    curves: Float[np.ndarray, "curves checkpoints"]
    labels: Int[np.ndarray, " curves"]


class ShapeWeights(NamedTuple):
    """The bank against one measured curve; the size A of a curve is normal within its bounds."""

    probabilities: dict[str, float]
    log_weights: Float[np.ndarray, " curves"]
    """Of each curve at a size of at least the margin, up to one constant."""
    best: Float[np.ndarray, " curves"]
    """Least-squares size A of each curve."""
    spread: Float[np.ndarray, " curves"]
    """Standard error of that size."""


def classify_noiseless_curve(curve: Float[np.ndarray, " checkpoints"], margin: float) -> str:
    """The shape of a curve without noise, by the rule above."""
    moved = np.asarray(curve, dtype=np.float64) - curve[0]
    largest = float(np.abs(moved).max())
    if largest < margin:
        return "flat"
    beyond = np.flatnonzero(np.abs(moved) >= max(margin, COUNTS * largest * (1 - 1e-9)))
    up = moved[beyond[0]] > 0
    size = float(moved.max() if up else -moved.min())
    undone = size - float(moved[-1] if up else -moved[-1])
    if undone >= (LOST if up else REGAINED) * size * (1 - 1e-9):
        return "peak-decline" if up else "dip-recover"
    if up:
        return "monotone-up"
    return "dip-only" if -moved[: len(moved) // 2 + 1].min() >= EARLY * size else "monotone-down"


@lru_cache(maxsize=8)
def build_shape_bank(checkpoints: int) -> ShapeBank:
    """Random curves of every shape but flat, equally many of each: one movement, and perhaps one back.

    The turn is at any checkpoint; a movement fills a window of its checkpoints with Dirichlet shares, of weight 0.4
    (few large steps) or 2 (ramps); the way back is 0 or uniform up to 1/3 (after a dip 1/2) of the way there where it
    does not count, and log-uniform from there to 9 where it does (further, and the way there would not count).
    """
    rng = make_generator("shapes", checkpoints)
    curves_by_shape: dict[str, list[np.ndarray]] = {name: [] for name in SHAPES[1:]}
    while min(map(len, curves_by_shape.values())) < _PER_SHAPE:
        for curve in _sample_random_curves(rng, checkpoints, _PER_SHAPE):
            same_shape = curves_by_shape[classify_noiseless_curve(curve, 1.0 - 1e-9)]
            if len(same_shape) < _PER_SHAPE:
                same_shape.append(curve)
    labels = np.repeat(np.arange(1, len(SHAPES)), _PER_SHAPE)
    return ShapeBank(np.concatenate([np.array(curves_by_shape[name]) for name in SHAPES[1:]]), labels)


def _sample_random_curves(
    rng: np.random.Generator, checkpoints: int, count: int
) -> Float[np.ndarray, "count checkpoints"]:
    counts = rng.random(count) < 0.4
    turn = rng.integers(1, np.where(counts, checkpoints - 1, checkpoints))
    up = rng.choice([-1, 1], size=count)
    least = np.where(up > 0, LOST, REGAINED)
    far, near = np.exp(rng.uniform(np.log(least), np.log(1 + 1 / COUNTS))), rng.uniform(0, least)
    back = np.where(counts, far, near * rng.integers(2, size=count))
    there = _sample_shares(rng, np.zeros(count, dtype=np.int64), turn, checkpoints - 1)
    steps = there - back[:, None] * _sample_shares(rng, turn, np.full(count, checkpoints - 1), checkpoints - 1)
    curves = np.zeros((count, checkpoints))
    curves[:, 1:] = np.cumsum(steps, axis=1) * up[:, None]
    return curves


def _sample_shares(
    rng: np.random.Generator, start: Int[np.ndarray, " n"], stop: Int[np.ndarray, " n"], parts: int
) -> Float[np.ndarray, "n parts"]:
    """Random shares of one movement, on a random window of the parts from start to stop; 0 where there are none."""
    ends = np.sort(start[:, None] + rng.integers(np.maximum(stop - start, 1)[:, None], size=(len(start), 2)), axis=1)
    part_index = np.arange(parts)
    inside = (part_index >= ends[:, :1]) & (part_index <= ends[:, 1:]) & (part_index < stop[:, None])
    # A gamma variate of weight 0.4 can underflow to 0, all of them at once too.
    raw = np.where(inside, rng.gamma(rng.choice([0.4, 2.0], size=(len(start), 1)), size=inside.shape) + 1e-12, 0.0)
    return np.asarray(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-300))


def weigh_shapes(
    curve: Float[np.ndarray, " checkpoints"], covariance: Float[np.ndarray, "checkpoints checkpoints"], margin: float
) -> ShapeWeights:
    """Compute each shape's probability for a measured curve with this (bootstrap) covariance."""
    from scipy import special

    shapes = build_shape_bank(len(curve))
    precision = _remove_level(covariance)
    information = np.einsum("ci,ij,cj->c", shapes.curves, precision, shapes.curves, optimize=True)
    best = shapes.curves @ (precision @ curve) / information
    spread = 1 / np.sqrt(information)
    fit = 0.5 * best**2 * information
    scale = fit + np.log(spread) + 0.5 * np.log(2 * np.pi)
    top = compute_largest_size(shapes)
    moved = scale + compute_log_interval_mass((margin - best) / spread, (top - best) / spread) - np.log(top - margin)
    # The largest distance from the base is at the turn, or at the end when the way back is more than twice as long.
    most = margin / np.abs(shapes.curves).max(axis=1)
    still = scale + compute_log_interval_mass(-best / spread, (most - best) / spread) - np.log(most)
    evidence = {"flat": float(special.logsumexp(still)) - np.log(len(still))}
    for label, name in enumerate(SHAPES[1:], start=1):
        chosen = moved[shapes.labels == label]
        evidence[name] = float(special.logsumexp(chosen)) - np.log(len(chosen))
    logs = np.array([evidence[name] + np.log(PRIOR[name]) for name in SHAPES])
    shares = np.exp(logs - special.logsumexp(logs))
    return ShapeWeights(dict(zip(SHAPES, shares.tolist(), strict=True)), moved, best, spread)


def compute_largest_size(shapes: ShapeBank) -> Float[np.ndarray, " curves"]:
    """The size at which a curve of the bank goes from one end of [0, 1] to the other."""
    return np.asarray(1.0 / np.ptp(shapes.curves, axis=1))


def sample_curves(
    shape_weights: ShapeWeights, shape: str, margin: float, checkpoints: int, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "count checkpoints"]:
    """Curves of one shape relative to the base, drawn by their weights: what noise-free curve may lie behind the data.

    Their turning points are not selected by the measured noise, as the lowest point of the measured curve is.
    """
    from scipy import special, stats

    shapes = build_shape_bank(checkpoints)
    of_shape = np.flatnonzero(shapes.labels == SHAPES.index(shape))
    weights = np.exp(shape_weights.log_weights[of_shape] - special.logsumexp(shape_weights.log_weights[of_shape]))
    chosen = rng.choice(of_shape, size=count, p=weights / weights.sum())
    best, spread = shape_weights.best[chosen], shape_weights.spread[chosen]
    low, high = (margin - best) / spread, (compute_largest_size(shapes)[chosen] - best) / spread
    sizes = best + spread * stats.truncnorm.rvs(low, high, random_state=rng)
    return np.asarray(sizes[:, None] * shapes.curves[chosen])


def compute_log_interval_mass(low: Float[np.ndarray, " n"], high: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """log(Phi(high) - Phi(low)) for low < high, also far out in either tail."""
    from scipy import special

    flipped = low > 0
    a, b = np.where(flipped, -high, low), np.where(flipped, -low, high)
    upper, lower = special.log_ndtr(b), special.log_ndtr(a)
    return np.asarray(upper + np.log1p(-np.exp(np.minimum(lower - upper, -1e-15))))


def _remove_level(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The precision after the common level of the curve is fitted away."""
    precision = np.linalg.inv(covariance)
    rows = precision.sum(axis=0)
    return np.asarray(precision - np.outer(rows, rows) / rows.sum())
