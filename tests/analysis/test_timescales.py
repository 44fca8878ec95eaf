"""Closed form against numerical minimisation; planted parameters against profile intervals; figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from elicit.analysis.figures import compute_dip_map, compute_two_bases
from elicit.analysis.fitting import (
    PARAMETERS,
    compute_bounds,
    compute_derivatives,
    evaluate_curves,
    fit_many,
    run_levenberg_marquardt,
)
from elicit.analysis.timescale_fit import compute_whiteners, fit_timescales
from elicit.analysis.timescales import (
    Timescales,
    classify_regime,
    compute_procedure_rate,
    find_break_even,
    find_turning_point,
)
from elicit.errors import ElicitError

DENSE = np.array([0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 640], dtype=float)
PLANTED = Timescales(w=0.4, rho=0.6, ks=0.05, k=0.005)
positive = st.floats(-3, 3).map(math.exp)


@settings(max_examples=150, deadline=None)
@given(w=st.floats(0.05, 1), rho=positive, r=positive, k=st.floats(0.001, 1))
def test_the_closed_form_is_the_numerical_turn(w: float, rho: float, r: float, k: float) -> None:
    model = Timescales(w, rho, r * k, k)
    found = find_turning_point(model)
    times = np.geomspace(1e-5, 1e4, 4000) / k
    gains = model.compute_gain(times)
    if found is None:
        assert np.all(np.diff(gains) >= -1e-12) or np.all(np.diff(gains) <= 1e-12)
        return
    sign = 1 if classify_regime(model) == "dip" else -1
    assert (classify_regime(model) == "dip") == (rho * model.r > 1)
    assert sign * found.gain <= sign * gains.min() + 1e-12 if sign > 0 else found.gain >= gains.max() - 1e-12
    if 1e-4 < found.step * k < 1e3:
        near = optimize.minimize_scalar(
            lambda x: sign * float(model.compute_gain(math.exp(x))),
            bounds=(math.log(found.step) - 1, math.log(found.step) + 1),
            method="bounded",
        )
        assert float(model.compute_gain(math.exp(near.x))) == pytest.approx(found.gain, abs=1e-8)
    assert float(model.compute_gain(found.step)) == pytest.approx(found.gain, abs=1e-10)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_equal_rates_are_the_limit(gap: float) -> None:
    near = find_turning_point(Timescales(1.0, 1.0, 0.1 * (1 + gap), 0.1))
    assert near is not None
    assert near.step == pytest.approx(10, rel=2 * gap + 1e-6)
    assert near.gain == pytest.approx(-gap / math.e, rel=1e-2, abs=1e-12)
    assert find_turning_point(Timescales(1.0, 1.5, 0.1, 0.1)) is None
    assert classify_regime(Timescales(1.0, 1.5, 0.1, 0.1)) == "fall"


def test_break_even_and_rates() -> None:
    even = find_break_even(PLANTED)
    assert even is not None
    assert float(PLANTED.compute_gain(even)) == pytest.approx(0, abs=1e-12)
    assert find_break_even(Timescales(0.4, 1.2, 0.05, 0.005)) == math.inf
    assert find_break_even(Timescales(0.4, 0.1, 0.01, 0.005)) is None
    assert compute_procedure_rate(0.01, 0.5, 0.8) == pytest.approx(0.004)
    with pytest.raises(ElicitError, match="w > 0"):
        Timescales(-1, 1, 1, 1)


def test_derivatives_are_numerical() -> None:
    theta = np.array([[0.5, math.log(0.4), math.log(0.6), math.log(0.05), math.log(0.005)]])
    np.testing.assert_allclose(evaluate_curves(theta, DENSE)[0], 0.5 + PLANTED.compute_gain(DENSE), atol=1e-14)
    for i in range(5):
        step = np.eye(5)[i] * 1e-6
        numeric = (evaluate_curves(theta + step, DENSE) - evaluate_curves(theta - step, DENSE)) / 2e-6
        np.testing.assert_allclose(compute_derivatives(theta, DENSE)[0, :, i], numeric[0], atol=1e-8)


def test_planted_parameters_lie_in_profile_intervals() -> None:
    """150 data sets: the truth is in the 95 % profile interval iff fixing the parameter to it costs chi2 <= 3.84."""
    sets, n = 150, 2000
    rng = np.random.default_rng(0)
    accuracies = rng.binomial(n, 0.5 + PLANTED.compute_gain(DENSE), size=(sets, len(DENSE))) / n
    white, bounds = compute_whiteners(accuracies, n), compute_bounds(DENSE)
    best = fit_many(accuracies, DENSE, white, bounds)
    truth = np.array([0.5, *np.log([PLANTED.w, PLANTED.rho, PLANTED.ks, PLANTED.k])])
    assert stats.kstest(best.chi2, stats.chi2(len(DENSE) - 5).cdf).pvalue > 0.001
    for i in range(1, 5):
        start = best.theta.copy()
        start[:, i] = truth[i]
        free = np.ones_like(start, dtype=bool)
        free[:, i] = False
        cost = run_levenberg_marquardt(accuracies, DENSE, white, bounds, start, free=free).chi2 - best.chi2
        print(f"\n{PARAMETERS[i]}: profile coverage {(cost <= 3.84).mean():.3f}")
        assert 0.89 <= (cost <= 3.84).mean() <= 0.99


def test_a_fit_on_an_informative_design() -> None:
    accuracies = 0.5 + PLANTED.compute_gain(DENSE)
    found = fit_timescales(DENSE.tolist(), accuracies.tolist(), 2000, resamples=40)
    for name in ("w", "rho", "ks", "k"):
        assert found.parameters[name].value == pytest.approx(getattr(PLANTED, name), rel=1e-3)
    assert found.identifiability.undetermined == ()
    assert found.scores[0].name == "dual-timescale"
    assert found.regimes["dip"] == 1.0
    assert found.trough is not None
    turn = find_turning_point(PLANTED)
    assert turn is not None
    assert found.trough.value == pytest.approx(-turn.gain, abs=1e-3)


def test_a_late_rise_without_a_dip_is_no_evidence_for_the_model() -> None:
    steps = np.array([0.0, 10, 20, 40, 80, 160, 320])
    found = fit_timescales(steps.tolist(), (0.1 + 0.85 * steps**5 / (steps**5 + 30.0**5)).tolist(), 300, resamples=20)
    assert found.scores[0].name == "sigmoid"
    scores = {score.name: score for score in found.scores}
    assert scores["dual-timescale"].aic < scores["exponential-up"].aic  # what it would have beaten
    assert scores["sigmoid"].aic < scores["dual-timescale"].aic - 2


def test_a_flat_curve_determines_nothing() -> None:
    steps = [0, 10, 20, 40, 80, 160, 320, 640]
    found = fit_timescales(steps, [0.5, 0.49, 0.51, 0.5, 0.5, 0.49, 0.51, 0.5], 200, resamples=40)
    assert found.scores[0].name == "flat"
    assert {"ks", "k"} <= set(found.identifiability.undetermined)
    assert "Not determined" in found.identifiability.words
    with pytest.raises(ElicitError, match="at least 5 checkpoints"):
        fit_timescales([0, 1, 2], [0.5, 0.5, 0.5], 200)


def test_figures_hold_the_model() -> None:
    weak = Timescales(0.4, 0.9, 0.05, 0.002)
    shown = compute_two_bases(PLANTED, weak, DENSE)
    np.testing.assert_allclose(shown.curves[1].gain, weak.compute_gain(DENSE))
    assert shown.curves[0].danger is not None
    assert shown.curves[1].danger is not None
    assert shown.curves[0].danger[1] < shown.curves[1].danger[1]
    grid = compute_dip_map([0.5, 1, 2, 10], [0.05, 0.3, 1.5])
    assert grid.depth.shape == (3, 4)
    np.testing.assert_array_equal(grid.depth > 0, (grid.rho[:, None] > grid.boundary) & (grid.r > 1))
