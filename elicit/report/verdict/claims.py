"""The table of claims: every comparison that a verdict rests on, one a row, with its figure and its reading.

A row says what is compared, the figure with its interval and n, against what, and how it reads. Figures and readings
are those of the facts. Two rules are added here: a share of the gap is *all of it* only if its interval reaches 1, and
an arm that is not shown to gain has *no gain of 10 points* only if its interval ends there.
"""

from __future__ import annotations

from collections.abc import Iterator

from elicit.report.charts.exact_traces import format_draws
from elicit.report.data.families import FAMILIES
from elicit.report.data.number_format import format_number, name_ceiling
from elicit.report.verdict.arm_facts import (
    ArmFacts,
    Control,
    CostComparison,
    Expansion,
    FeatureRank,
    FloorComparison,
    Gain,
    Leak,
    Necessity,
    Replication,
    Sufficiency,
)
from elicit.report.verdict.arm_words import (
    name_arm,
    name_removal,
    name_substitute,
    write_missing_search,
    write_origin,
)
from elicit.report.verdict.claim_facts import Claim, ClaimKind, ClaimUnit
from elicit.report.verdict.control_words import name_control, write_best_draw, write_change
from elicit.report.verdict.facts import FamilyFacts, NoGain, Verdict
from elicit.report.verdict.judge_arm import NOTABLE
from elicit.report.verdict.kinds import Comparison, ControlEffect, FallKind, GainKind, LeakKind, SpecificityKind
from elicit.report.verdict.phrases import listed, probability, share
from elicit.report.verdict.sft_claims import claim_against_sft, claim_at_budget
from elicit.report.verdict.support_words import write_rank

_MAX_NAMES = 4
"""Arms that a reading names; it counts more."""


def list_claims(verdict: Verdict) -> tuple[Claim, ...]:
    """The claims about the arms that speak for their families, a row on each other arm, and what the ceiling needs."""
    return (
        *(claim for family in verdict.families for claim in _list_family_claims(verdict, family)),
        *(claim for necessity in verdict.necessity for claim in _list_necessity_claims(necessity)),
    )


def list_detail_claims(verdict: Verdict) -> tuple[Claim, ...]:
    """Every claim about the arms that do not speak for a family and have more to them than the row in `list_claims`."""
    claims_by_arm = (tuple(_list_arm_claims(verdict, facts, FAMILIES[facts.family].name)) for facts in verdict.details)
    return tuple(claim for claims in claims_by_arm if len(claims) > 1 for claim in claims)


def _list_family_claims(verdict: Verdict, family: FamilyFacts) -> Iterator[Claim]:
    heading = " · ".join(FAMILIES[key].name for key in family.families)
    if family.speaker is not None:
        yield from _list_arm_claims(verdict, family.speaker, heading)
    if family.no_gain is not None and family.no_gain.measured != 1:
        yield _claim_no_gain(heading, family.no_gain)
    verifier_names = {arm.name for arm in family.verifier_arms}
    for facts in verdict.details:
        if facts.family in family.families and facts.arm.name not in verifier_names:
            yield _claim_gain(verdict, facts, heading)
    for arm in family.verifier_arms:
        reading = "consults the verifier while answering, so it is not compared with the others"
        yield Claim(
            ClaimKind.VERIFIER, heading, arm.name, "right answers", arm.accuracy, ClaimUnit.PERCENT, "–", reading
        )


