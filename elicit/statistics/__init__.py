"""Intervals, paired tests and curves: numpy and scipy only.

Score arrays have shape (seeds, problems), entries 0/1 or fractions, NaN for missing; arms of a comparison share their
columns, and a deterministic arm has one row. Bad arrays raise ValueError: they are faults of the caller, not input.
"""

from elicit.statistics.degeneration import compressed, repetition
from elicit.statistics.gap import Gap, gap_recovered
from elicit.statistics.intervals import level, mean, wilson
from elicit.statistics.paired import Difference, difference, holm, sign_flip
from elicit.statistics.passk import crossover, guesser, pass_at_k, pass_at_k_curve, pass_at_k_scores, solved_only
from elicit.statistics.power import minimum_detectable_effect
from elicit.statistics.votes import majority, majority_at_k, majority_scores

__all__ = [
    "Difference",
    "Gap",
    "compressed",
    "crossover",
    "difference",
    "gap_recovered",
    "guesser",
    "holm",
    "level",
    "majority",
    "majority_at_k",
    "majority_scores",
    "mean",
    "minimum_detectable_effect",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_scores",
    "repetition",
    "sign_flip",
    "solved_only",
    "wilson",
]
