"""Many samples of one problem: pass@k, the guesser it must beat, majority votes, and where one curve passes another."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike

from elicit.schema import Estimate
from elicit.seeds import generator
from elicit.statistics.intervals import clustered, wilson


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that k of n samples, drawn without replacement, hold at least one of the c right ones.

    1 - C(n - c, k) / C(n, k), the unbiased estimator of Chen et al. (2107.03374), as a product that cannot overflow.

    Raises:
        ValueError: unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"need 0 <= c <= n and 1 <= k <= n, but got n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - c + 1, n + 1)))


def pass_at_k_curve(correct: Bool[np.ndarray, "problems samples"], ks: Iterable[int]) -> dict[int, Estimate]:
    """Mean pass@k over problems for each k, with intervals clustered by problem; n counts problems.

    `correct` may also say "right, with a valid trace".

    Raises:
        ValueError: if `correct` is not a matrix of booleans (or 0/1), or a k exceeds the samples.
    """
    right = _flags(correct)
    problems, samples = right.shape
    counts = right.sum(axis=1)
    curve = {}
    for k in sorted(set(ks)):
        by_count = np.array([pass_at_k(samples, c, k) for c in range(samples + 1)])
        curve[k] = clustered(by_count[counts], trials=problems * samples)
    return curve


def guesser(answer_space: int, k: int) -> float:
    """pass@k of a uniform guesser over `answer_space` answers with k independent draws: 1 - (1 - 1/A)^k.

    Raises:
        ValueError: unless both are at least 1.
    """
    if answer_space < 1 or k < 1:
        raise ValueError(f"need answer_space >= 1 and k >= 1, but got {answer_space} and {k}")
    return 1.0 if answer_space == 1 else -math.expm1(k * math.log1p(-1 / answer_space))


def majority(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer; the first seen wins a tie. None is no vote, and wins only when nobody voted."""
    votes = Counter(answer for answer in answers if answer is not None)
    # A Counter keeps first-seen order and max() keeps the first of equals.
    return max(votes, key=lambda answer: votes[answer]) if votes else None


def majority_at_k(
    answers: Sequence[Sequence[str | None]],
    correct: Bool[np.ndarray, "problems samples"],
    k: int,
    *,
    seed: int,
    subsets: int = 256,
) -> Estimate:
    """Expected accuracy of the majority of k samples, clustered by problem.

    The expectation is over subsets of the samples at hand (in their order): all of them when there are at most
    `subsets`, else `subsets` drawn by the identity (seed, k, the problem's answers), so that a problem's figure does
    not depend on its place. `answers` are canonical; `correct` says which samples are right.

    Raises:
        ValueError: if the shapes differ, or k is not within 1 and the number of samples.
    """
    right = _flags(correct)
    problems, samples = right.shape
    if len(answers) != problems or any(len(row) != samples for row in answers):
        raise ValueError(f"answers must match correct's shape {right.shape}")
    if not 1 <= k <= samples:
        raise ValueError(f"need 1 <= k <= {samples} samples, but got k={k}")
    listed = list(itertools.combinations(range(samples), k)) if math.comb(samples, k) <= subsets else None
    means = np.zeros(problems)
    for i, row in enumerate(answers):
        chosen = listed or _drawn(generator("majority_at_k", seed, k, list(row)), samples, k, subsets)
        means[i] = np.mean([_majority_is_right(row, right[i], subset) for subset in chosen])
    return clustered(means, trials=problems * samples)


def solved_only(
    arm: Bool[np.ndarray, "problems samples"], base: Bool[np.ndarray, "problems more_samples"]
) -> tuple[Estimate, Estimate]:
    """Share of problems solved (by any sample) by the arm and not by the base, and by the base and not by the arm.

    Raises:
        ValueError: if the numbers of problems differ.
    """
    solved_arm, solved_base = _flags(arm).any(axis=1), _flags(base).any(axis=1)
    if solved_arm.shape != solved_base.shape:
        raise ValueError(f"arms must share their problems, but have {solved_arm.size} and {solved_base.size}")
    n = solved_arm.size
    return wilson(int((solved_arm & ~solved_base).sum()), n), wilson(int((solved_base & ~solved_arm).sum()), n)


def crossover(arm: Mapping[int, Estimate], base: Mapping[int, Estimate]) -> int | None:
    """The k from which the base's pass@k stays above the arm's, after the arm was level or ahead at the k before.

    Only values of k in both curves count. None if the base never overtakes: it is not above at the largest k, or it
    was above all along.
    """
    ks = sorted(set(arm) & set(base))
    above = [base[k].value > arm[k].value + 1e-12 for k in ks]
    first = len(ks)
    while first > 0 and above[first - 1]:
        first -= 1
    return ks[first] if 0 < first < len(ks) else None


def _majority_is_right(
    answers: Sequence[str | None], right: Bool[np.ndarray, " samples"], subset: Sequence[int]
) -> bool:
    winner = majority([answers[i] for i in subset])
    return winner is not None and bool(right[next(i for i in subset if answers[i] == winner)])


def _drawn(numbers: np.random.Generator, samples: int, k: int, subsets: int) -> list[list[int]]:
    order = np.argsort(numbers.random((subsets, samples)), axis=1)[:, :k]
    drawn: list[list[int]] = np.sort(order, axis=1).tolist()
    return drawn


def _flags(correct: ArrayLike) -> Bool[np.ndarray, "problems samples"]:
    array = np.asarray(correct)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"correct must have shape (problems, samples) and not be empty, but has {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError("correct must hold only True and False (NaN is not allowed here)")
    return array.astype(bool)
