"""Facts about one arm: its gain, its comparison with SFT, its controls, its cost, its leak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from elicit.report.data.families import is_single_vector
from elicit.report.data.summary_view import Arm, ModelPanel, OptionalEstimate, get_nested, read_finite_number
from elicit.report.verdict.arm_facts import (
    ArmFacts,
    ArmLabel,
    BestDraw,
    Control,
    CostComparison,
    Gain,
    Leak,
    Level,
    SftComparison,
    Specificity,
)
from elicit.report.verdict.judge_budgets import judge_at_budget, judge_ratios
from elicit.report.verdict.judge_features import judge_support
from elicit.report.verdict.judge_floors import judge_floors
from elicit.report.verdict.judge_samples import (
    ALPHA,
    find_corrected_side,
    find_side,
    judge_expansion,
    judge_sharpening,
)
from elicit.report.verdict.kinds import (
    Comparison,
    ControlChange,
    ControlEffect,
    GainKind,
    LeakKind,
    Origin,
    SpecificityKind,
    SteeringKind,
)

NOTABLE = 0.10
"""The smallest gain that is notable."""


def judge_arm(panel: ModelPanel, arm: Arm, leader: Arm | None) -> ArmFacts:
    """All facts about an arm of a panel that has a base.

    Args:
        leader: the best inference-time arm with a notable gain.
    """
    assert panel.base is not None
    gain, is_reference = judge_gain(arm), arm.role == "reference"
    has_gain = gain.kind is GainKind.GAIN
    sharpening = judge_sharpening(arm) if has_gain else None
    expansion = judge_expansion(arm) if has_gain else None
    crossover = read_finite_number(arm.data.get("crossover_k"))
    return ArmFacts(
        arm=label_arm(arm),
        family=arm.family.key,
        gain=gain,
        level=judge_level(panel, arm),
        accuracy=arm.accuracy,
        base_accuracy=panel.base.accuracy,
        origin=judge_origin(panel, arm, leader) if has_gain else None,
        against_sft=compare_with_sft(panel, arm) if has_gain and not is_reference else None,
        floors=judge_floors(panel, arm) if has_gain and not arm.verifier else (),
        specificity=judge_specificity(panel, arm) if gain.is_notable and not is_reference else None,
        variants=tuple(
            replace(judge_level(panel, variant), arm=variant.short_name)
            for variant in list_variants(panel, arm)
            if variant.accuracy.value is not None
        ),
        support=tuple(judge_support(panel, arm)),
        costs=judge_costs(arm) if has_gain else (),
        sharpening=sharpening,
        expansion=expansion,
        crossover=None if crossover is None or (sharpening is None and expansion is None) else round(crossover),
        leak=judge_leak(arm),
        at_budget=judge_at_budget(arm) if has_gain and not is_reference and not arm.verifier else (),
    )


def judge_gain(arm: Arm) -> Gain:
    """The difference of an arm to the base, and its kind (rule 1)."""
    versus = arm.read_difference("vs_base")
    difference, p = versus.estimate, versus.p if versus.p_holm is None else versus.p_holm
    kind = GainKind.NONE
    if difference.low is not None and difference.low > 0:
        kind = GainKind.GAIN if p is not None and p < ALPHA else GainKind.UNCORRECTED
    elif difference.high is not None and difference.high < 0:
        kind = GainKind.LOSS
    is_notable = kind is GainKind.GAIN and (difference.value or 0.0) >= NOTABLE
    return Gain(kind, is_notable, difference, versus.p_holm, versus.holm_tests)


def label_arm(arm: Arm) -> ArmLabel:
    """The arm's name, with the demonstrations of the reference or the edit of a steering arm."""
    if arm.role == "reference":
        labels = read_finite_number(get_nested(arm.data, "train", "labels"))
        return ArmLabel(arm.name, is_reference=True, demonstrations=round(labels) if labels else None)
    if arm.edit is None:
        return ArmLabel(arm.name)
    kind = SteeringKind.FEATURE if arm.data.get("features") else SteeringKind.VECTOR
    if arm.family.key == "hybrid":
        kind = SteeringKind.GATED_VECTORS
    elif is_single_vector(arm.data):
        kind = SteeringKind.GATED_VECTOR
    return ArmLabel(arm.name, steering=kind, edit=arm.edit)


