"""The two-level interval: how far a difference would move with other problems *and* other training seeds.

With rows y[s, p] (crossed random effects of seed and problem), the variance of a difference of means has two parts:

1. problems: the variance of the per-problem differences, over P. One is added to the sum of squares (half a discordant
   problem each way, as Agresti and Min 2005 add to paired tables), so that equal arms do not get zero width;
2. seeds, for each arm with S > 1 rows: (MS_seed - MS_interaction) / (S P), at least 0: the variance of the row means,
   less what the choice of problems within a row explains already (otherwise it would be counted twice).

Part 2 is known from very few seeds, and a normal quantile (or a bootstrap over 3 rows) then covers too little. The
quantile is the variance-weighted mean of two t quantiles (Cochran and Cox 1950), with P - 1 degrees of freedom for
problems and Welch's for seeds. Plain Satterthwaite degrees of freedom over all parts are a little shorter and fell to
0.91-0.93 coverage with three seeds against one row when the seeds dominate (this one: 0.94, in the coverage test).
Seeds of different arms are taken as independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from elicit.statistics.scores import Scores

#: Smaller p-values are given as exp of this (4e-44): far out, scipy's t quantiles of fractional df turn into NaN.
_LOWEST_LOG_P = -100.0


class SeedPart(NamedTuple):
    """What training seeds contribute to the variance of an arm's mean."""

    variance: float
    df: float
    """Degrees of freedom that the variance is known with; NaN where it is 0."""

    def weigh_quantile(self, problems_quantile: float, problems_variance: float, tail: float) -> float:
        """The quantile for both parts: of each part its own, weighted by its share of the variance.

        Args:
            problems_quantile: the quantile of the problem part that leaves `tail` on one side, in standard errors.
        """
        from scipy import special

        if self.variance == 0:
            return problems_quantile
        share = self.variance / (self.variance + problems_variance)
        return (1 - share) * problems_quantile - share * float(special.stdtrit(self.df, tail))


#: Of an arm with one row.
NO_SEEDS = SeedPart(0.0, math.nan)


def find_seed_part(*tables: Scores) -> SeedPart:
    """The seed part of each of several arms together (Welch's degrees of freedom), over their complete columns.

    Rows without any entry do not count. An arm with one row, or with fewer than two complete columns, has no part.
    """
    parts = []
    for table in tables:
        scores = table[~np.isnan(table).all(axis=1)]
        scores = scores[:, ~np.isnan(scores).any(axis=0)]
        if scores.shape[0] > 1 and scores.shape[1] > 1:
            parts.append(_seed_part(scores))
    variance = sum(max(0.0, rows - interaction) for rows, interaction, _ in parts)
    return SeedPart(variance, _welch_df([(rows, df) for rows, _, df in parts])) if variance > 0 else NO_SEEDS


@dataclass(frozen=True)
class TwoLevel:
    """A difference of two means with its two variance parts."""

    value: float
    problem_variance: float
    problem_df: int
    seeds: SeedPart

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.problem_variance + self.seeds.variance)

    def t_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The t interval, cut at -1 and 1."""
        half = self._t_quantile((1 - level) / 2) * self.standard_error
        return max(-1.0, self.value - half), min(1.0, self.value + half)

    def p_value(self) -> float:
        """Two-sided p for a difference of 0: the level at which the interval just touches 0."""
        from scipy import optimize

        ratio = abs(self.value) / self.standard_error
        if ratio == 0:
            return 1.0

        def quantile_excess(log_p: float) -> float:
            return self._t_quantile(math.exp(log_p) / 2) - ratio

        if quantile_excess(_LOWEST_LOG_P) <= 0:
            return math.exp(_LOWEST_LOG_P)
        return math.exp(float(optimize.brentq(quantile_excess, _LOWEST_LOG_P, 0.0, xtol=1e-12)))

    def _t_quantile(self, tail: float) -> float:
        """The quantile of Student's t that leaves `tail` on one side, in standard errors."""
        from scipy import special

        problems = -float(special.stdtrit(self.problem_df, tail))
        return self.seeds.weigh_quantile(problems, self.problem_variance, tail)


def two_level(arm: Scores, reference: Scores, *, these_seeds: bool = False) -> TwoLevel:
    """The parts for mean(arm) - mean(reference), over complete columns and at least two problems.

    With `these_seeds` the seed part is left out: the statement is then about these trained models only.
    """
    problems = arm.shape[1]
    differences = arm.mean(axis=0) - reference.mean(axis=0)
    value = float(differences.mean())
    squares = float(((differences - value) ** 2).sum()) + 1.0
    return TwoLevel(
        value=value,
        problem_variance=squares / (problems * (problems - 1)),
        problem_df=problems - 1,
        seeds=NO_SEEDS if these_seeds else find_seed_part(arm, reference),
    )


def _seed_part(scores: Scores) -> tuple[float, float, int]:
    """MS_seed / (S P), MS_interaction / (S P), and S - 1."""
    seeds, problems = scores.shape
    rows = scores.mean(axis=1, keepdims=True)
    rest = scores - rows - scores.mean(axis=0, keepdims=True) + scores.mean()
    interaction = float((rest**2).sum()) / ((seeds - 1) * (problems - 1))
    return float(rows.var(ddof=1)) / seeds, interaction / (seeds * problems), seeds - 1


def _welch_df(parts: list[tuple[float, int]]) -> float:
    total = sum(variance for variance, _ in parts)
    return total**2 / sum(v**2 / df for v, df in parts)
