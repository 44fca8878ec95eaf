"""The plain shapes the dual-timescale curve has to beat: flat, one exponential, a line, a parabola or a step in log t.

All are linear given at most two numbers, so each fit is exact up to the grid of those. The step (a sigmoid) matters:
it alone among them begins late, as a mode that is switched does, and needs no dip to do so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_RATES, _MIDDLES = 400, 60
_SLOPES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)


class Alternative(NamedTuple):
    """One fitted shape."""

    name: str
    parameters: int
    chi2: float
    fitted: Float[np.ndarray, " checkpoints"]


def fit_alternatives(
    accuracy: Float[np.ndarray, " n"], steps: Float[np.ndarray, " n"], whitener: Float[np.ndarray, "n n"]
) -> list[Alternative]:
    """`flat`, `exponential-up`, `exponential-down`, `log-linear`, `log-quadratic`, in x = log(1 + t / first step);
    `sigmoid`, t^h / (t^h + m^h) with 1 <= h <= 12: a step in log t, up or down.
    """
    ones, x = np.ones_like(steps), np.log1p(steps / steps[1])
    best_fits = [
        _fit_linear_shape("flat", [ones], accuracy, whitener, 1),
        _fit_linear_shape("log-linear", [ones, x], accuracy, whitener, 2),
        _fit_linear_shape("log-quadratic", [ones, x, x**2], accuracy, whitener, 3),
    ]
    rates = np.geomspace(0.1 / steps[-1], 5 / steps[1], _RATES)
    for name, sign in (("exponential-up", 1), ("exponential-down", -1)):
        fits = [_fit_linear_shape(name, [ones, -np.expm1(-rate * steps)], accuracy, whitener, 3) for rate in rates]
        allowed = [fit for fit in fits if sign * (fit.fitted[-1] - fit.fitted[0]) >= 0]
        # No slope of the right sign: the best of its kind is the constant.
        best_fits.append(min(allowed, key=lambda fit: fit.chi2, default=best_fits[0]._replace(name=name, parameters=3)))
    sigmoids = [
        _fit_linear_shape("sigmoid", [ones, steps**slope / (steps**slope + middle**slope)], accuracy, whitener, 4)
        for middle in np.geomspace(steps[1] / 2, 2 * steps[-1], _MIDDLES)
        for slope in _SLOPES
    ]
    return [*best_fits, min(sigmoids, key=lambda fit: fit.chi2)]


def _fit_linear_shape(
    name: str, columns: list[np.ndarray], accuracy: np.ndarray, whitener: np.ndarray, parameters: int
) -> Alternative:
    design = np.stack(columns, axis=1)
    weights = np.linalg.lstsq(whitener @ design, whitener @ accuracy, rcond=None)[0]
    fitted = design @ weights
    return Alternative(name, parameters, float(((whitener @ (accuracy - fitted)) ** 2).sum()), fitted)