def judge_level(panel: ModelPanel, arm: Arm) -> Level:
    """The distance an arm came; its share of the gap only where there is a ceiling."""
    has_gap = arm.gap.value is not None and panel.main_ceiling is not None
    return Level(arm.name, arm.gap if has_gap else None, arm.read_difference("vs_base").estimate)


def judge_origin(panel: ModelPanel, arm: Arm, leader: Arm | None) -> Origin:
    """The source of an arm's gain (rule 5)."""
    if arm.verifier:
        return Origin.VERIFIER
    if panel.capable is False:
        return Origin.INCAPABLE
    if not arm.trained or leader is not None or arm.gap.value is not None:
        return Origin.ELICITED
    return Origin.NO_CEILING if panel.main_ceiling is None else Origin.NO_ABILITY


def compare_with_sft(panel: ModelPanel, arm: Arm) -> SftComparison:
    """The difference of an arm to the reference: more or less needs the interval and p."""
    sft, versus = panel.sft, arm.read_difference("vs_sft")
    difference, p = versus.estimate, versus.p if versus.p_holm is None else versus.p_holm
    kind = Comparison.EQUAL
    if sft is None or difference.value is None or not difference.bounded:
        kind = Comparison.UNKNOWN
    elif p is not None and p < ALPHA and (difference.low or 0.0) > 0:
        kind = Comparison.MORE
    elif p is not None and p < ALPHA and (difference.high or 0.0) < 0:
        kind = Comparison.LESS
    return SftComparison(
        kind,
        None if sft is None else label_arm(sft),
        "" if sft is None else sft.status,
        difference,
        p,
        versus.p_holm is not None,
        judge_ratios(panel, arm),
    )


def list_variants(panel: ModelPanel, arm: Arm) -> list[Arm]:
    """Arms named after this one that run the same method: other settings of it, not controls."""
    return [other for other in panel.arms if other.parent == arm.name and not _is_control_of(other, arm)]


def list_controls(panel: ModelPanel, arm: Arm) -> list[Arm]:
    """Arms named after this one that run another method, or the same as its control."""
    return [other for other in panel.arms if other.parent == arm.name and _is_control_of(other, arm)]


def _is_control_of(other: Arm, arm: Arm) -> bool:
    return other.data.get("method") != arm.data.get("method") or other.traits.control_of is not None


def has_control(panel: ModelPanel, arm: Arm) -> bool:
    """A control of the arm was measured."""
    return any(control.read_difference("vs_base").estimate.value is not None for control in list_controls(panel, arm))


def judge_specificity(panel: ModelPanel, arm: Arm) -> Specificity:
    """The effects of an arm's measured controls (rule 3)."""
    gain, settings = arm.read_difference("vs_base").estimate, _count_settings(arm)
    controls = []
    for control in list_controls(panel, arm):
        moved = control.read_difference("vs_base").estimate
        if moved.value is None or not moved.bounded or control.traits.evidence is not None:
            continue
        effect = ControlEffect.NONE
        if moved.value > 0 and _keeps_up(control, moved, gain):
            effect = ControlEffect.AS_MUCH
        elif (moved.low or 0.0) > 0:
            effect = ControlEffect.PART
        elif moved.high is not None and moved.high < 0:
            effect = ControlEffect.LOSS
        controls.append(_describe_control(arm, control, effect))
    return Specificity(arm.name, _judge_kind(controls, settings), tuple(controls), settings)


