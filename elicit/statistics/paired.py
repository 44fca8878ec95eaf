"""Differences between two arms on the same problems.

Which statement can be made depends on how many training runs stand behind the arms:

- one run each: McNemar's exact test, with Tango's (1998) score interval for the paired difference;
- several seeds in either arm: the two-level t interval of `twolevel`. McNemar is never pooled over seeds: rows of one
  problem are not independent, and the pooled test called 26-42 % of true nulls significant in the coverage test;
- `sign_flip`: a test over problems that speaks of these seeds only, and says so in its name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elicit.schema import finite_or_none
from elicit.seeds import make_generator
from elicit.statistics.intervals import check_level
from elicit.statistics.scores import Scores, is_binary, select_shared_problems
from elicit.statistics.twolevel import two_level

MCNEMAR = "exact McNemar, single runs"
PAIRED_T = "paired t over problems, single runs"
TWO_LEVEL = "two-level t over seeds and problems"
SIGN_FLIP = "sign-flip over problems, these seeds"


@dataclass(frozen=True)
class Difference:
    """Arm minus reference, in units of the scores."""

    value: float
    ci: tuple[float, float] | None
    """95 % interval; None where one problem is all there is."""
    p: float | None
    """Two-sided, not yet adjusted for several arms (see `holm`)."""
    test: str
    n: int
    """Problems that every run of both arms has a score for."""
    seeds: tuple[int, int]
    """Rows of the arm and of the reference."""
    note: str
    """What the interval does not cover, in words; empty when there is nothing to add."""

    def to_json(self) -> dict[str, Any]:
        ci = None if self.ci is None else [finite_or_none(bound) for bound in self.ci]
        fields = {"difference": finite_or_none(self.value), "ci": ci, "p": finite_or_none(self.p), "test": self.test}
        return {**fields, "n": self.n, "seeds": list(self.seeds)}


def estimate_difference(
    arm: Scores, reference: Scores, *, arm_trained: bool = True, reference_trained: bool = True
) -> Difference:
    """mean(arm) - mean(reference), paired over problems, with an interval and a two-sided p.

    Rows without any score are left out, then problems with a missing score in any row; the note counts both.
    `arm_trained` and `reference_trained` say whether training was involved: a trained side with a single row gets
    a note that says so; an untrained side (the base, a decoding method) does not.

    Raises:
        ValueError: for scores that do not match or hold nothing (see `scores.shared_problems`).
    """
    a, b = select_shared_problems(arm=arm, reference=reference)
    single = a.shape[0] == 1 and b.shape[0] == 1
    ci: tuple[float, float] | None = None
    p: float | None = None
    if single and is_binary(a) and is_binary(b):
        test = MCNEMAR
        gained, lost = _count_discordant(a, b)
        ci, p = tango_interval(gained, lost, a.shape[1]), mcnemar_p_value(gained, lost)
    else:
        test = PAIRED_T if single else TWO_LEVEL
        if a.shape[1] > 1:
            parts = two_level(a, b)
            ci, p = parts.t_interval(), parts.p_value()
    lone = [
        name
        for name, rows, trained in (("arm", a, arm_trained), ("reference", b, reference_trained))
        if trained and rows.shape[0] == 1
    ]
    note = _describe_coverage(lone, arms=(arm, reference), used=(a, b))
    return Difference(_mean_difference(a, b), ci, p, test, a.shape[1], (a.shape[0], b.shape[0]), note)


def sign_flip_test(arm: Scores, reference: Scores, seed: int, *, resamples: int = 9999) -> Difference:
    """The sign-flip test over problems, about these trained models only (other training seeds are not covered).

    Under the null, each problem's difference (of means over rows) is as likely to have the other sign. Exact when
    the signs that matter can be listed within `resamples`, else drawn by the identity ("sign_flip", seed). The
    interval is the paired t interval over problems, for these seeds.

    Raises:
        ValueError: as `difference`.
    """
    from scipy import stats

    a, b = select_shared_problems(arm=arm, reference=reference)
    differences = a.mean(axis=0) - b.mean(axis=0)
    moved = differences[np.abs(differences) > 1e-12]  # a zero has no sign to flip
    p = 1.0
    if moved.size > 1:  # one sign alone says nothing: p = 1
        tested = stats.permutation_test(
            (moved,),
            _sum_rounded,
            permutation_type="samples",
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, 4_000_000 // moved.size),
            rng=make_generator("sign_flip", seed),
        )
        p = float(tested.pvalue)
    ci = two_level(a, b, these_seeds=True).t_interval() if a.shape[1] > 1 else None
    note = _describe_coverage([], arms=(arm, reference), used=(a, b))
    full_note = " ".join(filter(None, ["These seeds only: other training runs are not covered.", note]))
    return Difference(_mean_difference(a, b), ci, p, SIGN_FLIP, a.shape[1], (a.shape[0], b.shape[0]), full_note)


def mcnemar_p_value(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p for single runs: a fair coin over the discordant problems; 1 when there are none."""
    from scipy import stats

    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def tango_interval(gained: int, lost: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Tango's (1998) score interval for (gained - lost) / n, from counts of discordant problems out of n.

    It is the set of differences that the score test with the restricted likelihood does not reject, and has a
    width when no problem is discordant: +-z^2 / (n + z^2).

    Raises:
        ValueError: unless the counts fit into n.
    """
    from scipy import optimize

    if min(gained, lost) < 0 or gained + lost > n or n < 1:
        raise ValueError(f"need gained + lost <= n, but got gained={gained}, lost={lost}, n={n}")
    check_level(level)
    z = NormalDist().inv_cdf((1 + level) / 2)

    def score_excess(delta: float, side: int) -> float:
        """Score statistic at `delta`, less side * z, multiplied by its standard error (so it has no poles)."""
        b_term = (2 * n - gained + lost) * delta - gained - lost
        c_term = -lost * delta * (1 - delta)
        share = (math.sqrt(max(0.0, b_term**2 - 8 * n * c_term)) - b_term) / (4 * n)
        spread = math.sqrt(max(0.0, n * (2 * share + delta * (1 - delta))))
        return gained - lost - n * delta - side * z * spread

    value, step = (gained - lost) / n, 1e-9  # at the value itself a table without discordance has a false root
    low = -1.0 if value == -1 else float(optimize.brentq(score_excess, -1.0, value - step, args=(1,), xtol=1e-12))
    high = 1.0 if value == 1 else float(optimize.brentq(score_excess, value + step, 1.0, args=(-1,), xtol=1e-12))
    return low, high


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjusted p-values, in the order given; NaN entries stay NaN and do not count as tests.

    Raises:
        ValueError: for a p outside [0, 1].
    """
    wrong = [p for p in p_values if p < 0 or p > 1]
    if wrong:
        raise ValueError(f"p-values must lie in [0, 1], but got {wrong}")
    adjusted = [math.nan] * len(p_values)
    tested = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    running = 0.0
    for rank, i in enumerate(tested):
        running = max(running, min(1.0, (len(tested) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def _sum_rounded(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """A sum whose ties survive floating point: thirds that cancel give 0, not 1e-17."""
    total: NDArray[np.float64] = np.round(np.sum(values, axis=axis), 9)
    return total


def _count_discordant(a: Scores, b: Scores) -> tuple[int, int]:
    """Problems only the arm solved, and problems only the reference solved."""
    return int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())


def _mean_difference(a: Scores, b: Scores) -> float:
    return float((a.mean(axis=0) - b.mean(axis=0)).mean())


def _describe_coverage(lone: list[str], *, arms: tuple[Scores, Scores], used: tuple[Scores, Scores]) -> str:
    parts = []
    if lone:
        who = " and ".join(f"the {name}" for name in lone)
        each = " each" if len(lone) > 1 else ""
        parts.append(
            f"One training seed{each} stands behind {who}: how much another training run would differ is not covered."
        )
    runs = sum(np.shape(g)[0] - u.shape[0] for g, u in zip(arms, used, strict=True))
    problems = np.shape(arms[0])[1] - used[0].shape[1]
    if runs:
        parts.append(f"Runs without any score, left out: {runs}.")
    if problems:
        parts.append(f"Problems without a score in some run, left out: {problems}.")
    return " ".join(parts)
