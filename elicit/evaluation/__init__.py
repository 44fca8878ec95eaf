"""Evaluate policies on tasks, giving rows, and measure their side effects."""

from elicit.evaluation.evaluate import evaluate_policy, retarget_policy, sample
from elicit.evaluation.probe import probe_policy
from elicit.evaluation.side_effects import measure_side_effects
from elicit.evaluation.worked_traces import score_worked_solutions

__all__ = [
    "retarget_policy",
    "evaluate_policy",
    "probe_policy",
    "sample",
    "measure_side_effects",
    "score_worked_solutions",
]
