"""Levels and means against scipy's intervals and by properties."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from elicit.statistics import (
    estimate_accuracy,
    estimate_difference,
    estimate_mean,
    estimate_table_mean,
    wilson_interval,
)
from elicit.statistics.twolevel import find_seed_part

binary = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0.0, 1.0]),
)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (7, 7), (120, 200), (1, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_is_scipys(successes: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence).ci == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_trials_claims_nothing() -> None:
    empty = wilson_interval(0, 0)
    assert math.isnan(empty.value)
    assert (empty.n, empty.ci) == (0, None)
    assert empty.to_json() == {"value": None, "n": 0, "ci": None}
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        wilson_interval(3, 2)


@given(binary)
def test_level_of_one_row_is_wilson(scores: np.ndarray) -> None:
    row = scores[:1]
    assert estimate_accuracy(row).ci == pytest.approx(wilson_interval(int(row.sum()), row.shape[1]).ci, abs=1e-9)


@given(binary)
def test_copies_of_a_row_add_nothing_and_rows_never_count_as_more_than_trials(scores: np.ndarray) -> None:
    row = scores[:1]
    assert estimate_accuracy(np.repeat(row, 5, axis=0)).ci == pytest.approx(estimate_accuracy(row).ci, abs=1e-9)
    got = estimate_accuracy(scores)
    assert got.ci is not None
    naive = wilson_interval(int(scores.sum()), scores.size).ci
    by_problem = wilson_interval(scores.mean(axis=0).sum(), scores.shape[1]).ci
    assert naive is not None
    assert by_problem is not None
    assert got.ci[0] <= naive[0] + 1e-9
    assert naive[1] - 1e-9 <= got.ci[1]
    if find_seed_part(scores).variance == 0:
        assert by_problem[0] - 1e-9 <= got.ci[0]
        assert got.ci[1] <= by_problem[1] + 1e-9


def test_seeds_that_differ_widen_an_accuracy_as_they_widen_a_difference() -> None:
    """An arm against one that is never right: the difference is its accuracy, and so is nearly the interval."""
    rng = np.random.default_rng(0)
    scores = (rng.random((3, 400)) < np.array([[0.45], [0.5], [0.55]])).astype(float)
    level, difference = estimate_accuracy(scores), estimate_difference(scores, np.zeros((1, 400)))
    assert level.ci is not None
    assert difference.ci is not None
    widths = [high - low for low, high in (level.ci, difference.ci)]
    assert difference.value == pytest.approx(level.value)
    assert widths[0] == pytest.approx(widths[1], rel=0.2)
    these_seeds = estimate_accuracy(scores.mean(axis=0, keepdims=True)).ci
    assert these_seeds is not None
    assert widths[0] > 1.5 * (these_seeds[1] - these_seeds[0])


def test_a_mean_over_several_seeds_has_their_part_and_is_scipys_without_one() -> None:
    table = np.array([[12.0, 15.0, math.nan, 90.0], [22.0, 25.0, math.nan, 100.0]])
    one = estimate_table_mean(table[:1])
    assert one == estimate_mean(table[0])
    both, means = estimate_table_mean(table), estimate_mean(table.mean(axis=0))
    assert (both.value, both.n) == (means.value, 3)
    assert both.ci is not None
    assert means.ci is not None
    assert both.ci[0] < means.ci[0]
    assert both.ci[1] > means.ci[1]
    shifted = table + np.array([[0.0], [50.0]])
    assert find_seed_part(shifted).variance > find_seed_part(table).variance


@given(binary, st.randoms(use_true_random=False))
def test_level_is_bounded_and_blind_to_order(scores: np.ndarray, random: object) -> None:
    got = estimate_accuracy(scores)
    assert got.ci is not None
    assert 0 <= got.ci[0] <= got.value <= got.ci[1] <= 1
    assert got.ci[0] < got.ci[1]
    rng = np.random.default_rng(1)
    shuffled = scores[rng.permutation(scores.shape[0])][:, rng.permutation(scores.shape[1])]
    assert estimate_accuracy(shuffled).ci == pytest.approx(got.ci, abs=1e-9)


@pytest.mark.parametrize("wrong", range(6))
def test_one_more_right_answer_never_lowers_the_lower_bound_near_the_top(wrong: int) -> None:
    better, worse = np.ones((3, 40)), np.ones((3, 40))
    better[0, :wrong] = 0
    worse[0, : wrong + 1] = 0
    high, low = estimate_accuracy(better).ci, estimate_accuracy(worse).ci
    assert high is not None
    assert low is not None
    assert high[0] >= low[0]


def test_missing_scores_are_left_out_and_never_count_as_wrong() -> None:
    nan = math.nan
    got = estimate_accuracy(np.array([[1.0, nan, 0.0, nan], [1.0, 1.0, nan, nan], [nan] * 4]))
    assert (got.value, got.n) == (pytest.approx(2 / 3), 3)
    same = estimate_accuracy(np.array([[1.0, 1.0, 0.0]]))
    assert got.ci == pytest.approx(same.ci)


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        (np.full((2, 3), math.nan), "every entry is NaN"),
        (np.zeros((0, 3)), "holds no score"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([[0.0, 2.0]]), "from 0 to 2"),
    ],
)
def test_level_refuses_what_holds_no_scores(scores: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        estimate_accuracy(scores)


def test_mean_is_scipys_t_interval() -> None:
    values = np.array([12.0, 15.0, math.nan, 90.0, 31.0])
    kept = values[~np.isnan(values)]
    expected = stats.ttest_1samp(kept, 0).confidence_interval(0.95)
    got = estimate_mean(values)
    assert got.n == 4
    assert got.ci == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0], [math.nan, 3.0]])
def test_mean_never_gives_a_zero_width_interval(values: list[float]) -> None:
    assert estimate_mean(values).ci is None


def test_importing_statistics_loads_neither_scipy_nor_torch() -> None:
    code = (
        "import sys, elicit.statistics; print(sorted({'scipy', 'torch', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
    control = subprocess.run(
        [sys.executable, "-c", f"import scipy; {code}"], capture_output=True, text=True, check=True
    )
    assert control.stdout == "['scipy']\n"
