"""Differences against scipy's tests, a brute-force likelihood and permutations; two-level limits with known answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from elicit.statistics import estimate_difference, holm_correction, sign_flip_test
from elicit.statistics.paired import MCNEMAR, PAIRED_T, SIGN_FLIP, TWO_LEVEL, tango_interval
from elicit.statistics.twolevel import two_level


def paired_rows(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    arm = np.repeat([1.0, 1.0, 0.0, 0.0], [both, gained, lost, neither])
    reference = np.repeat([1.0, 0.0, 1.0, 0.0], [both, gained, lost, neither])
    return arm[None], reference[None]


def arms(max_rows: int = 4) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    def pair(shape: tuple[int, int, int]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
        a, b, problems = shape
        scores = st.sampled_from([0.0, 1.0])
        return st.tuples(
            hnp.arrays(np.float64, (a, problems), elements=scores),
            hnp.arrays(np.float64, (b, problems), elements=scores),
        )

    return st.tuples(st.integers(1, max_rows), st.integers(1, max_rows), st.integers(2, 15)).flatmap(pair)


def score_statistic(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's statistic with the nuisance parameter found by maximising the multinomial likelihood numerically."""

    def loss(q21: float) -> float:
        cells = [(gained, q21 + delta), (lost, q21), (n - gained - lost, 1 - 2 * q21 - delta)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in cells if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q21 = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - n * delta) / math.sqrt(n * (2 * q21 + delta * (1 - delta)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(40, 20, 160), (1, 7, 21), (3, 0, 50), (90, 5, 100), (5, 5, 30)])
def test_tango_inverts_the_score_test(gained: int, lost: int, n: int) -> None:
    low, high = tango_interval(gained, lost, n)
    assert score_statistic(gained, lost, n, low) == pytest.approx(1.959964, abs=1e-3)
    assert score_statistic(gained, lost, n, high) == pytest.approx(-1.959964, abs=1e-3)


def test_tango_closed_forms() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango_interval(0, 0, 20) == pytest.approx((-z2 / (20 + z2), z2 / (20 + z2)), abs=1e-7)
    assert tango_interval(20, 0, 20) == pytest.approx(((20 - z2) / (20 + z2), 1.0), abs=1e-7)
    assert tango_interval(1, 7, 21) == pytest.approx(
        (-0.517, -0.026), abs=5e-4
    )  # Fagerland et al. 2014, table 1's data


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_tango_is_antisymmetric_and_holds_the_estimate(gained: int, lost: int, concordant: int) -> None:
    n = max(1, gained + lost + concordant)
    low, high = tango_interval(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert high > low
    assert tango_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-7)


def test_single_runs_use_exact_mcnemar() -> None:
    got = estimate_difference(*paired_rows(50, 12, 3, 35), reference_trained=False)
    assert got.p == pytest.approx(stats.binomtest(3, 15).pvalue)
    assert (got.value, got.test, got.n, got.seeds) == (pytest.approx(0.09), MCNEMAR, 100, (1, 1))
    assert got.ci == tango_interval(12, 3, 100)
    assert got.to_json() == {
        "difference": got.value,
        "ci": list(got.ci or ()),
        "p": got.p,
        "test": MCNEMAR,
        "n": 100,
        "seeds": [1, 1],
    }


def test_notes_say_what_one_training_seed_leaves_open() -> None:
    one, other = paired_rows(5, 3, 2, 5)
    three = np.repeat(one, 3, axis=0)
    alone = "stands behind the arm: how much another training run would differ is not covered"
    assert alone in estimate_difference(one, other, reference_trained=False).note
    assert "the arm and the reference" in estimate_difference(one, other).note
    assert "behind the reference:" in estimate_difference(three, other).note
    assert estimate_difference(three, other, reference_trained=False).note == ""
    assert estimate_difference(one, other, arm_trained=False, reference_trained=False).note == ""


