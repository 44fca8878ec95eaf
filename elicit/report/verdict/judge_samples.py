"""Facts from an arm's samples: sharpening and expansion; and the side of 0 on which an interval lies."""

from __future__ import annotations

from elicit.report.charts.exact_traces import list_expected_draws
from elicit.report.data.summary_view import (
    Arm,
    OptionalEstimate,
    PairedDifference,
    get_nested,
    read_finite_number,
)
from elicit.report.verdict.arm_facts import Expansion, Sharpening
from elicit.report.verdict.kinds import Comparison

ALPHA = 0.05


def find_side(difference: OptionalEstimate) -> Comparison:
    """More or less where the whole interval lies above or below 0."""
    if difference.low is not None and difference.low > 0:
        return Comparison.MORE
    return Comparison.LESS if difference.high is not None and difference.high < 0 else Comparison.EQUAL


def find_corrected_side(difference: PairedDifference) -> Comparison:
    """More or less where the interval and p, after Holm's correction where there is one, both say so."""
    p = difference.p if difference.p_holm is None else difference.p_holm
    return Comparison.EQUAL if p is not None and p >= ALPHA else find_side(difference.estimate)


def judge_sharpening(arm: Arm) -> Sharpening | None:
    """The gain at pass@1; the arm sharpens if its interval lies above 0 (rule 7)."""
    gain = arm.read_difference("sharpening").estimate
    return None if gain.value is None else Sharpening(find_side(gain) is Comparison.MORE, gain)


def judge_expansion(arm: Arm) -> Expansion | None:
    """Problems that only the arm solves, and those that only the base solves (rule 7)."""
    share, samples = (
        arm.read_estimate("expansion", "solved_only_by_arm"),
        read_finite_number(get_nested(arm.data, "expansion", "k")),
    )
    if share.value is None or not share.n or samples is None:
        return None
    converse = arm.read_estimate("expansion", "solved_only_by_base")
    return Expansion(
        solved=round(share.value * share.n),
        problems=share.n,
        share=share,
        samples=round(samples),
        needs_trace=get_nested(arm.data, "expansion", "valid_trace") is True,
        solved_by_base=None if converse.value is None or not converse.n else round(converse.value * converse.n),
        draws=list_expected_draws(arm),
    )
