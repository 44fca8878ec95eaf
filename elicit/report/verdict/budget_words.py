"""Phrases about what arms spent, and sentences about fine-tuning at the same spending."""

from __future__ import annotations

from collections.abc import Sequence

from elicit.report.data.number_format import format_number
from elicit.report.verdict.budget_facts import BudgetComparison, SpendingRatios
from elicit.report.verdict.kinds import BudgetAxis, Comparison
from elicit.report.verdict.phrases import listed, points, probability, sentence

NOUNS = {BudgetAxis.LABELS: "labels", BudgetAxis.TOKENS: "tokens", BudgetAxis.FLOPS: "FLOPs"}
_SIDES = {
    Comparison.MORE: "more than",
    Comparison.EQUAL: "not told apart from",
    Comparison.LESS: "less than",
}


def format_ratio(ratio: float) -> str:
    """`16 ×`, `1.6 ×`, `0.39 ×`; below a tenth `1/36 ×`."""
    if ratio < 0.1:
        return f"1/{format_number(1 / ratio, 0)} ×"
    return f"{format_number(ratio, 0 if ratio >= 9.95 else 1 if ratio >= 0.995 else 2)} ×"


def write_ratios(ratios: SpendingRatios) -> str:
    """`at 16 × its labels and 32 × its tokens`; empty where neither is known."""
    known = [(ratios.labels, "labels"), (ratios.tokens, "tokens")]
    parts = [f"{format_ratio(ratio)} its {noun}" for ratio, noun in known if ratio is not None]
    return f"at {listed(parts)}" if parts else ""


def write_at_budget(comparisons: Sequence[BudgetComparison]) -> str:
    """The sentence on fine-tuning at an arm's own spending."""
    return sentence("beside fine-tuning " + "; ".join(map(_write_comparison, comparisons)))


def _write_comparison(facts: BudgetComparison) -> str:
    noun, chance = NOUNS[facts.axis], probability(facts.p, "Holm p" if facts.is_corrected else "p")
    unequal = "" if facts.is_equal else ", so no equal budget was measured"
    return (
        f"at its own {noun}, {_SIDES[facts.kind]} {facts.point} "
        f"({points(facts.difference)}, {chance}; it spent {format_ratio(facts.ratio)} as many{unequal})"
    )
