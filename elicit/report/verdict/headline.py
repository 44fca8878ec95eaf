"""The finding in one sentence of everyday words, for the top of a page. Its figures stand in the table of claims."""

from __future__ import annotations

from elicit.report.data.families import FAMILIES
from elicit.report.data.number_format import format_number, name_ceiling
from elicit.report.verdict.arm_facts import ArmFacts, SftComparison
from elicit.report.verdict.arm_words import write_origin
from elicit.report.verdict.control_words import name_control
from elicit.report.verdict.facts import Ceiling, Verdict
from elicit.report.verdict.kinds import Comparison, ControlEffect, OpeningKind
from elicit.report.verdict.phrases import listed

_CEILINGS = {"cue": "when cued", "forced": "when the first words of its answer are written for it"}
_AGAINST_SFT = {
    Comparison.MORE: "more than",
    Comparison.EQUAL: "with no clear difference from",
    Comparison.LESS: "less than",
}


def write_headline(verdict: Verdict) -> str:
    """The base's accuracy, what the furthest arm reaches, and any control that does as much."""
    opening = verdict.opening
    if opening.kind is OpeningKind.NO_BASE or opening.base is None:
        state = opening.base_status or "not part of the comparison"
        return f"Nothing can be said about the model {verdict.model}: its base arm is {state}."
    ability = (
        f"Asked plainly, the model {verdict.model} solves {format_share(opening.base.value)} of {opening.problems}"
    )
    ability += f" {verdict.task} problems"
    if opening.ceiling is not None:
        ability += f", and {format_share(opening.ceiling.accuracy.value)} {_write_condition(opening.ceiling)}"
    return f"{ability}; {_write_outcome(verdict)}."


def format_share(value: float | None) -> str:
    """`95.2 %`; a share of whole percent has no decimal: `100 %`."""
    percent = None if value is None else round(100 * value, 1)
    return f"{format_number(percent, 0 if percent is not None and percent.is_integer() else 1)} %"


def _write_condition(ceiling: Ceiling) -> str:
    return _CEILINGS.get(ceiling.kind, f"with the {name_ceiling({'kind': ceiling.kind})}")


def _write_outcome(verdict: Verdict) -> str:
    opening = verdict.opening
    if opening.kind is OpeningKind.NO_OTHER_ARM:
        return "nothing else was compared"
    if opening.kind is OpeningKind.NOTHING_FINISHED:
        return "no other arm has finished"
    if not opening.mechanisms:
        return "no method that was measured is shown to gain 10 points"
    first = opening.mechanisms[0]
    facts = next(arm for arm in verdict.arms if arm.arm.name == first.level.arm)
    family = FAMILIES[first.family].name
    family = family if family.startswith("RL") else family[0].lower() + family[1:]
    outcome = f"of the methods compared, {family} ({facts.arm.name}) reaches most, {format_share(facts.accuracy.value)}"
    outcome += _write_ties(verdict, facts)
    if facts.against_sft is not None and facts.against_sft.kind in _AGAINST_SFT:
        outcome += f", {_write_against_sft(verdict, facts.against_sft)}"
    outcome += _write_unbeaten(facts)
    outcome += _write_equals(facts)
    kinds = len(opening.mechanisms) + len(opening.not_shown)
    if kinds > 1:
        verb = "gains" if len(opening.mechanisms) == 1 else "gain"
        outcome += f"; {len(opening.mechanisms)} of the {kinds} kinds of method measured {verb} 10 points or more"
    return outcome + ("" if facts.origin is None else write_origin(facts.origin))


def _write_ties(verdict: Verdict, facts: ArmFacts) -> str:
    """Other arms that are right as often as the one that is named."""
    ties = [
        arm.arm.name
        for arm in verdict.arms
        if arm.arm.name != facts.arm.name and arm.accuracy.value == facts.accuracy.value
    ]
    return f", as {'does' if len(ties) == 1 else 'do'} {listed(ties)}" if ties else ""


def _write_against_sft(verdict: Verdict, facts: SftComparison) -> str:
    reference = next((arm for arm in verdict.arms if arm.arm.is_reference), None)
    labels = None if facts.reference is None else facts.reference.demonstrations
    name = "fine-tuning" if labels is None else f"fine-tuning on {labels} demonstrations"
    level = "" if reference is None else f" ({format_share(reference.accuracy.value)})"
    return f"{_AGAINST_SFT[facts.kind]} {name}{level}"


def _write_unbeaten(facts: ArmFacts) -> str:
    """Floors that the arm is not shown to beat: then the finding is that something so cheap brings the ability out."""
    floors = [
        f"{comparison.floor.label} ({format_share(comparison.floor.accuracy.value)})" for comparison in facts.unbeaten
    ]
    return f", not shown to be more than {listed(floors)} alone" if floors else ""


def _write_equals(facts: ArmFacts) -> str:
    """Controls that raise accuracy as much: the finding then is not about what the arm is named after."""
    if facts.specificity is None:
        return ""
    names = [name_control(control) for control in facts.specificity.with_effect(ControlEffect.AS_MUCH)]
    if not names:
        return ""
    return f", but {listed(names)} {'does' if len(names) == 1 else 'do'} as much"
