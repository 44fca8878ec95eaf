"""Rows of the table of claims that compare an arm with supervised fine-tuning."""

from __future__ import annotations

from elicit.report.verdict.arm_facts import SftComparison
from elicit.report.verdict.arm_words import name_arm
from elicit.report.verdict.budget_facts import BudgetComparison
from elicit.report.verdict.budget_words import NOUNS, format_ratio, write_ratios
from elicit.report.verdict.claim_facts import Claim, ClaimKind, ClaimUnit
from elicit.report.verdict.kinds import Comparison
from elicit.report.verdict.phrases import probability

_READINGS = {Comparison.MORE: "more", Comparison.LESS: "less"}


def claim_against_sft(heading: str, name: str, facts: SftComparison) -> Claim:
    reading = _READINGS.get(facts.kind, "not told apart")
    if facts.kind is Comparison.UNKNOWN:
        reading = f"not known: SFT is {facts.status}"
    against = "SFT" if facts.reference is None else name_arm(facts.reference)
    if facts.p is not None and facts.kind is not Comparison.UNKNOWN:
        reading += f", {probability(facts.p, 'Holm p' if facts.is_corrected else 'p')}"
    if spent := write_ratios(facts.ratios):
        reading += f"; {spent}"
    return Claim(
        ClaimKind.AGAINST_SFT,
        heading,
        name,
        "against fine-tuning",
        facts.difference,
        ClaimUnit.POINTS,
        against,
        reading,
    )


def claim_at_budget(heading: str, name: str, facts: BudgetComparison) -> Claim:
    """Against fine-tuning with as many labels, tokens or FLOPs, or as nearly so as was measured."""
    noun = NOUNS[facts.axis]
    chance = probability(facts.p, "Holm p" if facts.is_corrected else "p")
    reading = f"{_READINGS.get(facts.kind, 'not told apart')}, {chance}"
    reading += f"; the arm spent {format_ratio(facts.ratio)} as many"
    if not facts.is_equal:
        reading += ", so no equal budget was measured"
    return Claim(
        ClaimKind.AT_BUDGET,
        heading,
        name,
        f"against fine-tuning at its {noun}",
        facts.difference,
        ClaimUnit.POINTS,
        facts.point,
        reading,
    )
