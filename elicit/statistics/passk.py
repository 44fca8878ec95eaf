"""Many samples of one problem: pass@k, the guesser it must beat, and where one curve passes another.

`correct` has the shape (problems, samples) for one training seed, or (seeds, problems, samples): a training seed is a
policy of its own, so k samples are always taken within one seed, and seeds are averaged. Pooling them would measure an
ensemble of policies, which solves more at a large k than any of its members.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from elicit.schema import Estimate
from elicit.statistics.intervals import estimate_clustered_mean
from elicit.statistics.twolevel import find_seed_part


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


def pass_at_k_scores(correct: Bool[np.ndarray, "*rows samples"], k: int) -> Float[np.ndarray, "*rows"]:
    """Unbiased pass@k of every row of samples.

    Raises:
        ValueError: if `correct` does not hold booleans (or 0/1) by problem, or k exceeds the samples.
    """
    right = to_boolean_array(correct)
    samples = right.shape[-1]
    by_count = np.array([pass_at_k(samples, c, k) for c in range(samples + 1)])
    return np.asarray(by_count[right.sum(axis=-1)])


def pass_at_k_curve(correct: Bool[np.ndarray, "*seeds problems samples"], ks: Iterable[int]) -> dict[int, Estimate]:
    """Mean pass@k over seeds and problems for each k, with intervals over both; n counts problems.

    `correct` may also say "right, with a valid trace".

    Raises:
        ValueError: as `pass_at_k_scores`.
    """
    right = to_boolean_array(correct)
    curve = {}
    for k in sorted(set(ks)):
        scores = pass_at_k_scores(right, k)
        table = np.atleast_2d(scores)
        curve[k] = estimate_clustered_mean(table.mean(axis=0), trials=right.size, seeds=find_seed_part(table))
    return curve


def guesser_pass_at_k(answer_space: int, k: int) -> float:
    """pass@k of a uniform guesser over `answer_space` answers with k independent draws: 1 - (1 - 1/A)^k.

    Raises:
        ValueError: unless both are at least 1.
    """
    if answer_space < 1 or k < 1:
        raise ValueError(f"need answer_space >= 1 and k >= 1, but got {answer_space} and {k}")
    return 1.0 if answer_space == 1 else -math.expm1(k * math.log1p(-1 / answer_space))


def unique_solve_rates(
    arm: Bool[np.ndarray, "*seeds problems samples"], base: Bool[np.ndarray, "*base_seeds problems more_samples"]
) -> tuple[Estimate, Estimate]:
    """Share of problems solved (by any sample) by the arm and not by the base, and by the base and not by the arm.

    With several seeds, the mean over pairs of one seed of each; the interval covers the seeds of both.

    Raises:
        ValueError: if the numbers of problems differ.
    """
    arm_solved, base_solved = (np.atleast_2d(to_boolean_array(correct).any(axis=-1)) for correct in (arm, base))
    if arm_solved.shape[1] != base_solved.shape[1]:
        raise ValueError(f"arms must share their problems, but have {arm_solved.shape[1]} and {base_solved.shape[1]}")
    return _estimate_unique(arm_solved, base_solved), _estimate_unique(base_solved, arm_solved)


def _estimate_unique(
    these: Bool[np.ndarray, "seeds problems"], those: Bool[np.ndarray, "other_seeds problems"]
) -> Estimate:
    """Share of problems that one solved and the other did not."""
    p, q = these.mean(axis=0), those.mean(axis=0)
    seeds = find_seed_part(these * (1 - q), p * (1 - those))
    return estimate_clustered_mean(p * (1 - q), trials=len(these) * len(those) * p.size, seeds=seeds)


def find_crossover(arm: Mapping[int, Estimate], base: Mapping[int, Estimate]) -> int | None:
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


def to_boolean_array(correct: ArrayLike) -> Bool[np.ndarray, "*seeds problems samples"]:
    """`correct` as booleans. Raises ValueError for another shape, for nothing, and for anything but 0 and 1."""
    array = np.asarray(correct)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"correct must have shape (problems, samples) and not be empty, but has {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError("correct must hold only True and False (NaN is not allowed here)")
    return array.astype(bool)
