"""Sentences about one arm, from its facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elicit.report.charts.exact_traces import format_draws
from elicit.report.data.number_format import (
    format_fraction,
    format_interval,
    format_p_value,
    format_percent,
)
from elicit.report.verdict.arm_facts import (
    ArmFacts,
    ArmLabel,
    Control,
    CostComparison,
    Expansion,
    FloorComparison,
    Gain,
    Leak,
    Level,
    Necessity,
    SftComparison,
    Sharpening,
    Specificity,
    Substitute,
)
from elicit.report.verdict.budget_words import write_at_budget, write_ratios
from elicit.report.verdict.control_words import name_control, write_best_draw, write_change, write_positions
from elicit.report.verdict.kinds import (
    Comparison,
    ControlEffect,
    FallKind,
    GainKind,
    LeakKind,
    Origin,
    SpecificityKind,
    SteeringKind,
)
from elicit.report.verdict.phrases import brief_points, listed, points, probability, sentence, share
from elicit.report.verdict.support_words import write_support

_STEERING = {
    SteeringKind.VECTOR: "one vector",
    SteeringKind.FEATURE: "one SAE feature",
    SteeringKind.GATED_VECTORS: "a gated vector per category",
    SteeringKind.GATED_VECTOR: "one vector where a gate fires,",
}
_ORIGINS = {
    Origin.ELICITED: "",
    Origin.VERIFIER: ", by the verifier it consults",
    Origin.INCAPABLE: "; this model never had the ability, so this is teaching",
    Origin.NO_CEILING: "; no ceiling was measured, so it is open whether this is elicited or taught",
    Origin.NO_ABILITY: (
        "; neither the ceiling nor any inference-time arm shows the ability in this model, so this is teaching"
    ),
}
_AGAINST_SFT = {
    Comparison.MORE: "more than",
    Comparison.EQUAL: "not told apart from",
    Comparison.LESS: "less than",
}
_AGAINST_FLOOR = {
    Comparison.EQUAL: "not shown to beat",
    Comparison.LESS: "less than",
}
_AGAINST_VOTE = {
    Comparison.MORE: "More than",
    Comparison.EQUAL: "No more than",
    Comparison.LESS: "Less than",
}
_FALLS = {
    FallKind.LARGE: "lowers its accuracy",
    FallKind.SMALL: "lowers its accuracy a little",
    FallKind.NOT_SHOWN: "is not shown to matter there",
}


def write_arm(facts: ArmFacts) -> Iterator[str]:
    """Every sentence about one arm."""
    if facts.gain.kind is not GainKind.GAIN or facts.origin is None:
        yield write_no_gain(facts.arm, facts.gain)
    else:
        rivalry = "" if facts.against_sft is None else f", {_write_against_sft(facts.against_sft)}"
        yield f"{name_arm(facts.arm)} {_write_reached(facts)}{rivalry}{write_origin(facts.origin)}."
    if facts.at_budget:
        yield write_at_budget(facts.at_budget)
    if facts.unbeaten:
        yield _write_unbeaten(facts.unbeaten)
    if facts.specificity is not None:
        yield _write_specificity(facts.specificity)
    if facts.variants:
        yield f"Variants: {', '.join(write_level(variant) for variant in facts.variants)}."
    for support in facts.support:
        yield write_support(support)
    for cost in facts.costs:
        yield _write_cost(cost)
    if facts.sharpening is not None or facts.expansion is not None:
        yield _write_sharpening(facts.sharpening, facts.expansion, facts.crossover)
    if facts.leak is not None:
        yield _write_leak(facts.leak)


def name_arm(arm: ArmLabel) -> str:
    """An arm's name, with what a steering arm does in words."""
    if arm.is_reference:
        return "SFT" if arm.demonstrations is None else f"SFT on {arm.demonstrations} demonstrations"
    if arm.steering is None or arm.edit is None:
        return arm.name
    place = "at one token" if arm.steering is SteeringKind.GATED_VECTOR else write_positions(arm.edit)
    return f"{arm.name} ({_STEERING[arm.steering]} {place}, layer {arm.edit.layer})"


def write_level(level: Level) -> str:
    """`grpo 0.86 [0.79, 0.92]`, or points where the share of the gap is withheld."""
    return f"{level.arm} {write_reach(level)}"


def write_reach(level: Level) -> str:
    """A level without the arm's name."""
    return brief_points(level.gain) if level.gap is None else format_fraction(level.gap)


def write_origin(origin: Origin) -> str:
    """A clause that ends the sentence on a gain; empty where nothing speaks against elicitation."""
    return _ORIGINS[origin]


def write_no_gain(arm: ArmLabel, gain: Gain) -> str:
    """An arm that does not gain."""
    name, difference = name_arm(arm), points(gain.difference)
    if gain.kind is GainKind.UNCORRECTED:
        among = "so many arms" if gain.holm_tests is None else f"{gain.holm_tests} comparisons"
        return f"{name} is not shown to gain among {among} ({difference}, Holm p = {format_p_value(gain.p_holm)})."
    return f"{name} {'loses accuracy' if gain.kind is GainKind.LOSS else 'shows no gain'} ({difference})."


def write_necessity(facts: Necessity) -> str:
    """The loss of a ceiling with features taken out."""
    instead = ", ".join(map(_write_substitute, facts.substitutes))
    return (
        f"{name_removal(facts)} under {facts.ceiling} {_FALLS[facts.kind]}: {brief_points(facts.fall)}"
        f"{f' ({instead})' if instead else ''}."
    )


