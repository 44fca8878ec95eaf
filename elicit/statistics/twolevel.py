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

from elicit.statistics.scores import Scores

#: Smaller p-values are given as exp of this (4e-44): far out, scipy's t quantiles of fractional df turn into NaN.
_LOWEST_LOG_P = -100.0


@dataclass(frozen=True)
class TwoLevel:
    """A difference of two means with its two variance parts."""

    value: float
    problem_variance: float
    problem_df: int
    seed_variance: float
    seed_df: float
    """Welch's degrees of freedom of the seed part; NaN when no arm has more than one row."""

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.problem_variance + self.seed_variance)

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
        if self.seed_variance == 0:
            return problems
        share = self.seed_variance / (self.seed_variance + self.problem_variance)
        return (1 - share) * problems - share * float(special.stdtrit(self.seed_df, tail))


def two_level(arm: Scores, reference: Scores, *, these_seeds: bool = False) -> TwoLevel:
    """The parts for mean(arm) - mean(reference), over complete columns and at least two problems.

    With `these_seeds` the seed part is left out: the statement is then about these trained models only.
    """
    problems = arm.shape[1]
    differences = arm.mean(axis=0) - reference.mean(axis=0)
    value = float(differences.mean())
    squares = float(((differences - value) ** 2).sum()) + 1.0
    parts = [] if these_seeds else [_seed_part(scores) for scores in (arm, reference) if scores.shape[0] > 1]
    return TwoLevel(
        value=value,
        problem_variance=squares / (problems * (problems - 1)),
        problem_df=problems - 1,
        seed_variance=sum(max(0.0, rows - interaction) for rows, interaction, _ in parts),
        seed_df=_welch_df([(rows, df) for rows, _, df in parts]),
    )


def seed_variance(scores: Scores) -> tuple[float, int]:
    """Variance of an arm's mean due to its training seeds, and the degrees of freedom it is known with."""
    if scores.shape[0] < 2:
        return 0.0, 0
    rows, interaction, df = _seed_part(scores)
    return max(0.0, rows - interaction), df


def _seed_part(scores: Scores) -> tuple[float, float, int]:
    """MS_seed / (S P), MS_interaction / (S P), and S - 1."""
    seeds, problems = scores.shape
    rows = scores.mean(axis=1, keepdims=True)
    rest = scores - rows - scores.mean(axis=0, keepdims=True) + scores.mean()
    interaction = float((rest**2).sum()) / ((seeds - 1) * (problems - 1))
    return float(rows.var(ddof=1)) / seeds, interaction / (seeds * problems), seeds - 1


def _welch_df(parts: list[tuple[float, int]]) -> float:
    total = sum(variance for variance, _ in parts)
    return total**2 / sum(v**2 / df for v, df in parts) if total > 0 else math.nan
