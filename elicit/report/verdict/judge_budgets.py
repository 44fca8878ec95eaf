"""Facts about fine-tuning at an arm's own spending, in runs with budget curves."""

from __future__ import annotations

from elicit.report.data.spending import divide_spending, read_spending
from elicit.report.data.summary_view import Arm, ModelPanel, get_nested, read_finite_number
from elicit.report.verdict.budget_facts import NO_RATIOS, BudgetComparison, SpendingRatios
from elicit.report.verdict.judge_samples import find_corrected_side
from elicit.report.verdict.kinds import BudgetAxis


def judge_ratios(panel: ModelPanel, arm: Arm) -> SpendingRatios:
    """What an arm spent over what the reference spent."""
    if panel.sft is None:
        return NO_RATIOS
    spent, reference = read_spending(panel, arm), read_spending(panel, panel.sft)
    return SpendingRatios(
        divide_spending(spent.labels, reference.labels), divide_spending(spent.tokens, reference.tokens)
    )


def judge_at_budget(arm: Arm) -> tuple[BudgetComparison, ...]:
    """The comparison on each axis with the fine-tuned arm whose spending is nearest."""
    results = []
    for axis in BudgetAxis:
        versus = arm.read_difference("vs_sft_at_budget", axis)
        point = get_nested(arm.data, "vs_sft_at_budget", axis, "arm")
        ratio = read_finite_number(get_nested(arm.data, "vs_sft_at_budget", axis, "ratio"))
        if versus.estimate.value is None or not versus.estimate.bounded or not ratio:
            continue
        p = versus.p if versus.p_holm is None else versus.p_holm
        results.append(
            BudgetComparison(
                axis, find_corrected_side(versus), str(point), ratio, versus.estimate, p, versus.p_holm is not None
            )
        )
    return tuple(results)
