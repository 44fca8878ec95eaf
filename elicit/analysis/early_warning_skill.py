"""What the signals of early warning are worth, over arms, tasks and seeds. Definitions are those of `warning`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.analysis.early_warning_signals import SIGNALS, Run, Watched, alarm, crossing, exact
from elicit.schema import Estimate
from elicit.seeds import generator
from elicit.statistics import mean

_RESAMPLES = 1000


class Rate(NamedTuple):
    """How many of some runs, and of their curves (arm and task: more than half of the seeds)."""

    runs: Estimate
    curves: Estimate


class Point(NamedTuple):
    """What another threshold would have given; NaN where there is no such run."""

    threshold: float
    hits: float
    false: float


class Verdict(NamedTuple):
    """What one signal is worth."""

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
    sweep: tuple[Point, ...]


class Crossings(NamedTuple):
    """What the sign change of the predicted derivative is worth as a mark of the turning point."""

    found: Rate
    """Of runs that dip, those with one."""
    false: Rate
    """Of calm runs, those with one."""
    lead: Estimate
    """Steps from the crossing to the trough, over curves that dip and have one (negative: it lies after)."""


def verdict(name: str, watched: Sequence[Watched]) -> Verdict:
    """A signal over all curves that have it."""
    dips, calm, declines = (_of(watched, kind, name) for kind in ("dips", "calm", "declines"))

    def hit(one: Watched, run: Run) -> bool:
        step = alarm(name, run).step
        return step is not None and one.trough is not None and step <= one.trough

    def any_alarm(_: Watched, run: Run) -> bool:
        return alarm(name, run).step is not None

    strengths = [[_strengths(name, one) for one in kind] for kind in (dips, calm)]
    return Verdict(
        hits=_rate(dips, hit),
        false=_rate(calm, any_alarm),
        declines=_rate(declines, any_alarm),
        late=sum(any_alarm(one, run) and not hit(one, run) for one in dips for run in one.runs),
        lead=_lead(dips, lambda run: alarm(name, run).step),
        auc=_auc(*strengths),
        sweep=tuple(Point(h, *(_reaching(kind, h) for kind in strengths)) for h in SIGNALS[name].sweep),
    )


def crossings(watched: Sequence[Watched]) -> Crossings:
    """The crossings of the running integral (`gradient`)."""
    dips, calm = (_of(watched, kind, "gradient") for kind in ("dips", "calm"))

    def crosses(_: Watched, run: Run) -> bool:
        return crossing(run.series["gradient"]) is not None

    return Crossings(_rate(dips, crosses), _rate(calm, crosses), _lead(dips, lambda r: crossing(r.series["gradient"])))


def lead_of(one: Watched, step: Callable[[Run], float | None]) -> Estimate:
    """Steps from what `step` finds to the trough: mean over the seeds in which it finds something, t interval."""
    found = [step(run) for run in one.runs] if one.trough is not None else []
    return mean([(one.trough or 0.0) - s for s in found if s is not None])


def _of(watched: Sequence[Watched], kind: str, name: str) -> list[Watched]:
    """Curves of one kind, with the runs alone that have the signal."""
    of_kind = [one for one in watched if one.kind == kind]
    kept = [one._replace(runs=tuple(run for run in one.runs if name in run.series)) for one in of_kind]
    return [one for one in kept if one.runs]


def _rate(watched: Sequence[Watched], is_so: Callable[[Watched, Run], bool]) -> Rate:
    said = [[is_so(one, run) for run in one.runs] for one in watched]
    return Rate(
        exact(sum(map(sum, said)), sum(map(len, said))),
        exact(sum(2 * sum(one) > len(one) for one in said), len(said)),
    )


def _lead(dips: Sequence[Watched], step: Callable[[Run], float | None]) -> Estimate:
    leads = [lead_of(one, step) for one in dips]
    return mean([lead.value for lead in leads if lead.n])


def _strengths(name: str, one: Watched) -> Float[np.ndarray, " runs"]:
    until = one.trough if one.dips else None
    found = np.array([alarm(name, run, until=until).strength for run in one.runs])
    return np.asarray(found[~np.isnan(found)])


def _reaching(kind: Sequence[np.ndarray], threshold: float) -> float:
    values = np.concatenate([*kind, np.array([])])
    return float((values >= threshold).mean()) if values.size else math.nan


def _auc(dips: Sequence[np.ndarray], calm: Sequence[np.ndarray]) -> Estimate:
    """Curves count equally whatever their seeds; no interval with fewer than 2 curves of a kind."""
    dips, calm = ([one for one in kind if one.size] for kind in (dips, calm))
    if not dips or not calm:
        return Estimate(math.nan, 0, None)
    above = np.array([[((d[:, None] > c) + 0.5 * (d[:, None] == c)).mean() for c in calm] for d in dips])
    value, n = float(above.mean()), above.size
    if min(above.shape) < 2:
        return Estimate(value, n, None)
    rng = generator("auc", *above.shape)
    draws = [
        above[np.ix_(rng.integers(len(dips), size=len(dips)), rng.integers(len(calm), size=len(calm)))].mean()
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    # All pairs alike leave no spread, which is not certainty.
    return Estimate(value, n, None if high == low else (float(low), float(high)))
