"""Intervals, paired tests and curves: numpy and scipy only.

Score arrays have shape (seeds, problems), entries 0/1 or fractions, NaN for missing; arms of a comparison share their
columns, and a deterministic arm has one row. Bad arrays raise ValueError: they are faults of the caller, not input.
"""

from elicit.statistics.degeneration import compression_ratio, repetition_rate
from elicit.statistics.discrimination import estimate_auroc, false_discovery_correction
from elicit.statistics.gap import Gap, gap_recovered
from elicit.statistics.intervals import estimate_accuracy, estimate_mean, estimate_table_mean, wilson_interval
from elicit.statistics.paired import Difference, estimate_difference, holm_correction, sign_flip_test
from elicit.statistics.passk import (
    find_crossover,
    guesser_pass_at_k,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_scores,
    unique_solve_rates,
)
from elicit.statistics.power import detectable_difference, minimum_detectable_effect
from elicit.statistics.votes import estimate_majority_at_k, majority_scores, majority_vote

__all__ = [
    "Difference",
    "Gap",
    "compression_ratio",
    "detectable_difference",
    "find_crossover",
    "estimate_auroc",
    "estimate_difference",
    "false_discovery_correction",
    "gap_recovered",
    "guesser_pass_at_k",
    "holm_correction",
    "estimate_accuracy",
    "majority_vote",
    "estimate_majority_at_k",
    "majority_scores",
    "estimate_mean",
    "estimate_table_mean",
    "minimum_detectable_effect",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_scores",
    "repetition_rate",
    "sign_flip_test",
    "unique_solve_rates",
    "wilson_interval",
]