def _list_arm_claims(verdict: Verdict, facts: ArmFacts, heading: str) -> Iterator[Claim]:
    name, points = name_arm(facts.arm), ClaimUnit.POINTS
    yield _claim_gain(verdict, facts, heading)
    if facts.gain.kind is GainKind.GAIN and facts.level.gap is not None:
        yield _claim_share(verdict, facts, heading)
    if facts.against_sft is not None and facts.against_sft.reference is not None:
        yield claim_against_sft(heading, name, facts.against_sft)
    for at_budget in facts.at_budget:
        yield claim_at_budget(heading, name, at_budget)
    for comparison in facts.floors:
        yield _claim_floor(heading, name, comparison)
    if facts.specificity is not None:
        if not facts.specificity.controls:
            open_question = "open whether the effect is specific: no control of it was measured"
            yield Claim(ClaimKind.NO_CONTROL, heading, name, "specific effect", None, points, "–", open_question)
        for control in facts.specificity.controls:
            yield _claim_control(heading, name, control)
        if facts.specificity.kind is SpecificityKind.UNSEARCHED:
            reading = write_missing_search(facts.specificity)
            yield Claim(ClaimKind.NO_CONTROL, heading, name, "specific effect", None, points, "–", reading)
    for variant in facts.variants:
        figure, unit = (variant.gain, points) if variant.gap is None else (variant.gap, ClaimUnit.SHARE)
        yield Claim(ClaimKind.VARIANT, heading, name, f"variant {variant.arm}", figure, unit, "the base", "")
    for support in facts.support:
        yield _claim_support(heading, name, support)
    for cost in facts.costs:
        yield _claim_cost(heading, name, cost)
    if facts.sharpening is not None:
        reading = "sharpens" if facts.sharpening.is_shown else "not shown to sharpen"
        if facts.crossover is not None:
            reading += f"; the base overtakes at k = {facts.crossover}"
        yield Claim(
            ClaimKind.SHARPENING,
            heading,
            name,
            "right at the first sample",
            facts.sharpening.gain,
            points,
            "the base's pass@1",
            reading,
        )
    if facts.expansion is not None:
        yield _claim_expansion(heading, name, facts.expansion)
    if facts.leak is not None:
        yield _claim_leak(heading, name, facts.leak)


def _claim_gain(verdict: Verdict, facts: ArmFacts, heading: str) -> Claim:
    base = share(verdict.opening.base.value) if verdict.opening.base is not None else "–"
    reading = _read_gain(facts.gain)
    if facts.origin is not None:
        reading += write_origin(facts.origin)
    return Claim(
        ClaimKind.GAIN,
        heading,
        name_arm(facts.arm),
        f"right answers, {share(facts.accuracy.value)}",
        facts.gain.difference,
        ClaimUnit.POINTS,
        f"the base, {base}",
        reading,
    )


def _read_gain(gain: Gain) -> str:
    if gain.kind is GainKind.GAIN:
        size = "gains" if gain.is_notable else "gains less than 10 points"
        return size if gain.p_holm is None else f"{size}, {probability(gain.p_holm, 'Holm p')}"
    if gain.kind is GainKind.UNCORRECTED:
        among = "so many arms" if gain.holm_tests is None else f"{gain.holm_tests} comparisons"
        return f"not shown to gain among {among}, {probability(gain.p_holm, 'Holm p')}"
    if gain.kind is GainKind.LOSS:
        return "loses accuracy"
    is_ruled_out = gain.difference.high is not None and gain.difference.high <= NOTABLE
    return "no gain of 10 points or more" if is_ruled_out else "not shown to gain; 10 points are not ruled out"


def _claim_share(verdict: Verdict, facts: ArmFacts, heading: str) -> Claim:
    gap, ceiling = facts.level.gap, verdict.opening.ceiling
    assert gap is not None
    reading = "a part of it"
    if not gap.bounded:
        reading = "no interval is known"
    elif gap.high is None or gap.high >= 1:
        reading = "all of it, within its interval"
    top = "the ceiling" if ceiling is None else f"the {name_ceiling({'kind': ceiling.kind})}"
    name = name_arm(facts.arm)
    return Claim(
        ClaimKind.SHARE,
        heading,
        name,
        "gap recovered",
        gap,
        ClaimUnit.SHARE,
        f"the gap from the base to {top}",
        reading,
    )


def _claim_floor(heading: str, name: str, facts: FloorComparison) -> Claim:
    readings = {Comparison.MORE: "more", Comparison.LESS: "less"}
    floor, reading = facts.floor, readings.get(facts.kind, "not shown to be more")
    against = f"{floor.name}, {share(floor.accuracy.value)}"
    subject = f"against {floor.label}"
    return Claim(ClaimKind.FLOOR, heading, name, subject, facts.difference, ClaimUnit.POINTS, against, reading)


def _claim_control(heading: str, name: str, control: Control) -> Claim:
    reading = {
        ControlEffect.AS_MUCH: f"as much: the effect is not tied to {write_change(control)}",
        ControlEffect.PART: "a part of the gain",
        ControlEffect.NONE: "not shown to gain",
        ControlEffect.LOSS: "loses accuracy",
    }[control.effect]
    draws = write_best_draw(control)
    return Claim(
        ClaimKind.CONTROL,
        heading,
        name,
        f"control: {name_control(control)}",
        control.gain,
        ClaimUnit.POINTS,
        "the base",
        f"{reading}; {draws}" if draws else reading,
    )