def name_removal(facts: Necessity) -> str:
    """`Taking 3 features together out`."""
    features = "the feature" if facts.features == 1 else f"{facts.features} features together"
    return (facts.removal or f"{facts.method.capitalize()} on {{}}").format(features)


def name_substitute(substitute: Substitute) -> str:
    """`as many matched random features instead`."""
    return substitute.label


def _write_substitute(substitute: Substitute) -> str:
    accuracy = f"{format_percent(substitute.accuracy.value)} % {format_interval(substitute.accuracy)}".strip()
    return f"{accuracy} with {name_substitute(substitute)}"


def _write_reached(facts: ArmFacts) -> str:
    if facts.level.gap is not None:
        return f"recovers {format_fraction(facts.level.gap)} of the gap"
    return (
        f"raises accuracy from {share(facts.base_accuracy.value)} to {share(facts.accuracy.value)} "
        f"({points(facts.gain.difference)})"
    )


def _write_against_sft(facts: SftComparison) -> str:
    if facts.reference is None:
        return "with no SFT arm beside it"
    if facts.kind is Comparison.UNKNOWN:
        return f"with no difference to SFT to report (SFT is {facts.status})"
    chance = probability(facts.p, "Holm p" if facts.is_corrected else "p")
    spent = write_ratios(facts.ratios)
    figures = f"{points(facts.difference)}, {chance}{f'; {spent}' if spent else ''}"
    return f"{_AGAINST_SFT[facts.kind]} {name_arm(facts.reference)} ({figures})"


def _write_unbeaten(comparisons: Sequence[FloorComparison]) -> str:
    parts = [
        f"{_AGAINST_FLOOR[comparison.kind]} {comparison.floor.label} ({comparison.floor.name}, "
        f"{share(comparison.floor.accuracy.value)}; {points(comparison.difference)})"
        for comparison in comparisons
    ]
    return sentence("; ".join(parts))


def _write_specificity(facts: Specificity) -> str:
    if not facts.controls:
        return f"No control of {facts.arm} was measured: whether the effect is specific is open."
    parts = []
    for effect, opening in (
        (ControlEffect.AS_MUCH, "not specific: as much with"),
        (ControlEffect.PART, "a part of it with"),
        (ControlEffect.NONE, "no gain with"),
        (ControlEffect.LOSS, "a loss with"),
    ):
        controls = facts.with_effect(effect)
        if controls:
            parts.append(f"{opening} {listed([_write_control(control) for control in controls])}")
        if controls and effect is ControlEffect.AS_MUCH:
            changes = dict.fromkeys(map(write_change, controls))
            parts[-1] += f", so the effect is not tied to {listed(list(changes))}"
    if facts.kind is SpecificityKind.UNSEARCHED:
        parts.append(write_missing_search(facts))
    is_shown = facts.kind is SpecificityKind.SPECIFIC and facts.settings > 1
    return sentence(("specific: " if is_shown else "") + "; ".join(parts))


def write_missing_search(facts: Specificity) -> str:
    """The reason why an arm with a search is not called specific."""
    return (
        f"whether the effect is specific is open: {facts.arm} chose among {facts.settings} settings, and no control "
        "was given that search"
    )


def _write_control(control: Control) -> str:
    draws = write_best_draw(control)
    return f"{name_control(control)} ({points(control.gain)}{f'; {draws}' if draws else ''})"


def _write_cost(facts: CostComparison) -> str:
    votes = f"majority vote of {facts.votes}" if facts.votes > 1 else "single sample"
    tokens = "with the fit's tokens included" if facts.with_fit else "at the same tokens"
    capped = ", all it has" if facts.is_capped else ""
    return f"{_AGAINST_VOTE[facts.kind]} the base's {votes}{capped} {tokens} ({points(facts.difference)})."


def _write_sharpening(sharpening: Sharpening | None, expansion: Expansion | None, crossover: int | None) -> str:
    parts = []
    if sharpening is not None:
        verb = "sharpens" if sharpening.is_shown else "not shown to sharpen"
        parts.append(f"{verb}: {points(sharpening.gain)} at pass@1")
    if expansion is not None:
        parts.append(_write_expansion(expansion))
    if crossover is not None:
        parts.append(f"the base overtakes at k = {crossover}")
    return sentence("; ".join(parts))


def _write_expansion(facts: Expansion) -> str:
    bounds = f", at most {share(facts.share.high)}" if facts.share.high is not None else ""
    if facts.solved:
        bounds = f", {share(facts.share.value)} {format_interval(facts.share)}"
    if facts.solved_by_base is not None:
        bounds += f"; {facts.solved_by_base} the other way round"
    if facts.draws:
        which = "each" if len(facts.draws) == facts.solved else f"{len(facts.draws)} of them"
        draws = f"once in {format_draws(facts.draws)} draws on average"
        bounds += f"; the base writes the worked solution of {which} {draws}"
    trace = " with a valid trace" if facts.needs_trace else ""
    return (
        f"expansion: {facts.solved} of {facts.problems} problems{trace} that base@{facts.samples} never solved{bounds}"
    )


def _write_leak(facts: Leak) -> str:
    where, difference = facts.model or "a model without the ability", points(facts.difference)
    if facts.kind is LeakKind.VERIFIER:
        return f"On {where} {difference}, by the verifier it consults."
    if facts.kind is LeakKind.TAUGHT:
        return f"Teaches: on {where}, which never had the ability, {difference}."
    return f"On {where} {'a loss' if facts.kind is LeakKind.LOSS else 'no gain'} ({difference})."
