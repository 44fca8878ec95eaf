"""Alarms on curves whose truth is planted, and rates against counting by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from elicit.analysis.early_warning_signals import (
    SIGNALS,
    MonitoredCurve,
    MonitoredRun,
    SignalSeries,
    clopper_pearson,
    compute_explained_share,
    find_alarm,
    find_crossing,
)
from elicit.analysis.early_warning_skill import estimate_lead, evaluate_crossings, evaluate_signal

STEPS = np.arange(101.0)


def _bump(peak: float, height: float) -> np.ndarray:
    """A loss that rises to `height` at `peak` and falls as fast again, from 0 over 100 steps."""
    return height * (1 - np.abs(STEPS - peak) / peak)


def _run(values: np.ndarray, **others: SignalSeries) -> MonitoredRun:
    return MonitoredRun({"gradient": SignalSeries(STEPS[: len(values)], values), **others})


def test_an_alarm_comes_when_the_planted_loss_has_risen_by_the_threshold() -> None:
    falls_first = np.concatenate([np.linspace(0, -1, 21), -1 + 0.0041 * np.arange(1, 81)])
    found = find_alarm("gradient", _run(falls_first))
    assert found.step == 25, "0.02 nats above the lowest point, which is at step 20"
    assert found.strength == pytest.approx(0.328)
    assert find_alarm("gradient", _run(falls_first), until=40).strength == pytest.approx(0.082)
    assert find_alarm("gradient", _run(falls_first), threshold=0.1).step == 45
    assert find_alarm("gradient", _run(0 * falls_first)) == (None, 0.0)
    points = np.array([0.0, 10, 20, 40, 80])
    beside = {
        "length": SignalSeries(points, np.array([50.0, 40, 47, 48, 200])),
        "finished": SignalSeries(points, np.array([0.9, 1.0, 0.96, 0.95, 0.5])),
        "token_accuracy": SignalSeries(points, np.array([0.5, 0.98, 0.99, 1.0, 1.0])),
        "cosine": SignalSeries(points, np.array([-1.0, 0.8, 0.1, -0.3, -0.1])),
    }
    steps = {name: find_alarm(name, MonitoredRun(beside)).step for name in beside}
    # 48 is a fifth more than 40; 0.95 is 0.05 below 1; the last three cosines are -0.1 on average.
    assert steps == {"length": 40, "finished": 40, "token_accuracy": 20, "cosine": 80}


@given(
    values=st.lists(st.floats(-1, 1) | st.just(math.nan), min_size=1, max_size=30),
    name=st.sampled_from(sorted(SIGNALS)),
    seen=st.integers(1, 30),
)
def test_what_comes_later_never_changes_an_alarm(values: list[float], name: str, seen: int) -> None:
    def raised(count: int) -> float | None:
        series = SignalSeries(STEPS[:count], np.array(values[:count]))
        return find_alarm(name, MonitoredRun({name: series})).step

    early, late = raised(min(seen, len(values))), raised(len(values))
    if early is not None:
        assert late == early
    elif late is not None:
        assert late >= seen


@pytest.mark.parametrize(("peak", "height"), [(30, 0.3), (60, 0.04), (50, 1.0)])
def test_the_crossing_is_where_the_predicted_loss_turns(peak: float, height: float) -> None:
    """Known to a step without noise. With noise in every prediction it stays within a fifth of the way."""
    assert find_crossing(SignalSeries(STEPS, _bump(peak, height))) == peak
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        predicted = np.diff(_bump(peak, height)) + rng.normal(0, height / 200, 100)
        found.append(find_crossing(SignalSeries(STEPS, np.concatenate([[0], np.cumsum(predicted)]))))
    near = [place is not None and abs(place - peak) <= 0.2 * peak for place in found]
    assert np.mean(near) >= 0.9


def test_without_a_turn_there_is_no_crossing() -> None:
    assert find_crossing(SignalSeries(STEPS, STEPS * 0.01)) is None, "it rose and has not turned"
    assert find_crossing(SignalSeries(STEPS, -STEPS * 0.01)) is None
    assert find_crossing(SignalSeries(STEPS, _bump(50, 0.019))) is None, "below the threshold"
    assert find_crossing(SignalSeries(STEPS, np.full(101, math.nan))) is None


def test_calm_training_with_noise_alarms_as_rarely_as_it_was_planted_to() -> None:
    """A random walk's largest rise against the crossing probability of Brownian motion, simulated apart."""
    rng, scale = np.random.default_rng(1), 0.001
    runs = [_run(np.concatenate([[0], np.cumsum(rng.normal(0, scale, 100))])) for _ in range(400)]
    found = evaluate_signal("gradient", [MonitoredCurve(tuple(runs), "flat")])
    walks = np.cumsum(np.random.default_rng(2).normal(0, scale, (4000, 100)), axis=1)
    lowest = np.minimum(0, np.minimum.accumulate(walks, axis=1))
    expected = ((walks - lowest).max(axis=1) >= 0.02).mean()
    assert found.false.runs.n == 400
    assert found.false.runs.value == pytest.approx(expected, abs=0.06)
    assert found.hits.runs.n == 0
    assert math.isnan(found.auc.value)


