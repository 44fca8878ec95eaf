"""Curves over samples against enumeration of subsets."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elicit.schema import Estimate
from elicit.statistics import (
    estimate_majority_at_k,
    find_crossover,
    guesser_pass_at_k,
    majority_scores,
    majority_vote,
    pass_at_k,
    pass_at_k_curve,
    unique_solve_rates,
)


def curve(**values: float) -> dict[int, Estimate]:
    return {int(name[1:]): Estimate(value, 10, None) for name, value in values.items()}


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_counts_subsets(case: tuple[int, int, int]) -> None:
    n, c, k = case
    subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(np.mean([any(subset) for subset in subsets]))


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_closed_formula_at_any_size(case: tuple[int, int, int]) -> None:
    n, c, k = case
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)  # integers of any length
    assert pass_at_k(n, c, k) == pytest.approx(exact, abs=1e-10)
    assert 0 <= pass_at_k(n, c, k) <= 1


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 5), (4, 1, 0)])
def test_pass_at_k_refuses_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="0 <= c <= n and 1 <= k <= n"):
        pass_at_k(n, c, k)


def test_curve_rises_from_accuracy_to_solved_at_all() -> None:
    correct = np.random.default_rng(0).random((60, 16)) < np.random.default_rng(1).random((60, 1)) ** 2
    got = pass_at_k_curve(correct, [16, 1, 4, 2, 4])
    assert list(got) == [1, 2, 4, 16]
    values = [estimate.value for estimate in got.values()]
    assert values == sorted(values)
    assert values[0] == pytest.approx(correct.mean())
    assert values[-1] == correct.any(axis=1).mean()
    for estimate in got.values():
        assert estimate.n == 60
        assert estimate.ci is not None
        assert 0 <= estimate.ci[0] < estimate.value < estimate.ci[1] <= 1
    shuffled = pass_at_k_curve(correct[::-1, ::-1], [4])[4]
    assert shuffled.ci == pytest.approx(got[4].ci)


def test_curve_refuses_wrong_arrays() -> None:
    with pytest.raises(ValueError, match="only True and False"):
        pass_at_k_curve(np.array([[0.5, 1.0]]), [1])
    with pytest.raises(ValueError, match=r"\(problems, samples\)"):
        pass_at_k_curve(np.array([True]), [1])


def test_guesser() -> None:
    assert guesser_pass_at_k(7, 16) == pytest.approx(0.915, abs=5e-4)  # METHODS' figure: 0.92
    assert guesser_pass_at_k(7, 1) == pytest.approx(1 / 7)
    assert guesser_pass_at_k(1, 3) == 1
    draws = np.random.default_rng(0).integers(5, size=(40_000, 3))
    assert guesser_pass_at_k(5, 3) == pytest.approx((draws == 0).any(axis=1).mean(), abs=0.01)
    with pytest.raises(ValueError, match="answer_space >= 1"):
        guesser_pass_at_k(0, 1)


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["3", "5", "5"], "5"),
        (["3", "5"], "3"),
        (["5", "3", "3", "5"], "5"),
        ([None, None, "4"], "4"),
        ([None, None], None),
        ([], None),
    ],
)
def test_majority(answers: list[str | None], winner: str | None) -> None:
    assert majority_vote(answers) == winner


def votes(problems: int, samples: int, seed: int) -> tuple[list[list[str | None]], np.ndarray]:
    drawn = np.random.default_rng(seed).choice(["1", "2", "3", ""], size=(problems, samples))
    return [[answer or None for answer in row] for row in drawn.tolist()], drawn == "1"


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(
            st.lists(st.sampled_from(["1", "2", "3", None]), min_size=n, max_size=n), st.integers(1, n), st.booleans()
        )
    )
)
def test_votes_at_once_are_votes_one_by_one(case: tuple[list[str | None], int, bool]) -> None:
    """All subsets together give what `majority` gives on each; also where no answer is right, or nobody answers."""
    answers, k, solvable = case
    right = [answer == ("1" if solvable else "4") for answer in answers]
    expected = np.mean([majority_vote(list(c)) == "1" and solvable for c in itertools.combinations(answers, k)])
    found = majority_scores([answers], np.array([right]), k, seed=0)
    assert found.tolist() == [pytest.approx(float(expected))]


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_a_training_seed_is_a_policy_of_its_own(seeds: int, problems: int, samples: int, draw: int) -> None:
    """Curves are means of each seed's own curve, and what is solved only by one side a mean over pairs of seeds."""
    rng = np.random.default_rng(draw)
    arm, base = (rng.random((seeds, problems, samples)) < 0.3 for _ in range(2))
    curve = pass_at_k_curve(arm, range(1, samples + 1))
    alone = [pass_at_k_curve(seed, range(1, samples + 1)) for seed in arm]
    for k, found in curve.items():
        assert found.value == pytest.approx(np.mean([one[k].value for one in alone]))
        assert found.n == problems
    pairs = [unique_solve_rates(a, b) for a in arm for b in base]
    for side, found in enumerate(unique_solve_rates(arm, base)):
        assert found.value == pytest.approx(np.mean([pair[side].value for pair in pairs]))
        assert found.n == problems


