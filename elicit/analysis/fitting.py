"""Many weighted least-squares fits of the dual-timescale curve at once (the numerical part of `timescale_fit`).

The mean is f(t) = b + w (p(t) - rho s(t)), parameters theta = (b, log w, log rho, log ks, log k) within a box.

1. Starts: on a grid of (ks, k) the other three are linear; solve them, move them into the box, and keep the best cell
   with ks > k (room for a dip) and the best with ks <= k.
2. Levenberg-Marquardt with analytic derivatives from each start, steps cut to the box; the better end wins.

Everything is vectorised over data sets, so that a bootstrap of hundreds of refits takes a fraction of a second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

PARAMETERS = ("base", "w", "rho", "ks", "k")
_GRID, _ITERATIONS = 18, 40
Whitener = Float[np.ndarray, "sets checkpoints checkpoints"]


class ParameterBounds(NamedTuple):
    """Bounds of theta."""

    low: Float[np.ndarray, " 5"]
    high: Float[np.ndarray, " 5"]


class CurveFits(NamedTuple):
    """One row per data set."""

    theta: Float[np.ndarray, "sets 5"]
    chi2: Float[np.ndarray, " sets"]


def compute_bounds(steps: Float[np.ndarray, " checkpoints"]) -> ParameterBounds:
    """w in [0.005, 2], rho in [0.01, 20], rates from a tenth of 1 / last step to 5 / first trained step."""
    slow, fast = np.log(0.1 / steps[-1]), np.log(5 / steps[1])
    return ParameterBounds(
        np.array([0.0, np.log(0.005), np.log(0.01), slow, slow]), np.array([1.0, np.log(2), np.log(20), fast, fast])
    )


def evaluate_curves(theta: Float[np.ndarray, "sets 5"], steps: Float[np.ndarray, " n"]) -> Float[np.ndarray, "sets n"]:
    """f(t) of every row."""
    base, w, rho, ks, k = _split_parameters(theta)
    return np.asarray(base + w * (rho * np.expm1(-ks * steps) - np.expm1(-k * steps)))


def compute_derivatives(
    theta: Float[np.ndarray, "sets 5"], steps: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "sets n 5"]:
    """df / dtheta of every row."""
    _, w, rho, ks, k = _split_parameters(theta)
    surface, procedure = -np.expm1(-ks * steps), -np.expm1(-k * steps)
    parts = (
        np.ones_like(surface),
        w * (procedure - rho * surface),
        -w * rho * surface,
        -w * rho * ks * steps * np.exp(-ks * steps),
        w * k * steps * np.exp(-k * steps),
    )
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def fit_many(
    accuracies: Float[np.ndarray, "sets checkpoints"],
    steps: Float[np.ndarray, " checkpoints"],
    whitener: Whitener,
    bounds: ParameterBounds,
    *,
    near: Float[np.ndarray, "sets 5"] | None = None,
) -> CurveFits:
    """The best fit of every row; `near` is a further start. whitener W: chi2 = |W (y - f)|^2."""
    starts = _find_grid_starts(accuracies, steps, whitener, bounds)
    if near is not None:
        starts.append(near)
    ends = [run_levenberg_marquardt(accuracies, steps, whitener, bounds, start) for start in starts]
    chi2 = np.stack([end.chi2 for end in ends])
    best = chi2.argmin(axis=0)
    rows = np.arange(len(accuracies))
    return CurveFits(np.stack([end.theta for end in ends])[best, rows], chi2[best, rows])


def run_levenberg_marquardt(
    accuracies: Float[np.ndarray, "sets checkpoints"],
    steps: Float[np.ndarray, " checkpoints"],
    whitener: Whitener,
    bounds: ParameterBounds,
    start: Float[np.ndarray, "sets 5"],
    *,
    free: Bool[np.ndarray, "sets 5"] | None = None,
) -> CurveFits:
    """Levenberg-Marquardt from `start`; parameters that are not `free` keep their starting value."""
    theta = np.clip(start, bounds.low, bounds.high) if free is None else start.copy()
    chi2 = _compute_chi2(accuracies, steps, whitener, theta)
    damping = np.full(len(theta), 1e-2)
    for _ in range(_ITERATIONS):
        slopes = whitener @ compute_derivatives(theta, steps)
        residuals = np.einsum("mij,mj->mi", whitener, accuracies - evaluate_curves(theta, steps))
        downhill = np.einsum("mki,mk->mi", slopes, residuals)
        # A parameter at its bound whose step would leave the box is held there, or the others could not move on.
        at_bound = (theta <= bounds.low + 1e-12) & (downhill < 0) | (theta >= bounds.high - 1e-12) & (downhill > 0)
        moving = ~at_bound if free is None else ~at_bound & free
        slopes = slopes * moving[:, None, :]
        normal = np.einsum("mki,mkj->mij", slopes, slopes)
        diagonal = np.einsum("mii->mi", normal)
        raised = damping[:, None] * (diagonal + 1e-3) + 1e-9
        proposed = np.linalg.solve(normal + raised[:, :, None] * np.eye(5), (downhill * moving)[:, :, None])[:, :, 0]
        moved = np.clip(theta + np.clip(proposed, -2, 2), bounds.low, bounds.high)
        moved = np.where(moving, moved, theta)
        trial = _compute_chi2(accuracies, steps, whitener, moved)
        better = trial < chi2
        theta, chi2 = np.where(better[:, None], moved, theta), np.where(better, trial, chi2)
        damping = np.clip(np.where(better, damping / 4, damping * 5), 1e-9, 1e9)
    return CurveFits(theta, chi2)


def _compute_chi2(
    accuracies: np.ndarray, steps: np.ndarray, whitener: np.ndarray, theta: np.ndarray
) -> Float[np.ndarray, " sets"]:
    return np.asarray((np.einsum("mij,mj->mi", whitener, accuracies - evaluate_curves(theta, steps)) ** 2).sum(axis=1))


def _find_grid_starts(
    accuracies: np.ndarray, steps: np.ndarray, whitener: np.ndarray, bounds: ParameterBounds
) -> list[Float[np.ndarray, "sets 5"]]:
    """The best grid cell with ks > k and the best with ks <= k, by the mean whitener of the rows."""
    rates = np.linspace(bounds.low[3], bounds.high[3], _GRID)
    surface, procedure = (grid.ravel() for grid in np.meshgrid(rates, rates, indexing="ij"))
    ones = np.ones((len(surface), len(steps)))
    design = np.stack(
        [ones, -np.expm1(-np.exp(procedure)[:, None] * steps), np.expm1(-np.exp(surface)[:, None] * steps)]
    )
    average = whitener.mean(axis=0)
    white = np.einsum("ij,dgj->gid", average, design)
    # On the diagonal the two columns are collinear: the pseudo-inverse halves the difference, good enough to start.
    linear = np.einsum("gdi,mi->mgd", np.linalg.pinv(white, rcond=1e-6), accuracies @ average.T)
    w = np.clip(linear[:, :, 1], np.exp(bounds.low[1]), np.exp(bounds.high[1]))
    rho = np.clip(np.maximum(linear[:, :, 2], 0) / w, np.exp(bounds.low[2]), np.exp(bounds.high[2]))
    gains = w[:, :, None] * (design[1] + rho[:, :, None] * design[2])
    residuals = (accuracies[:, None] - gains) @ average.T
    level = average.sum(axis=1)
    base = np.clip(residuals @ level / (level @ level), bounds.low[0], bounds.high[0])
    misfit = ((residuals - base[:, :, None] * level) ** 2).sum(axis=2)
    starts = []
    for allowed in (surface > procedure, surface <= procedure):
        cell = np.where(allowed, misfit, np.inf).argmin(axis=1)
        rows = np.arange(len(accuracies))
        linear_parts = [base[rows, cell], np.log(w[rows, cell]), np.log(rho[rows, cell])]
        starts.append(np.stack([*linear_parts, surface[cell], procedure[cell]], axis=1))
    return starts


def _split_parameters(theta: np.ndarray) -> tuple[np.ndarray, ...]:
    return theta[:, :1], *(np.exp(theta[:, i : i + 1]) for i in range(1, 5))