def _arm(shape: str, trough: float | None, *peaks: float) -> MonitoredCurve:
    """Seeds whose loss starts to rise at these steps, by 0.01 a step; infinite: never."""
    runs = [_run(np.clip(0.01 * (STEPS - peak), 0, None) if peak < 1000 else 0 * STEPS) for peak in peaks]
    return MonitoredCurve(tuple(runs), shape, trough)


def test_hits_false_alarms_and_leads_are_counted_as_defined() -> None:
    never = 1e9
    watched = [
        _arm("dip-recover", 40, 10, 20, never),  # alarms at 12, 22
        _arm("dip-only", 30, 60, 8, 8),  # 62 is too late; 10, 10
        _arm("flat", None, 50, never, never),
        _arm("monotone-up", None, never, never, never),
        _arm("peak-decline", None, 30, 30, 30),
        _arm("monotone-down", None, never, never, 5),
        MonitoredCurve((_run(0 * STEPS),), None),
    ]
    found = evaluate_signal("gradient", watched)
    assert (found.hits.runs.value, found.hits.runs.n) == (4 / 6, 6)
    assert (found.hits.curves.value, found.hits.curves.n) == (1.0, 2), "two seeds of three each"
    assert (found.false.runs.value, found.false.runs.n) == (1 / 6, 6)
    assert (found.false.curves.value, found.false.curves.n) == (0.0, 2)
    assert (found.declines.runs.value, found.declines.curves.value) == (4 / 6, 0.5)
    assert found.late == 1
    first, second = (28 + 18) / 2, (-32 + 20 + 20) / 3
    assert estimate_lead(watched[0], lambda run: find_alarm("gradient", run).step).value == pytest.approx(first)
    assert found.lead.value == pytest.approx((first + second) / 2)
    assert found.lead.n == 2
    strengths = {"dips": ((0.3, 0.2, 0.0), (0.0, 0.22, 0.22)), "calm": ((0.5, 0.0, 0.0), (0.0, 0.0, 0.0))}
    pairs = [
        np.mean([(a > b) + 0.5 * (a == b) for a in dip for b in calm])
        for dip in strengths["dips"]
        for calm in strengths["calm"]
    ]
    assert found.auc.value == pytest.approx(np.mean(pairs))
    assert found.auc.n == 4
    at = {point.threshold: point for point in found.sweep}
    assert (at[0.02].hits, at[0.02].false) == (found.hits.runs.value, found.false.runs.value)
    assert at[0.5].hits == 0
    assert at[0.5].false == pytest.approx(1 / 6)
    assert evaluate_crossings(watched).hits.runs.value == 0, "none has turned"


def test_crossings_lead_the_trough_or_mark_calm_training_falsely() -> None:
    dip = MonitoredCurve(tuple(_run(_bump(peak, 0.5)) for peak in (30, 40, 40)), "dip-recover", 50)
    calm = MonitoredCurve((_run(_bump(20, 0.5)), _run(STEPS * 0)), "flat")
    found = evaluate_crossings([dip, calm])
    assert (found.hits.runs.value, found.false.runs.value) == (1.0, 0.5)
    assert found.lead.value == pytest.approx(40 / 3)


@given(n=st.integers(1, 60), data=st.data())
def test_exact_intervals_are_scipys(n: int, data: Any) -> None:
    count = data.draw(st.integers(0, n))
    found = clopper_pearson(count, n)
    wanted = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    assert found.ci == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert clopper_pearson(0, 0).ci is None


def test_explained_is_one_for_the_truth_and_zero_for_nothing() -> None:
    changes = np.array([0.1, -0.2, 0.05])
    assert compute_explained_share(changes, changes) == 1
    assert compute_explained_share(changes, 0 * changes) == 0
    assert compute_explained_share(changes, -changes) == -3
    assert math.isnan(compute_explained_share(0 * changes, changes))
