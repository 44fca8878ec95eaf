"""Skill of the early-warning signals over arms, tasks and seeds. Definitions: `early_warning_signals`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.analysis.early_warning_signals import (
    SIGNALS,
    MonitoredCurve,
    MonitoredRun,
    clopper_pearson,
    find_alarm,
    find_crossing,
)
from elicit.schema import Estimate
from elicit.seeds import make_generator
from elicit.statistics import estimate_mean

_RESAMPLES = 1000


class Rate(NamedTuple):
    """A share of runs, and of their curves (arm and task: more than half of the seeds)."""

    runs: Estimate
    curves: Estimate


class SweepPoint(NamedTuple):
    """The result at another threshold; NaN where there is no such run."""

    threshold: float
    hits: float
    false: float


class SignalPerformance(NamedTuple):
    """Skill of one signal."""

    hits: Rate
    false: Rate
    declines: Rate
    late: int
    """Runs that dip whose alarm came after the trough."""
    lead: Estimate
    """Steps from alarm to trough (negative: late), over curves that dip and were alarmed."""
    auc: Estimate
    """How often a run that dips has a larger number than a calm one (0.5: by chance). n counts pairs of curves; the
    interval resamples curves."""
    sweep: tuple[SweepPoint, ...]


class CrossingPerformance(NamedTuple):
    """Skill of the predicted derivative's sign change as a mark of the turning point."""

    hits: Rate
    """Of runs that dip, those with one."""
    false: Rate
    """Of calm runs, those with one."""
    lead: Estimate
    """Steps from the crossing to the trough, over curves that dip and have one (negative: it lies after)."""


def evaluate_signal(name: str, curves: Sequence[MonitoredCurve]) -> SignalPerformance:
    """A signal over all curves that have it."""
    dips, calm, declines = (_select_curves(curves, kind, name) for kind in ("dips", "calm", "declines"))

    def is_hit(curve: MonitoredCurve, run: MonitoredRun) -> bool:
        step = find_alarm(name, run).step
        return step is not None and curve.trough is not None and step <= curve.trough

    def has_alarm(_: MonitoredCurve, run: MonitoredRun) -> bool:
        return find_alarm(name, run).step is not None

    strengths = [[_collect_strengths(name, curve) for curve in kind] for kind in (dips, calm)]
    return SignalPerformance(
        hits=_estimate_rate(dips, is_hit),
        false=_estimate_rate(calm, has_alarm),
        declines=_estimate_rate(declines, has_alarm),
        late=sum(has_alarm(curve, run) and not is_hit(curve, run) for curve in dips for run in curve.runs),
        lead=_average_lead(dips, lambda run: find_alarm(name, run).step),
        auc=_estimate_auc(*strengths),
        sweep=tuple(
            SweepPoint(h, *(_compute_share_reaching(kind, h) for kind in strengths)) for h in SIGNALS[name].sweep
        ),
    )


def evaluate_crossings(curves: Sequence[MonitoredCurve]) -> CrossingPerformance:
    """The crossings of the running integral (`gradient`)."""
    dips, calm = (_select_curves(curves, kind, "gradient") for kind in ("dips", "calm"))

    def has_crossing(_: MonitoredCurve, run: MonitoredRun) -> bool:
        return find_crossing(run.series["gradient"]) is not None

    return CrossingPerformance(
        _estimate_rate(dips, has_crossing),
        _estimate_rate(calm, has_crossing),
        _average_lead(dips, lambda r: find_crossing(r.series["gradient"])),
    )


def estimate_lead(curve: MonitoredCurve, find_step: Callable[[MonitoredRun], float | None]) -> Estimate:
    """Steps from what `step` finds to the trough: mean over the seeds in which it finds something, t interval."""
    steps = [find_step(run) for run in curve.runs] if curve.trough is not None else []
    return estimate_mean([(curve.trough or 0.0) - s for s in steps if s is not None])


def _select_curves(curves: Sequence[MonitoredCurve], kind: str, name: str) -> list[MonitoredCurve]:
    """Curves of one kind, with the runs alone that have the signal."""
    of_kind = [curve for curve in curves if curve.kind == kind]
    with_signal = [curve._replace(runs=tuple(run for run in curve.runs if name in run.series)) for curve in of_kind]
    return [curve for curve in with_signal if curve.runs]


def _estimate_rate(curves: Sequence[MonitoredCurve], predicate: Callable[[MonitoredCurve, MonitoredRun], bool]) -> Rate:
    outcomes = [[predicate(curve, run) for run in curve.runs] for curve in curves]
    return Rate(
        clopper_pearson(sum(map(sum, outcomes)), sum(map(len, outcomes))),
        clopper_pearson(sum(2 * sum(curve) > len(curve) for curve in outcomes), len(outcomes)),
    )


def _average_lead(dips: Sequence[MonitoredCurve], find_step: Callable[[MonitoredRun], float | None]) -> Estimate:
    leads = [estimate_lead(curve, find_step) for curve in dips]
    return estimate_mean([lead.value for lead in leads if lead.n])


def _collect_strengths(name: str, curve: MonitoredCurve) -> Float[np.ndarray, " runs"]:
    until = curve.trough if curve.dips else None
    strengths = np.array([find_alarm(name, run, until=until).strength for run in curve.runs])
    return np.asarray(strengths[~np.isnan(strengths)])


def _compute_share_reaching(kind: Sequence[np.ndarray], threshold: float) -> float:
    values = np.concatenate([*kind, np.array([])])
    return float((values >= threshold).mean()) if values.size else math.nan


def _estimate_auc(dips: Sequence[np.ndarray], calm: Sequence[np.ndarray]) -> Estimate:
    """Curves count equally whatever their seeds; no interval with fewer than 2 curves of a kind."""
    dips, calm = ([curve for curve in kind if curve.size] for kind in (dips, calm))
    if not dips or not calm:
        return Estimate(math.nan, 0, None)
    above = np.array([[((d[:, None] > c) + 0.5 * (d[:, None] == c)).mean() for c in calm] for d in dips])
    value, n = float(above.mean()), above.size
    if min(above.shape) < 2:
        return Estimate(value, n, None)
    rng = make_generator("auc", *above.shape)
    draws = [
        above[np.ix_(rng.integers(len(dips), size=len(dips)), rng.integers(len(calm), size=len(calm)))].mean()
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    # All pairs alike leave no spread, which is not certainty.
    return Estimate(value, n, None if high == low else (float(low), float(high)))
