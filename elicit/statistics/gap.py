"""Gap recovered: how much of the way from the base to a ceiling an arm has gone.

1. G = (m - b) / (c - b), with m, b, c the mean scores of arm, base and ceiling on the same problems.
2. It is shown only when c - b exceeds two (two-level) standard errors; otherwise it is withheld with the reason.
3. The interval is a percentile bootstrap that resamples problems, jointly for the three. Resampling 3 training seeds
   would cover too little, so each resample instead moves an arm's mean by its seed part: a t variate with S - 1
   degrees of freedom times the standard error that `twolevel` estimates for it.
4. Neither G nor its interval is cut to [0, 1]: an arm may fall below the base, or pass the ceiling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from elicit.schema import finite_or_none
from elicit.seeds import make_generator
from elicit.statistics.scores import Scores, select_shared_problems
from elicit.statistics.twolevel import SeedPart, find_seed_part, two_level

_RESAMPLES = 4000


@dataclass(frozen=True)
class Gap:
    """The share of the gap, or the reason why none is given."""

    value: float | None
    ci: tuple[float, float] | None
    """95 %. A bound is infinite where resamples do not keep the ceiling above the base."""
    n: int
    """Problems."""
    ceiling: str
    """Which ceiling c is."""
    reason: str
    """Why `value` is None; empty otherwise."""

    def to_json(self) -> dict[str, Any]:
        """The fields of `summary.json`; an infinite bound is null."""
        ci = None if self.ci is None else [finite_or_none(bound) for bound in self.ci]
        return {"gap_recovered": finite_or_none(self.value), "gap_ci": ci, "gap_ceiling": self.ceiling}


def gap_recovered(arm: Scores, base: Scores, ceiling: Scores, seed: int, *, ceiling_name: str = "ceiling") -> Gap:
    """The gap recovered by `arm`, with a 95 % interval drawn by the identity ("gap_recovered", seed).

    Problems that lack a score in any row of the three are left out.

    Raises:
        ValueError: for scores that do not match or hold nothing (see `scores.shared_problems`).
    """
    m, b, c = select_shared_problems(arm=arm, base=base, ceiling=ceiling)
    problems = m.shape[1]
    if problems < 2:
        return Gap(None, None, problems, ceiling_name, f"one problem gives no standard error for the {ceiling_name}")
    room = two_level(c, b)
    if room.value <= 2 * room.standard_error:
        reason = (
            f"{ceiling_name} - base = {room.value:.3f} does not exceed two standard errors "
            f"({2 * room.standard_error:.3f}, n={problems})"
        )
        return Gap(None, None, problems, ceiling_name, reason)
    means = [scores.mean(axis=0) for scores in (m, b, c)]
    value = float((means[0] - means[1]).mean()) / float((means[2] - means[1]).mean())
    resampled_means = _resample_means(np.stack(means, axis=1), [find_seed_part(scores) for scores in (m, b, c)], seed)
    return Gap(value, _percentile_interval(resampled_means), problems, ceiling_name, "")


def _resample_means(
    means: Float[np.ndarray, "problems 3"], seed_parts: list[SeedPart], seed: int
) -> Float[np.ndarray, "resamples 3"]:
    """Means of arm, base and ceiling over resampled problems, moved by their seed parts."""
    numbers = make_generator("gap_recovered", seed)
    problems = means.shape[0]
    resamples = np.empty((_RESAMPLES, 3))
    for first in range(0, _RESAMPLES, 500):
        chosen = numbers.integers(problems, size=(500, problems))
        resamples[first : first + 500] = means[chosen].mean(axis=1)
    for column, (variance, df) in enumerate(seed_parts):
        if variance > 0:
            resamples[:, column] += math.sqrt(variance) * numbers.standard_t(df, _RESAMPLES)
    # The same half discordant problem each way as in `twolevel`: an arm that equals the base keeps a width.
    resamples[:, 0] += numbers.standard_normal(_RESAMPLES) / math.sqrt(problems * (problems - 1))
    return resamples


def _percentile_interval(resamples: Float[np.ndarray, "resamples 3"]) -> tuple[float, float]:
    gain, room = resamples[:, 0] - resamples[:, 1], resamples[:, 2] - resamples[:, 1]
    # Where the ceiling is not above the base, any share is possible in the direction of the gain.
    shares = np.where(room > 0, gain / np.where(room > 0, room, 1.0), np.copysign(math.inf, gain))
    low, high = np.quantile(shares, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)
