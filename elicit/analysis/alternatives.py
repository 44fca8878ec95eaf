"""The plain shapes the dual-timescale curve has to beat: flat, one exponential, a line or a parabola in log t.

All are linear given at most one rate, so each fit is exact up to the grid of rates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_RATES = 400


class Alternative(NamedTuple):
    """One fitted shape."""

    name: str
    parameters: int
    chi2: float
    fitted: Float[np.ndarray, " checkpoints"]


def alternatives(
    accuracy: Float[np.ndarray, " n"], steps: Float[np.ndarray, " n"], whitener: Float[np.ndarray, "n n"]
) -> list[Alternative]:
    """`flat`, `exponential-up`, `exponential-down`, `log-linear`, `log-quadratic`, in x = log(1 + t / first step)."""
    ones, x = np.ones_like(steps), np.log1p(steps / steps[1])
    found = [
        _linear("flat", [ones], accuracy, whitener, 1),
        _linear("log-linear", [ones, x], accuracy, whitener, 2),
        _linear("log-quadratic", [ones, x, x**2], accuracy, whitener, 3),
    ]
    rates = np.geomspace(0.1 / steps[-1], 5 / steps[1], _RATES)
    for name, sign in (("exponential-up", 1), ("exponential-down", -1)):
        fits = [_linear(name, [ones, -np.expm1(-rate * steps)], accuracy, whitener, 3) for rate in rates]
        allowed = [fit for fit in fits if sign * (fit.fitted[-1] - fit.fitted[0]) >= 0]
        # No slope of the right sign: the best of its kind is the constant.
        found.append(min(allowed, key=lambda fit: fit.chi2, default=found[0]._replace(name=name, parameters=3)))
    return found


def _linear(
    name: str, columns: list[np.ndarray], accuracy: np.ndarray, whitener: np.ndarray, parameters: int
) -> Alternative:
    design = np.stack(columns, axis=1)
    weights = np.linalg.lstsq(whitener @ design, whitener @ accuracy, rcond=None)[0]
    fitted = design @ weights
    return Alternative(name, parameters, float(((whitener @ (accuracy - fitted)) ** 2).sum()), fitted)
