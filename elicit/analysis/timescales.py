"""The dual-timescale model of a dip: a surface form learned fast that costs, a procedure learned slowly that pays.

1. Surface s(t) = 1 - exp(-ks t); procedure p(t) = 1 - exp(-k t), k = kp * capability * quality; t in training steps.
2. Out-of-domain gain over the base: g(t) = w (p(t) - rho s(t)), w > 0 in accuracy (a share), rho >= 0.
3. With r = ks / k the slope at 0 is w k (1 - rho r), so the curve falls at first iff rho r > 1.
4. It turns once, at t* = ln(rho r) / (ks - k), where exp(-k t*) = (rho r)^(-1/(r-1)) and therefore
   g(t*) = w (1 - rho - (1 - 1/r) (rho r)^(-1/(r-1))).
5. It ends at w (1 - rho): above the start iff rho < 1.

"A dip exists iff rho r > 1" presumes that surface is the faster one. All cases (`regime`):

| | rho r > 1 | rho r <= 1 |
|---|---|---|
| r > 1 | dip at t* (recovers above the start iff rho < 1) | rises throughout |
| r < 1 | falls throughout (t* would be negative) | rho r < 1: peak at t*, then decline |
| r = 1 | falls throughout | rises throughout (constant at rho = 1) |

At r -> 1 with rho r > 1, t* grows without limit and the trough is the end, w (1 - rho); for rho = 1 it tends to 1 / k
at depth 0. This is the model of METHODS ("Generalization of SFT") for the dips of 2604.06628, not one that paper fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from elicit.errors import ElicitError

Regime = Literal["dip", "peak", "rise", "fall", "constant"]


class TurningPoint(NamedTuple):
    """The only turn of the curve: a trough (gain < 0) or a peak (gain > 0)."""

    step: float
    """t*; infinite where r = 1."""
    gain: float
    """g(t*), a share; negative in a trough."""


@dataclass(frozen=True)
class Timescales:
    """The parameters of one curve."""

    w: float
    """Accuracy that the procedure is worth, a share."""
    rho: float
    """What the surface costs, in units of w."""
    ks: float
    """Rate of the surface, per step."""
    k: float
    """Rate of the procedure, per step (see `procedure_rate`)."""

    def __post_init__(self) -> None:
        if not (self.w > 0 and self.rho >= 0 and self.ks > 0 and self.k > 0):
            raise ElicitError(f"timescales: need w > 0, rho >= 0, ks > 0, k > 0; got {self}")

    @property
    def r(self) -> float:
        """Ratio of the surface's rate to the procedure's."""
        return self.ks / self.k

    @property
    def end(self) -> float:
        """Gain after unlimited training."""
        return self.w * (1 - self.rho)

    def compute_gain(self, steps: ArrayLike) -> np.ndarray:
        """g at these steps, a share; the shape of `steps`."""
        t = np.asarray(steps, dtype=np.float64)
        # expm1 keeps the digits of small rates.
        return np.asarray(self.w * (self.rho * np.expm1(-self.ks * t) - np.expm1(-self.k * t)))


def compute_procedure_rate(kp: float, capability: float, quality: float) -> float:
    """k = kp * capability * quality: a stronger base and better traces learn the procedure faster."""
    return kp * capability * quality


def classify_regime(model: Timescales) -> Regime:
    """Find the case of the table above."""
    slope, r = 1 - model.rho * model.r, model.r
    if r > 1:
        return "dip" if slope < 0 else "rise"
    if r < 1:
        return "peak" if slope > 0 and model.rho > 0 else "rise" if slope > 0 else "fall"
    return "rise" if model.rho < 1 else "fall" if model.rho > 1 else "constant"


def find_turning_point(model: Timescales) -> TurningPoint | None:
    """Trough or peak in closed form; None where the curve does not turn."""
    if classify_regime(model) not in ("dip", "peak"):
        return None
    r, product = model.r, model.rho * model.r
    # ln(rho r) / (r - 1) with digits at r near 1, where both go to 0 for rho = 1.
    exponent = (math.log(model.rho) + math.log1p(r - 1)) / (r - 1)
    step = exponent / model.k
    if product == 1 or not math.isfinite(step):
        return None
    return TurningPoint(step, model.w * (1 - model.rho - (1 - 1 / r) * math.exp(-exponent)))


def find_break_even(model: Timescales) -> float | None:
    """The step after a dip at which the base's accuracy is reached again: the end of the danger zone.

    None without a dip; infinite for rho >= 1, where it never is.
    """
    turn = find_turning_point(model)
    if turn is None or classify_regime(model) != "dip":
        return None
    if model.rho >= 1:
        return math.inf
    from scipy import optimize

    after = turn.step
    while float(model.compute_gain(after)) <= 0:
        after *= 2
        if after * model.k > 1e3:  # rho within rounding of 1: g = 0 is reached in the limit only
            return math.inf
    return float(optimize.brentq(lambda t: float(model.compute_gain(t)), turn.step, after, xtol=1e-12, rtol=1e-12))