def test_a_pool_of_seeds_would_solve_more_than_any_of_them() -> None:
    """Why seeds are not pooled: two policies that each know one of two problems."""
    arm = np.array([[[True] * 4, [False] * 4], [[False] * 4, [True] * 4]])
    assert [found.value for found in pass_at_k_curve(arm, [1, 4]).values()] == [0.5, 0.5]
    pooled = np.concatenate(list(arm), axis=1)
    assert pass_at_k_curve(pooled, [4])[4].value == pytest.approx(1 - 1 / math.comb(8, 4))


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_majority_at_k_enumerates_when_it_can(k: int) -> None:
    answers, correct = votes(20, 6, 0)
    expected = [
        np.mean([majority_vote(list(chosen)) == "1" for chosen in itertools.combinations(row, k)]) for row in answers
    ]
    got = estimate_majority_at_k(answers, correct, k, seed=0)
    assert got.value == pytest.approx(np.mean(expected))
    assert got.n == 20


def test_majority_at_k_draws_by_identity_not_place() -> None:
    answers, correct = votes(30, 24, 1)
    drawn = estimate_majority_at_k(answers, correct, 7, seed=0)
    assert estimate_majority_at_k(answers[::-1], correct[::-1], 7, seed=0).value == pytest.approx(drawn.value)
    assert estimate_majority_at_k(answers, correct, 7, seed=1).value != drawn.value
    assert estimate_majority_at_k(answers, correct, 7, seed=2, subsets=4000).value == pytest.approx(
        drawn.value, abs=0.02
    )


def test_majority_at_k_refuses_mismatches() -> None:
    answers, correct = votes(3, 4, 0)
    with pytest.raises(ValueError, match="match correct's shape"):
        estimate_majority_at_k(answers[:2], correct, 1, seed=0)
    with pytest.raises(ValueError, match="<= 4 samples"):
        estimate_majority_at_k(answers, correct, 5, seed=0)


def test_solved_only_counts_each_side() -> None:
    arm = np.array([[1, 0], [0, 0], [1, 1], [0, 0]])
    base = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]])
    mine, theirs = unique_solve_rates(arm, base)
    assert (mine.value, theirs.value, mine.n) == (0.25, 0.25, 4)
    with pytest.raises(ValueError, match="4 and 3"):
        unique_solve_rates(arm, base[:3])


@pytest.mark.parametrize(
    ("arm", "base", "k"),
    [
        (curve(k1=0.5, k4=0.6, k16=0.7), curve(k1=0.2, k4=0.65, k16=0.9), 4),
        (curve(k1=0.5, k4=0.6, k16=0.7), curve(k1=0.2, k4=0.5, k16=0.69), None),
        (curve(k1=0.1, k4=0.2), curve(k1=0.2, k4=0.5), None),  # above all along: nothing was overtaken
        (curve(k1=0.5, k4=0.6, k16=0.7), curve(k1=0.2, k4=0.7, k16=0.6), None),  # fell back at the end
        (curve(k1=0.5, k2=0.5, k4=0.6, k8=0.6), curve(k1=0.4, k2=0.6, k4=0.5, k8=0.7), 8),
        (curve(k1=0.5, k4=0.6), curve(k1=0.5, k4=0.7, k9=0.1), 4),  # only shared k count
        ({}, {}, None),
    ],
)
def test_crossover(arm: dict[int, Estimate], base: dict[int, Estimate], k: int | None) -> None:
    assert find_crossover(arm, base) == k
