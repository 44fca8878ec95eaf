"""Early warning: how soon a signal tells that another task is getting worse, and how often it tells so for nothing.

A *run* is one training seed of one arm, seen on one task that it was not trained on. A *signal* is a number at every
look (or checkpoint) up to now, so that an alarm can be raised while training goes on: the first time the signal
reaches its threshold. Thresholds were fixed beforehand, by no data; `sweep` shows what others would have given.

| signal | number (what it needs) | threshold |
|---|---|---|
| gradient | rise of the running integral of update . g_out above its lowest so far, nats a token (`probes`) | 0.02 |
| trapezoid | the same with g_out averaged over both ends of each interval (no dearer) | 0.02 |
| loss | rise of the measured loss on the same rows above its lowest so far (a forward pass: the cheap rival) | 0.02 |
| cosine | minus the mean of cos(g_in, g_out) over the last 3 looks | 0.05 |
| token_accuracy | share of right tokens on held-out problems of the task that is trained on (free) | 0.99 |
| length | answers grown over the shortest so far, relative (free where answers are sampled anyway) | 0.2 |
| finished | fall of the share of finished answers below the highest so far (likewise) | 0.05 |

What happened is read off the measured accuracy: the shape of the arm's curve (`curves.classify`, seeds together).

- *dips* (dip-recover, dip-only): an alarm at the trough or before is a hit, and trough - alarm its lead in steps. The
  trough is that of the classified curve, for all seeds of the arm, and known no better than checkpoints are spaced.
  `strength` is the largest number up to the trough, for the other curves up to the end.
- *calm* (flat, monotone-up): accuracy never fell, and any alarm is false.
- *declines* (monotone-down, peak-decline): no dip, but no false alarm either; counted apart.

The *crossing* is where the predicted derivative of the loss changes sign for good measure: the highest point of the
running integral, if it rose by the threshold of `gradient` before and fell by as much after. It should lie at the
peak of the measured loss (found by the same rule) and, if loss tells about accuracy, at the trough. Being the highest
point of the whole run, it is known afterwards only: it locates, it does not warn. Crossings on calm curves are false.

Rates over runs have exact (Clopper-Pearson) intervals as if runs were independent; seeds of an arm are not quite, so
`curves` counts each arm and task once (alarmed: more than half of its seeds). Leads are means over arms and tasks of
their seeds' mean, with t intervals over arms and tasks. Nothing here corrects for a shape that was classified wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.analysis.shapes import DIPS
from elicit.schema import Estimate

#: What a curve of accuracy did -> the shapes that say so.
KINDS: dict[str, tuple[str, ...]] = {
    "dips": DIPS,
    "calm": ("flat", "monotone-up"),
    "declines": ("monotone-down", "peak-decline"),
}
_LAST = 3


class Signal(NamedTuple):
    """From what was measured to a number that calls for an alarm when it is large."""

    number: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]
    threshold: float
    unit: str
    sweep: tuple[float, ...]


class SignalSeries(NamedTuple):
    """Measurements of one run, in the order of steps; NaN for unknown ones."""

    steps: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]


class MonitoredRun(NamedTuple):
    """One training seed of one arm, seen on one other task."""

    series: Mapping[str, SignalSeries]
    """By the names of SIGNALS: gradient and trapezoid as running integrals (0 at the first look), others as measured.
    A signal that was not measured is absent."""


class MonitoredCurve(NamedTuple):
    """The runs of one arm on one task, and what became of its accuracy."""

    runs: tuple[MonitoredRun, ...]
    shape: str | None
    """One of `shapes.SHAPES`; None where accuracy was not followed."""
    trough: float | None = None
    """The step of the trough, of a curve that dips."""

    @property
    def kind(self) -> str | None:
        """dips, calm or declines."""
        return next((kind for kind, shapes in KINDS.items() if self.shape in shapes), None)

    @property
    def dips(self) -> bool:
        return self.kind == "dips"


class Alarm(NamedTuple):
    """One signal in one run."""

    step: float | None
    """Of the alarm; None: none was raised."""
    strength: float
    """The largest number; NaN if nothing is known."""


def compute_rise(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Above the lowest so far."""
    return np.asarray(values - np.fmin.accumulate(values))


def compute_fall(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Below the highest so far."""
    return np.asarray(np.fmax.accumulate(values) - values)


def compute_growth(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Over the lowest so far, relative to it; NaN where that is 0."""
    lowest = np.fmin.accumulate(values)
    return np.asarray(compute_rise(values) / np.where(lowest > 0, lowest, math.nan))


def negate_recent_mean(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Minus the mean of the last looks; NaN before there are as many."""
    negated = np.full(len(values), math.nan)
    for k in range(_LAST - 1, len(values)):
        negated[k] = -values[k - _LAST + 1 : k + 1].mean()
    return negated


_NATS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SIGNALS: dict[str, Signal] = {
    "gradient": Signal(compute_rise, 0.02, "nats/token", _NATS),
    "trapezoid": Signal(compute_rise, 0.02, "nats/token", _NATS),
    "loss": Signal(compute_rise, 0.02, "nats/token", _NATS),
    "cosine": Signal(negate_recent_mean, 0.05, "cosine", (0.0, 0.02, 0.05, 0.1, 0.2)),
    "token_accuracy": Signal(np.asarray, 0.99, "share", (0.9, 0.95, 0.98, 0.99, 0.995, 1.0)),
    "length": Signal(compute_growth, 0.2, "share", (0.05, 0.1, 0.2, 0.5, 1.0)),
    "finished": Signal(compute_fall, 0.05, "share", (0.02, 0.05, 0.1, 0.2)),
}


def find_alarm(name: str, run: MonitoredRun, *, until: float | None = None, threshold: float | None = None) -> Alarm:
    """The alarm of a signal in a run.

    Args:
        until: the last step that counts for `strength`.
        threshold: in place of the signal's own.
    """
    signal, series = SIGNALS[name], run.series[name]
    numbers = signal.number(series.values)
    reached = np.flatnonzero(numbers >= (signal.threshold if threshold is None else threshold))
    counted = numbers[series.steps <= (math.inf if until is None else until)]
    known = counted[~np.isnan(counted)]
    strength = float(known.max()) if known.size else math.nan
    return Alarm(float(series.steps[reached[0]]) if reached.size else None, strength)


def find_crossing(series: SignalSeries, threshold: float = SIGNALS["gradient"].threshold) -> float | None:
    """The step of the highest point, if the series rose by the threshold before it and fell by as much after."""
    if np.isnan(series.values).all():
        return None
    top = int(np.nanargmax(series.values))
    before, after = np.nanmin(series.values[: top + 1]), np.nanmin(series.values[top:])
    high = series.values[top]
    return float(series.steps[top]) if min(high - before, high - after) >= threshold else None


def compute_explained_share(changes: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> float:
    """1 - (sum of squared errors) / (sum of squares) of the changes from look to look: 1 is perfect, 0 is what
    predicting no change would give, below 0 is worse than that. NaN where nothing changed."""
    total = float((changes**2).sum())
    return 1 - float(((changes - predicted) ** 2).sum()) / total if total > 0 else math.nan


def clopper_pearson(count: int, n: int, level: float = 0.95) -> Estimate:
    """A share with its Clopper-Pearson interval; NaN and none for n = 0."""
    if n == 0:
        return Estimate(math.nan, 0, None)
    from scipy import stats

    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, count, n - count + 1)) if count else 0.0
    high = float(stats.beta.isf(tail, count + 1, n - count)) if count < n else 1.0
    return Estimate(count / n, n, (low, high))