def _count_settings(arm: Arm) -> int:
    """Settings that an arm chose among by itself; 1 for an arm that did not search."""
    return max(1, round(read_finite_number(get_nested(arm.data, "tuning", "trials")) or 0))


def _judge_kind(controls: Sequence[Control], settings: int) -> SpecificityKind:
    """An arm that chose among several settings is specific only against controls that chose among as many."""
    if not controls:
        return SpecificityKind.UNCONTROLLED
    if any(control.effect is ControlEffect.AS_MUCH for control in controls):
        return SpecificityKind.NOT_SPECIFIC
    fair = [control for control in controls if settings == 1 or control.is_searched]
    if not fair:
        return SpecificityKind.UNSEARCHED
    is_part = any(control.effect is ControlEffect.PART for control in fair)
    return SpecificityKind.PARTLY if is_part else SpecificityKind.SPECIFIC


def _keeps_up(control: Arm, moved: OptionalEstimate, gain: OptionalEstimate) -> bool:
    """A control is not shown to fall short of its parent; by overlapping intervals where nothing is paired."""
    paired = control.read_difference("vs_parent").estimate
    if paired.bounded:
        return paired.high is None or paired.high >= 0
    return moved.high is not None and gain.low is not None and moved.high >= gain.low


def _describe_control(arm: Arm, control: Arm, effect: ControlEffect) -> Control:
    changes = control.traits.changes
    change = ControlChange(changes) if changes in list(ControlChange) else ControlChange.OTHER
    moves_vector = change is ControlChange.POSITION_OR_SIGN and control.family.key == "steering"
    if change is ControlChange.POSITION_OR_SIGN and not moves_vector:
        change = ControlChange.OTHER
    edit = control.edit if moves_vector else None
    sign = 1.0 if arm.edit is None else math.copysign(1.0, arm.edit.strength)
    return Control(
        name=control.name,
        label=control.short_name.lstrip("/"),
        method=str(control.data.get("method")),
        effect=effect,
        change=change,
        gain=control.read_difference("vs_base").estimate,
        best_draw=_best_draw(control),
        is_searched=_count_settings(control) >= _count_settings(arm),
        edit=edit,
        is_reversed=edit is not None and edit.strength * sign < 0,
        method_label=control.traits.label,
        change_label="" if changes in list(ControlChange) else changes,
    )


def _best_draw(control: Arm) -> BestDraw | None:
    """Only for a control that is random anew with every seed."""
    values = control.data.get("seed_accuracies")
    known = (
        [value for entry in values if (value := read_finite_number(entry)) is not None]
        if isinstance(values, list)
        else []
    )
    return BestDraw(len(known), max(known)) if len(known) > 1 and not control.trained else None


def judge_costs(arm: Arm) -> tuple[CostComparison, ...]:
    """The base's majority vote at the same tokens: those of the answers, and with those of the fit (rule 6)."""
    results = []
    for key in ("rival", "rival_total"):
        difference, votes = (
            arm.read_difference(key, "difference").estimate,
            read_finite_number(get_nested(arm.data, key, "k")),
        )
        if difference.value is None or not difference.bounded or votes is None:
            continue
        is_capped = get_nested(arm.data, key, "capped") is True
        results.append(CostComparison(find_side(difference), key == "rival_total", round(votes), is_capped, difference))
    return tuple(results)


def judge_leak(arm: Arm) -> Leak | None:
    """The gain of the same arm where there is nothing to bring out."""
    versus = arm.read_difference("leak")
    difference, side = versus.estimate, find_corrected_side(versus)
    if difference.value is None:
        return None
    kind = {Comparison.MORE: LeakKind.TAUGHT, Comparison.LESS: LeakKind.LOSS}.get(side, LeakKind.NONE)
    model = get_nested(arm.data, "leak", "model")
    return Leak(LeakKind.VERIFIER if arm.verifier else kind, str(model) if model else None, difference)