def _claim_support(heading: str, name: str, facts: Replication | Sufficiency | FeatureRank) -> Claim:
    if isinstance(facts, FeatureRank):
        claim = f"the best of {facts.features} other live features, cosine {format_number(facts.cosine, 2)}"
        return Claim(ClaimKind.RANK, heading, name, claim, facts.gain, ClaimUnit.POINTS, "the base", write_rank(facts))
    if isinstance(facts, Replication):
        claim = f"nearest feature of a second SAE, cosine {format_number(facts.cosine, 2)}"
        reading = "does less" if facts.falls_short else "does the same"
        return Claim(ClaimKind.REPLICATION, heading, name, claim, facts.gain, ClaimUnit.POINTS, "the base", reading)
    subject = "the feature at its" if facts.features == 1 else f"the {facts.features} best features at their"
    claim = f"{subject} natural value{'' if facts.features == 1 else 's'}, without the cue"
    reading = "not enough" if facts.falls_short else "enough"
    return Claim(ClaimKind.SUFFICIENCY, heading, name, claim, facts.gain, ClaimUnit.POINTS, "the base", reading)


def _claim_cost(heading: str, name: str, facts: CostComparison) -> Claim:
    votes = f"the base's majority vote of {facts.votes}" if facts.votes > 1 else "a single sample of the base"
    claim = "at equal tokens, those of the fit included" if facts.with_fit else "at equal tokens"
    reading = {Comparison.MORE: "more", Comparison.LESS: "less"}.get(facts.kind, "no more")
    capped = ", all the samples it has" if facts.is_capped else ""
    return Claim(ClaimKind.COST, heading, name, claim, facts.difference, ClaimUnit.POINTS, f"{votes}{capped}", reading)


def _claim_expansion(heading: str, name: str, facts: Expansion) -> Claim:
    trace = ", with a valid trace" if facts.needs_trace else ""
    reading = f"{facts.solved} of {facts.problems} problems"
    if facts.solved_by_base is not None:
        reading += f"; {facts.solved_by_base} the other way round"
    if facts.draws:
        reading += f"; the base needs {format_draws(facts.draws)} draws on average"
    return Claim(
        ClaimKind.EXPANSION,
        heading,
        name,
        f"solved by the arm alone{trace}",
        facts.share,
        ClaimUnit.PERCENT,
        f"the base in {facts.samples} samples",
        reading,
    )


def _claim_leak(heading: str, name: str, facts: Leak) -> Claim:
    model = facts.model or "a model without the ability"
    reading = {
        LeakKind.TAUGHT: "gains there: taught, not brought out",
        LeakKind.NONE: "not shown to gain there",
        LeakKind.LOSS: "loses accuracy there",
        LeakKind.VERIFIER: "by the verifier it consults",
    }[facts.kind]
    claim = f"on {model}, which never had the ability"
    return Claim(
        ClaimKind.LEAK, heading, name, claim, facts.difference, ClaimUnit.POINTS, f"the base of {model}", reading
    )


def _claim_no_gain(heading: str, facts: NoGain) -> Claim:
    if facts.largest is None:
        return Claim(ClaimKind.LARGEST, heading, "–", "right answers", None, ClaimUnit.POINTS, "–", "none has finished")
    reading = "no arm gains more than 10 points"
    if facts.not_ruled_out:
        arms = (
            listed(list(facts.not_ruled_out)) if len(facts.not_ruled_out) <= 4 else f"{len(facts.not_ruled_out)} arms"
        )
        reading = f"no arm is shown to gain 10 points; more is not ruled out for {arms}"
    count = f"all {facts.measured} arms"
    claim = f"the largest gain, that of {facts.largest.arm}"
    return Claim(ClaimKind.LARGEST, heading, count, claim, facts.largest.gain, ClaimUnit.POINTS, "the base", reading)


def _list_necessity_claims(facts: Necessity) -> Iterator[Claim]:
    heading = f"Features under {facts.ceiling}"
    reading = {
        FallKind.LARGE: "lowers its accuracy",
        FallKind.SMALL: "lowers its accuracy a little",
        FallKind.NOT_SHOWN: "not shown to matter there",
    }[facts.kind]
    removal = name_removal(facts)
    yield Claim(
        ClaimKind.NECESSITY, heading, facts.ceiling, removal, facts.fall, ClaimUnit.POINTS, facts.ceiling, reading
    )
    for substitute in facts.substitutes:
        claim = f"right answers with {name_substitute(substitute)}"
        yield Claim(
            ClaimKind.SUBSTITUTE, heading, facts.ceiling, claim, substitute.accuracy, ClaimUnit.PERCENT, "–", ""
        )
