"""The two figures of the dual-timescale model as data; drawing belongs to the report and the notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.analysis.timescales import Timescales, TurningPoint, classify_regime, find_break_even, find_turning_point


class BaseCurve(NamedTuple):
    """One base under training."""

    name: str
    gain: Float[np.ndarray, " steps"]
    """Accuracy minus the base's, a share."""
    turn: TurningPoint | None
    danger: tuple[float, float] | None
    """Steps between which the model is worse than its base: from 0 to the break-even step (infinite if it never is)."""


class TwoBases(NamedTuple):
    """Figure 1: a strong and a weak base on the same data."""

    steps: Float[np.ndarray, " steps"]
    curves: tuple[BaseCurve, ...]


class DipMap(NamedTuple):
    """Figure 2: where the model dips, and how deep."""

    r: Float[np.ndarray, " r"]
    rho: Float[np.ndarray, " rho"]
    depth: Float[np.ndarray, "rho r"]
    """Depth of the trough in units of w; 0 where there is no dip."""
    boundary: Float[np.ndarray, " r"]
    """rho = 1 / r: above it the curve dips. Below rho = 1 it recovers past the start."""


def compute_two_bases(
    strong: Timescales, weak: Timescales, steps: Sequence[float] | Float[np.ndarray, " steps"]
) -> TwoBases:
    """Gains of both bases at these steps, with trough and danger zone."""
    t = np.asarray(steps, dtype=np.float64)
    return TwoBases(t, tuple(_build_base_curve(name, model, t) for name, model in (("strong", strong), ("weak", weak))))


def compute_dip_map(
    r: Sequence[float] | Float[np.ndarray, " r"], rho: Sequence[float] | Float[np.ndarray, " rho"]
) -> DipMap:
    """Depth of the dip over ratio of rates and cost of the surface, from the closed form; r > 1 can dip.

    For r <= 1 there is no trough (see `timescales.regime`): the depth is 0 although the curve may fall throughout.
    """
    ratios, costs = np.asarray(r, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    depth = np.array([[_compute_dip_depth(float(ratio), float(cost)) for ratio in ratios] for cost in costs])
    return DipMap(ratios, costs, depth, 1 / ratios)


def _build_base_curve(name: str, model: Timescales, steps: Float[np.ndarray, " steps"]) -> BaseCurve:
    even = find_break_even(model)
    return BaseCurve(name, model.compute_gain(steps), find_turning_point(model), None if even is None else (0.0, even))


def _compute_dip_depth(r: float, rho: float) -> float:
    model = Timescales(w=1.0, rho=rho, ks=r, k=1.0)
    turn = find_turning_point(model)
    return -turn.gain if turn is not None and classify_regime(model) == "dip" else 0.0
