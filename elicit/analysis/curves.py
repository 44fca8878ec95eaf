"""Facts about a curve over training checkpoints: its shape, its turning point, and when stopping was wrong.

Decision rule of `classify`, in order:

1. *Is there a movement at all?* The mean over every window of consecutive checkpoints is compared with the mean over
   all the other checkpoints. The largest |difference| / standard error over windows is compared with its 90th
   percentile (`level`) when the curve is constant, simulated with the bootstrap covariance of the curve (a sup-t test):
   the choice of the most extreme window is in the null. Not exceeded: the shape is `flat`.
2. *Which?* The most probable shape by `shapes.weigh`, where a movement from the base must exceed `margin` (0.02: two
   points) and checkpoints may wobble around any smooth shape by 0.005 and 5 % of what the curve spans (real training
   does; it keeps thousands of problems, or a rise of ninety points, from turning every kink into a finding).

Step 1 keeps noise flat; step 2 can still answer `flat` for a movement below the margin. Sources of the shapes:
2604.06628 (dip then recovery), 2509.12235 (peak then decline). All figures are shares in [0, 1]: 0.01 is one point.

Rates of right answers, simulated with 7 trained checkpoints and answers correlated at 0.6-0.7 between checkpoints:

| movement, problems | rate of the shape, two forms each | flat |
|---|---|---|
| 12 points, 200 | 0.90-1.00 (each shape 0.92 or more over its forms) | 0.95-0.97; called a dip in 1-3 % |

Where it fails: ten points on 200 problems leave movements without a way back at 0.8-0.9 (most of the others are called
flat); eight points at 0.5-0.9 except for dips that recover; ten points on 100 problems at 0.3-0.8. With three seeds
that wander by 3 points between checkpoints, flat is called flat at 0.91 and a dip at 0.04: few seeds say little about
their own spread. The forms confused most are a peak before a deep decline with the decline alone, and a ramp down with
a dip that does not recover.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.analysis.resampling import CurveBootstrap, bootstrap_curve, validate_correctness
from elicit.analysis.shapes import DIPS, ShapeWeights, sample_curves, weigh_shapes
from elicit.errors import ElicitError
from elicit.schema import Estimate
from elicit.seeds import make_generator
from elicit.statistics import Difference, estimate_difference, estimate_mean

MARGIN, WOBBLE, GRAIN, LEVEL = 0.02, 0.005, 0.05, 0.9
_NULL_DRAWS, _CURVE_DRAWS, _FOLDS = 2000, 1000, 10
_LEVEL = 1e-9
"""Two checkpoints of a drawn curve this close are equally low or high."""


class TurnEstimate(NamedTuple):
    """The trough of a dip or the peak of a peak-decline, given that the curve has this shape. n counts problems.

    Nominal 95 % intervals of a dip of 20 points on 1000 problems covered its depth in 0.83 of 60 simulations and the
    way back in 0.97.
    """

    size: Estimate
    """Depth below (height above) the base, positive."""
    step: Estimate
    """Where; the value is the median over drawn curves (a step that was measured)."""
    undone: Estimate
    """Way back from the turn to the end: recovery of a dip, decline after a peak."""


class DangerZone(NamedTuple):
    """Steps at which stopping would leave the model worse than the base."""

    steps: tuple[float, ...]
    """Steps whose simultaneous one-sided upper bound of (accuracy - base) lies below 0."""
    probability: tuple[float, ...]
    """Per trained step: bootstrap share of curves below the base (half of the ties)."""


class StoppingCost(NamedTuple):
    """Points lost by stopping at the lowest in-domain loss; positive = lost."""

    step: float
    to_best: Estimate
    """Against the best checkpoint, chosen on nine tenths of the problems and judged on the other (so not inflated)."""
    to_end: Difference
    """Against the last checkpoint, paired."""


@dataclass(frozen=True)
class CurveClassification:
    """A measured curve, classified."""

    shape: str
    probabilities: dict[str, float]
    """Of every shape in `shapes.SHAPES`; they sum to 1."""
    flat_p: float
    """p of the sup-t test of step 1."""
    misfit_p: float
    """How well the best curve of the chosen shape fits (chi-square); small: none of the shapes describes it."""
    steps: tuple[float, ...]
    accuracy: tuple[Estimate, ...]
    """Per checkpoint, with its pointwise 95 % bootstrap interval."""
    end_minus_start: Difference
    turn: TurnEstimate | None
    """For dips and peaks; None for the other shapes."""
    danger: DangerZone
    note: str
    """What the figures do not cover."""


def classify_curve(
    correct: Float[np.ndarray, "seeds checkpoints problems"] | Float[np.ndarray, "checkpoints problems"],
    steps: Sequence[float],
    *,
    seed: int = 0,
    margin: float = MARGIN,
    wobble: float = WOBBLE,
    level: float = LEVEL,
) -> CurveClassification:
    """The shape of a measured curve by the rule above, with its quantities.

    Args:
        correct: correctness in [0, 1]; checkpoint 0 is the base (the same for all seeds).
        steps: training steps, shape (checkpoints,), log-spaced, the first 0.
        seed: identity of the resampling.
        margin: movement from the base that counts, a share.
        wobble: standard deviation of a checkpoint around a smooth shape, a share.
        level: 1 - the rate at which a constant curve is called anything but flat.

    Raises:
        ElicitError: for arrays or steps that do not fit (see `resampling.checked`), or a margin outside (0, 0.2).
    """
    times = np.asarray(steps, dtype=np.float64)
    scores = validate_correctness(np.asarray(correct), times)
    if not 0 < margin < 0.2 or wobble < 0 or not 0 < level < 1:
        raise ElicitError(f"curve: need 0 < margin < 0.2, wobble >= 0, 0 < level < 1; got {margin}, {wobble}, {level}")
    seeds, _, problems = scores.shape
    data = bootstrap_curve(scores, seed)
    covariance = inflate_covariance(data, wobble)
    shape_weights = weigh_shapes(data.curve, covariance, margin)
    flat_p = compute_movement_p(data.curve, covariance, seed)
    probable = max(shape_weights.probabilities, key=lambda name: shape_weights.probabilities[name])
    shape = probable if flat_p < 1 - level else "flat"
    low, high = np.quantile(data.draws, [0.025, 0.975], axis=0)
    return CurveClassification(
        shape=shape,
        probabilities=shape_weights.probabilities,
        flat_p=flat_p,
        misfit_p=_compute_misfit_p(data.curve, covariance, shape_weights, shape, margin),
        steps=tuple(times.tolist()),
        accuracy=tuple(
            Estimate(float(c), problems, (float(a), float(b))) for c, a, b in zip(data.curve, low, high, strict=True)
        ),
        end_minus_start=estimate_difference(scores[:, -1], scores[:1, 0], reference_trained=False),
        turn=_estimate_turn(shape_weights, shape, times, problems, margin, seed),
        danger=find_danger_zone(data, times),
        note="" if seeds > 1 else "One training seed: how much another training run would differ is not covered.",
    )


def inflate_covariance(data: CurveBootstrap, wobble: float = WOBBLE) -> Float[np.ndarray, "checkpoints checkpoints"]:
    """Bootstrap covariance of a curve, and how far its checkpoints may lie off a smooth shape."""
    deviation = math.hypot(wobble, GRAIN * float(np.ptp(data.curve)))
    return np.asarray(data.covariance + deviation**2 * np.eye(len(data.curve)))


def compute_movement_p(curve: Float[np.ndarray, " n"], covariance: Float[np.ndarray, "n n"], seed: int) -> float:
    """p of the sup-t test that the curve is constant (step 1); covariance as for `shapes.weigh`."""
    contrasts = _build_window_contrasts(len(curve))
    errors = np.sqrt(np.einsum("wi,ij,wj->w", contrasts, covariance, contrasts))
    scaled = contrasts / errors[:, None]
    normals = make_generator("movement_p", seed).standard_normal((_NULL_DRAWS, len(curve)))
    null = np.abs(normals @ (np.linalg.cholesky(covariance).T @ scaled.T)).max(axis=1)
    observed = float(np.abs(scaled @ curve).max())
    return (1 + int((null >= observed).sum())) / (1 + _NULL_DRAWS)


def find_danger_zone(
    data: CurveBootstrap, steps: Float[np.ndarray, " checkpoints"], level: float = LEVEL
) -> DangerZone:
    """Steps at which stopping is worse than the base, simultaneously over steps at `level`."""
    gains = data.curve[1:] - data.curve[0]
    resampled_gains = data.draws[:, 1:] - data.draws[:, :1]
    variances = np.diag(data.covariance)
    errors = np.sqrt(variances[1:] + variances[0] - 2 * data.covariance[0, 1:])
    critical = float(np.quantile(((gains - resampled_gains) / errors).max(axis=1), level))
    worse = (resampled_gains < 0).mean(axis=0) + 0.5 * (resampled_gains == 0).mean(axis=0)
    below = gains + critical * errors < 0
    return DangerZone(tuple(steps[1:][below].tolist()), tuple(worse.tolist()))


def measure_stopping_cost(
    correct: np.ndarray, steps: Sequence[float], in_domain_loss: Float[np.ndarray, " checkpoints"], *, seed: int = 0
) -> StoppingCost:
    """Measure the out-of-domain loss of stopping at the checkpoint with the lowest in-domain loss.

    A loss of NaN is no candidate (the base may have none). Losses of several seeds: average them first.

    Raises:
        ElicitError: as `classify`; also for losses that do not fit the checkpoints, or are all missing.
    """
    times = np.asarray(steps, dtype=np.float64)
    scores = validate_correctness(np.asarray(correct), times)
    losses = np.asarray(in_domain_loss, dtype=np.float64)
    if losses.shape != times.shape or bool(np.isnan(losses).all()):
        raise ElicitError(f"curve: in-domain loss has shape {losses.shape}; give one number per checkpoint")
    stop = int(np.nanargmin(losses))
    by_problem = scores.mean(axis=0)
    problems = by_problem.shape[1]
    fold = make_generator("stopped_by_loss", seed).permutation(problems) % min(_FOLDS, problems)
    lost = np.empty(problems)
    for held_out in range(min(_FOLDS, problems)):
        chosen = int(by_problem[:, fold != held_out].mean(axis=1).argmax())
        lost[fold == held_out] = (by_problem[chosen] - by_problem[stop])[fold == held_out]
    return StoppingCost(float(times[stop]), estimate_mean(lost), estimate_difference(scores[:, -1], scores[:, stop]))


def _build_window_contrasts(checkpoints: int) -> Float[np.ndarray, "windows checkpoints"]:
    """Mean over a window of consecutive checkpoints minus mean over the others; every window but the whole."""
    rows = []
    # A window that ends at the last checkpoint is the complement of one that starts at the first.
    for first, last in itertools.combinations(range(checkpoints), 2):
        inside = np.zeros(checkpoints)
        inside[first:last] = 1
        rows.append(inside / inside.sum() - (1 - inside) / (1 - inside).sum())
    return np.array(rows)


def _estimate_turn(
    shape_weights: ShapeWeights, shape: str, steps: np.ndarray, problems: int, margin: float, seed: int
) -> TurnEstimate | None:
    if shape not in (*DIPS, "peak-decline"):
        return None
    rng = make_generator("turn", seed)
    curves = sample_curves(shape_weights, shape, margin, len(steps), _CURVE_DRAWS, rng)
    signed = curves if shape == "peak-decline" else -curves
    size = signed.max(axis=1)
    # Many drawn curves rest at their turn over several checkpoints: any of them may be where it is.
    turn_index = np.where(signed >= size[:, None] - _LEVEL, rng.random(signed.shape), -1.0).argmax(axis=1)
    return TurnEstimate(
        *(_summarize_draws(values, problems) for values in (size, steps[turn_index], size - signed[:, -1]))
    )


def _summarize_draws(values: Float[np.ndarray, " draws"], n: int) -> Estimate:
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975], method="inverted_cdf")
    return Estimate(float(middle), n, (float(low), float(high)))


def _compute_misfit_p(
    curve: np.ndarray, covariance: np.ndarray, shape_weights: ShapeWeights, shape: str, margin: float
) -> float:
    """p of chi-square for the best curve of the shape, K - 1 degrees of freedom (cautious: the shape was chosen)."""
    from scipy import stats

    from elicit.analysis.shapes import SHAPES, build_shape_bank, compute_largest_size

    shapes = build_shape_bank(len(curve))
    of_shape = shapes.labels == SHAPES.index(shape)
    fitted = np.zeros((1, len(curve)))
    if shape != "flat":
        sizes = np.clip(shape_weights.best[of_shape], margin, compute_largest_size(shapes)[of_shape])
        fitted = sizes[:, None] * shapes.curves[of_shape]
    precision = np.linalg.inv(covariance)
    residuals = curve - fitted
    residuals = residuals - (residuals @ precision.sum(axis=0) / precision.sum())[:, None]
    least = float(np.einsum("ci,ij,cj->c", residuals, precision, residuals).min())
    return float(stats.chi2.sf(least, len(curve) - 1)) if math.isfinite(least) else math.nan