def test_identical_arms_keep_a_width() -> None:
    one, _ = paired_rows(100, 0, 0, 100)
    for arm in (one, np.repeat(one, 3, axis=0)):
        got = estimate_difference(arm, one)
        assert (got.value, got.p) == (0.0, 1.0)
        assert got.ci is not None
        assert got.ci[0] < -0.005
        assert got.ci[1] > 0.005


@pytest.mark.parametrize("rows", [2, 3, 6])
def test_seeds_alone_give_the_t_test_over_seeds(rows: int) -> None:
    """When every problem of a row has the same score, only seeds vary: scipy's one-sample and Welch tests apply."""
    rng = np.random.default_rng(rows)
    a, b = rng.uniform(0.2, 0.8, (rows, 1)), rng.uniform(0.2, 0.8, (rows + 1, 1))
    spread = np.ones((1, 4000))
    expected = stats.ttest_1samp(a[:, 0], 0.5)
    got = estimate_difference(a * spread, 0.5 * spread)
    assert got.test == TWO_LEVEL
    assert got.p == pytest.approx(expected.pvalue, rel=0.01)
    interval = expected.confidence_interval()
    bounds = (max(-1, interval.low - 0.5), min(1, interval.high - 0.5))
    assert got.ci == pytest.approx(bounds, abs=1e-3)
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert estimate_difference(a * spread, b * spread).p == pytest.approx(welch.pvalue, rel=0.01)


def test_problems_alone_give_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(size=(1, 3000)), rng.uniform(size=(1, 3000))
    got, expected = estimate_difference(a, b), stats.ttest_rel(a[0], b[0])
    assert got.test == PAIRED_T
    assert got.p == pytest.approx(expected.pvalue, rel=0.01)
    copies = estimate_difference(np.repeat(a, 3, axis=0), b)  # rows that never differ have no seed part
    assert copies.test == TWO_LEVEL
    assert copies.ci == pytest.approx(got.ci)


def test_the_parts_are_the_variance_components() -> None:
    """Over many draws of a crossed model with known components, the estimated variance is the true one."""
    rng = np.random.default_rng(3)
    seeds, problems, reference = 4, 30, np.full((1, 30), 0.5)
    draws, estimates = [], []
    for _ in range(3000):
        seed, problem = rng.normal(0, 0.03, (seeds, 1)), rng.normal(0, 0.1, (1, problems))
        arm = 0.5 + seed + problem + rng.normal(0, 0.05, (seeds, problems))
        parts = two_level(arm, reference)
        draws.append(parts.value)
        estimates.append(parts.problem_variance + parts.seeds.variance - 1 / (problems * (problems - 1)))
    assert np.mean(estimates) == pytest.approx(np.var(draws), rel=0.08)


@given(arms())
def test_difference_properties(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    got = estimate_difference(a, b)
    assert got.ci is not None
    assert got.p is not None
    assert -1 <= got.ci[0] <= got.value <= got.ci[1] <= 1
    assert got.ci[0] < got.ci[1]
    assert 0 <= got.p <= 1
    assert (got.test == MCNEMAR) == (len(a) == len(b) == 1)
    mirrored = estimate_difference(b, a)
    assert mirrored.ci == pytest.approx((-got.ci[1], -got.ci[0]), abs=1e-7)
    assert mirrored.p == pytest.approx(got.p)
    order = np.random.default_rng(0).permutation(a.shape[1])
    shuffled = estimate_difference(a[::-1][:, order], b[:, order])
    assert shuffled.ci == pytest.approx(got.ci, abs=1e-9)
    missing = np.insert(a, 1, math.nan, axis=1), np.insert(b, 1, 1.0, axis=1)
    without = estimate_difference(*missing)
    assert without.ci == got.ci
    assert "left out: 1." in without.note


@given(arms())
def test_p_and_interval_agree(pair: tuple[np.ndarray, np.ndarray]) -> None:
    parts = two_level(*pair)
    p = parts.p_value()
    low, high = parts.t_interval(1 - p) if 1e-12 < p < 1 else (0.0, 0.0)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)


