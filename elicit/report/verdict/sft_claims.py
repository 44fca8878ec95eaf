"""Rows of the table of claims that compare an arm with supervised fine-tuning."""

from __future__ import annotations

from elicit.report.verdict.arm_facts import SftComparison
from elicit.report.verdict.arm_words import name_arm
from elicit.report.verdict.claim_facts import Claim, ClaimKind, ClaimUnit
from elicit.report.verdict.kinds import Comparison
from elicit.report.verdict.phrases import probability


def claim_against_sft(heading: str, name: str, facts: SftComparison) -> Claim:
    reading = {Comparison.MORE: "more", Comparison.LESS: "less"}.get(facts.kind, "not told apart")
    if facts.kind is Comparison.UNKNOWN:
        reading = f"not known: SFT is {facts.status}"
    against = "SFT" if facts.reference is None else name_arm(facts.reference)
    if facts.p is not None and facts.kind is not Comparison.UNKNOWN:
        reading += f", {probability(facts.p, 'Holm p' if facts.is_corrected else 'p')}"
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
