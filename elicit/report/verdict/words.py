"""A verdict in sentences. Everything they say is in the facts: nothing is computed or decided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from elicit.report.data.families import FAMILIES
from elicit.report.data.number_format import format_interval, name_ceiling
from elicit.report.verdict.arm_facts import Floor
from elicit.report.verdict.arm_words import (
    name_arm,
    write_arm,
    write_level,
    write_necessity,
    write_no_gain,
    write_origin,
    write_reach,
)
from elicit.report.verdict.caution_words import write_caution
from elicit.report.verdict.facts import Ceiling, FamilyFacts, NoGain, Opening, Verdict, WithheldGap
from elicit.report.verdict.kinds import OpeningKind
from elicit.report.verdict.phrases import listed, points, sentence, share

_NAMED = 4
"""The most arms that a sentence names; it counts more."""


@dataclass(frozen=True)
class Paragraph:
    """Sentences about a family or an arm."""

    heading: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class VerdictText:
    """A verdict in sentences."""

    lead: str
    """The whole comparison in one sentence."""
    families: tuple[Paragraph, ...]
    closing: tuple[str, ...]
    details: tuple[Paragraph, ...]
    """Arms that do not speak for their family."""
    cautions: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything but details and cautions, in order."""
        return (self.lead, *(text for family in self.families for text in family.sentences), *self.closing)


def write_verdict(verdict: Verdict) -> VerdictText:
    """The sentences of one model's verdict."""
    closing = [write_necessity(necessity) for necessity in verdict.necessity]
    if verdict.floors:
        closing.append(_write_floors(verdict.floors))
    if verdict.withheld_gap is not None:
        closing.append(_write_withheld_gap(verdict.withheld_gap))
    return VerdictText(
        _write_opening(verdict.model, verdict.opening),
        tuple(Paragraph(_head_family(family.families), tuple(_write_family(family))) for family in verdict.families),
        tuple(closing),
        tuple(Paragraph(facts.arm.name, tuple(write_arm(facts))) for facts in verdict.details),
        tuple(write_caution(caution) for caution in verdict.cautions),
    )


def _write_opening(model: str, opening: Opening) -> str:
    if opening.kind is OpeningKind.NO_BASE or opening.base is None:
        status = opening.base_status or "not part of this comparison"
        return f"On {model} nothing can be concluded: the base arm is {status}, so no gain is known."
    right = f"the base answers {share(opening.base.value)}"
    if opening.ceiling is not None:
        right += f" and the {_write_ceiling(opening.ceiling)}"
    ability = ", and which never had the ability" if opening.capable is False else ""
    return f"On {model}, where {right} of {opening.problems} problems right{ability}, {_write_outcome(opening)}."


def _write_floors(floors: Sequence[Floor]) -> str:
    reached = [
        f"{floor.label} ({floor.name}) {share(floor.accuracy.value)} {format_interval(floor.accuracy)}".strip()
        for floor in floors
    ]
    return f"Floors, which cost next to nothing: {listed(reached)} right."


def _write_outcome(opening: Opening) -> str:
    if opening.kind is OpeningKind.NO_OTHER_ARM:
        return "no other arm was compared"
    if opening.kind is OpeningKind.NOTHING_FINISHED:
        return "no other arm was run to its end"
    if opening.kind is OpeningKind.NO_GAIN:
        return "no mechanism is shown to gain 10 points"
    gaining = [
        f"{_name_family(mechanism.family)} {write_reach(mechanism.level)} ({mechanism.level.arm})"
        for mechanism in opening.mechanisms
    ]
    missing = [_name_family(family) for family in opening.not_shown]
    verb = "gains" if len(gaining) == 1 else "gain"
    unit = "In shares of the gap to the ceiling" if opening.has_shares else "Over the base"
    rest = f"; not shown for {listed(missing)}" if missing else ""
    return (
        f"{len(gaining)} of {len(gaining) + len(missing)} mechanisms {verb} 10 points or more. {unit}: "
        f"{listed(gaining)}{rest}"
    )


def _write_ceiling(ceiling: Ceiling) -> str:
    return f"{name_ceiling({'kind': ceiling.kind})} {share(ceiling.accuracy.value)}"


def _name_family(key: str) -> str:
    """A family's name inside a sentence."""
    name = FAMILIES[key].name
    return name if name.startswith("RL") else name[0].lower() + name[1:]


def _head_family(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return FAMILIES[keys[0]].name
    names = "; ".join(_name_family(key) for key in keys)
    return names[0].upper() + names[1:]


def _write_family(family: FamilyFacts) -> Iterator[str]:
    if family.speaker is not None:
        yield from write_arm(family.speaker)
    if family.no_gain is not None:
        yield sentence(_write_no_gain(family.no_gain))
    if family.reference is not None:
        yield write_no_gain(family.reference.arm, family.reference.gain)
    for small in family.small_gains:
        gained = points(small.gain.difference)
        yield f"{name_arm(small.arm)} gains a little ({gained}){write_origin(small.origin)}."
    if family.notable:
        yield f"Also: {', '.join(map(write_level, family.notable))}."
    if family.not_notable:
        yield f"Not shown to gain 10 points: {', '.join(family.not_notable)}."
    for arm in family.verifier_arms:
        right = share(arm.accuracy.value)
        yield f"{arm.name} consults the verifier while answering ({right}), so it is not compared with the others."


def _write_no_gain(facts: NoGain) -> str:
    if facts.largest is None:
        return "nothing was measured"
    largest = f"the largest difference is {facts.largest.arm}'s, {points(facts.largest.gain)}"
    lost = ""
    if facts.losing:
        lost = f". {listed(list(facts.losing))} {'lose' if len(facts.losing) > 1 else 'loses'} accuracy"
    if not facts.not_ruled_out:
        return f"no arm gains more than 10 points over the base: {largest}{lost}"
    arms = listed(list(facts.not_ruled_out))
    if len(facts.not_ruled_out) > _NAMED:
        arms = f"{len(facts.not_ruled_out)} of {facts.measured} arms"
    return f"no arm is shown to gain 10 points over the base: {largest}; more is not ruled out for {arms}{lost}"


def _write_withheld_gap(facts: WithheldGap) -> str:
    if facts.ceiling is None:
        return "No ceiling was measured, so no share of a gap is given."
    base = share(facts.base.value)
    return f"No clear ceiling ({_write_ceiling(facts.ceiling)}, base {base}): shares of the gap are withheld."