def test_p_is_found_for_any_degrees_of_freedom_and_never_zero() -> None:
    rng = np.random.default_rng(0)
    spread = np.ones((1, 50))
    for _ in range(300):
        a, b = rng.uniform(0.3, 0.6, (2, 3, 1))
        p = estimate_difference(a * spread, b * spread).p
        assert p is not None
        assert 0 < p <= 1
    one = np.ones((1, 5000))
    assert estimate_difference(0.75 * one, 0.25 * one).p == pytest.approx(0, abs=1e-40)
    assert estimate_difference(0.75 * one, 0.25 * one).p != 0


@pytest.mark.parametrize("problems", [1, 5])
def test_shapes_that_do_not_match_are_refused(problems: int) -> None:
    with pytest.raises(ValueError, match=rf"share their problems .*'arm': 7, 'reference': {problems}"):
        estimate_difference(np.ones((1, 7)), np.ones((2, problems)))
    with pytest.raises(ValueError, match="reference holds no score"):
        estimate_difference(np.ones((1, 7)), np.full((2, 7), math.nan))
    with pytest.raises(ValueError, match="no problem has a score in every row"):
        estimate_difference(np.array([[1.0, math.nan]]), np.array([[math.nan, 1.0]]))


def test_a_run_without_scores_is_left_out_and_named() -> None:
    a, b = paired_rows(5, 3, 2, 5)
    got = estimate_difference(np.concatenate([a, np.full_like(a, math.nan)]), b)
    assert (got.seeds, got.test) == ((1, 1), MCNEMAR)
    assert "Runs without any score, left out: 1." in got.note


def test_one_problem_has_no_two_level_interval() -> None:
    got = estimate_difference(np.array([[1.0], [0.0]]), np.array([[0.0]]))
    assert (got.value, got.ci, got.p) == (0.5, None, None)


@given(arms(max_rows=3))
def test_sign_flip_is_the_brute_force_over_signs(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (scores[:, :9] for scores in pair)
    d = np.rint((a.mean(axis=0) - b.mean(axis=0)) * 36).astype(int)
    sums = [sum(s * x for s, x in zip(signs, d, strict=True)) for signs in itertools.product((1, -1), repeat=len(d))]
    expected = np.mean([abs(total) >= abs(d.sum()) for total in sums])
    got = sign_flip_test(a, b, seed=0)
    assert got.p == pytest.approx(expected)
    assert got.test == SIGN_FLIP
    assert got.note.startswith("These seeds only")


def test_sign_flip_draws_by_identity() -> None:
    arm, reference = paired_rows(50, 40, 30, 50)
    got = [sign_flip_test(arm, reference, seed).p for seed in (0, 0, 1)]
    assert got[0] == got[1] != got[2]
    assert got[0] == pytest.approx(stats.binomtest(30, 70).pvalue, abs=0.02)


def test_holm_by_its_definition() -> None:
    """The adjusted p is the smallest level at which the step-down procedure rejects."""

    def rejected(p_values: list[float], alpha: float) -> set[int]:
        out: set[int] = set()
        for i in sorted(range(len(p_values)), key=lambda i: p_values[i]):
            if p_values[i] > alpha / (len(p_values) - len(out)):
                break
            out.add(i)
        return out

    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 9):
        p_values = rng.uniform(0, 0.3, size).tolist()
        for i, adjusted in enumerate(holm_correction(p_values)):
            assert adjusted == 1 or i in rejected(p_values, adjusted + 1e-9)
            assert i not in rejected(p_values, adjusted - 1e-9)


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=8))
def test_holm_properties(p_values: list[float]) -> None:
    adjusted = holm_correction(p_values)
    kept = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if not math.isnan(p)]
    assert [math.isnan(q) for q in adjusted] == [math.isnan(p) for p in p_values]
    assert all(p <= q <= 1 for p, q in kept)
    assert [q for _, q in kept] == [q for _, q in zip(kept, holm_correction([p for p, _ in kept]), strict=True)]
    assert all(q <= r for (p, q), (o, r) in itertools.product(kept, kept) if p <= o)


def test_holm_refuses_what_is_no_p() -> None:
    with pytest.raises(ValueError, match=r"\[1.5\]"):
        holm_correction([0.1, 1.5])
