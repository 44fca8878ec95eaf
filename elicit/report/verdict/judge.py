"""The judgement of a panel: families, the arms that speak for them, and the outcome of the whole comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from elicit.report.data.summary_view import Arm, ModelPanel, parse_estimate, read_panels
from elicit.report.verdict.facts import (
    Ceiling,
    FamilyFacts,
    Mechanism,
    NoGain,
    Opening,
    ReferenceGain,
    SmallGain,
    Verdict,
    VerifierArm,
    WithheldGap,
)
from elicit.report.verdict.judge_arm import (
    NOTABLE,
    has_control,
    judge_arm,
    judge_gain,
    judge_level,
    judge_origin,
    label_arm,
)
from elicit.report.verdict.judge_cautions import judge_cautions
from elicit.report.verdict.judge_features import judge_necessity
from elicit.report.verdict.judge_floors import describe_floor
from elicit.report.verdict.kinds import GainKind, OpeningKind, Origin

_TOGETHER = 3
"""From so many families without a notable gain on, they are reported as one."""


def judge_summary(summary: Mapping[str, Any]) -> list[Verdict]:
    """One verdict for each model and task."""
    return [judge_panel(panel) for panel in read_panels(summary)]


def judge_panel(panel: ModelPanel) -> Verdict:
    """The facts that one model's figures show."""
    if panel.base is None:
        state = next((arm.status for arm in panel.arms_with_role("base")), "")
        opening = Opening(OpeningKind.NO_BASE, state, None, None, panel.n, panel.capable, (), ())
        cautions = tuple(judge_cautions(panel, None, ()))
        return Verdict(panel.model, panel.task, opening, (), (), None, (), (), cautions)
    gaining = {arm.name for arm in panel.arms if judge_gain(arm).is_notable}
    members = _group_members(panel)
    speakers = {key: arm for key, arms in members.items() if (arm := _choose_speaker(panel, arms, gaining)) is not None}
    leader = max(
        (arm for arm in speakers.values() if not arm.trained), key=lambda arm: arm.accuracy.value or 0.0, default=None
    )
    return Verdict(
        panel.model,
        panel.task,
        _judge_opening(panel, members, speakers),
        tuple(
            _judge_family(panel, keys, [arm for key in keys for arm in members[key]], speakers.get(keys[0]), leader)
            for keys in _group_families(members, speakers)
        ),
        tuple(judge_necessity(panel)),
        _judge_gap(panel),
        tuple(describe_floor(floor) for floor in panel.floors if floor.accuracy.value is not None),
        tuple(
            judge_arm(panel, arm, leader)
            for key, arms in members.items()
            for arm in arms
            if arm is not speakers.get(key) and _has_difference(arm)
        ),
        tuple(judge_cautions(panel, leader, gaining)),
    )


def _group_members(panel: ModelPanel) -> dict[str, list[Arm]]:
    """Arms that control no other arm, by family; without families of which nothing was run."""
    members: dict[str, list[Arm]] = {}
    for arm in panel.arms:
        if arm.role in ("arm", "reference"):
            members.setdefault(arm.family.key, []).append(arm)
    whole = {key: [arm for arm in arms if arm.parent is None] or arms for key, arms in members.items()}
    return {key: arms for key, arms in whole.items() if _is_measured(arms) or any(arm.failures for arm in arms)}


def _is_measured(arms: list[Arm]) -> bool:
    return any(arm.accuracy.value is not None for arm in arms)


def _has_difference(arm: Arm) -> bool:
    return arm.read_difference("vs_base").estimate.value is not None


def _choose_speaker(panel: ModelPanel, arms: list[Arm], gaining: set[str]) -> Arm | None:
    """The arm that speaks for a family (rule 1); None without a notable one."""

    def rank(arm: Arm) -> tuple[bool, bool, bool, float]:
        return arm.role == "reference", not arm.trained, has_control(panel, arm), arm.accuracy.value or 0.0

    return max((arm for arm in arms if arm.name in gaining and not arm.verifier), key=rank, default=None)


def _group_families(members: Mapping[str, list[Arm]], speakers: Mapping[str, Arm]) -> Iterator[tuple[str, ...]]:
    """Keys of the families that are reported together: those without a notable gain, if they are many."""
    quiet = tuple(key for key in members if key not in speakers)
    for key in members:
        if key in speakers or len(quiet) < _TOGETHER:
            yield (key,)
    if len(quiet) >= _TOGETHER:
        yield quiet


def _judge_opening(panel: ModelPanel, members: Mapping[str, list[Arm]], speakers: Mapping[str, Arm]) -> Opening:
    """The mechanisms that bring the ability out, the furthest first."""
    assert panel.base is not None
    measured = [key for key, arms in members.items() if _is_measured(arms)]
    ranked = sorted(speakers.items(), key=lambda item: -(item[1].accuracy.value or 0.0))
    kind = OpeningKind.GAIN if ranked else OpeningKind.NO_GAIN
    if not measured:
        kind = OpeningKind.NO_OTHER_ARM if len(panel.arms) < 2 else OpeningKind.NOTHING_FINISHED
    ceiling = _top_ceiling(panel)
    return Opening(
        kind=kind,
        base_status=panel.base.status,
        base=panel.base.accuracy,
        ceiling=None if ceiling is None or ceiling.accuracy.value is None else ceiling,
        problems=panel.n,
        capable=panel.capable,
        mechanisms=tuple(Mechanism(key, judge_level(panel, arm)) for key, arm in ranked),
        not_shown=tuple(key for key in measured if key not in speakers),
    )


def _top_ceiling(panel: ModelPanel) -> Ceiling | None:
    return (
        None
        if panel.main_ceiling is None
        else Ceiling(str(panel.main_ceiling.get("kind") or ""), parse_estimate(panel.main_ceiling))
    )


def _judge_gap(panel: ModelPanel) -> WithheldGap | None:
    """The reason why shares of the gap are missing (rule 2)."""
    assert panel.base is not None
    if panel.main_ceiling is None or all(arm.gap.value is None for arm in panel.arms):
        return WithheldGap(_top_ceiling(panel), panel.base.accuracy)
    return None


def _judge_family(
    panel: ModelPanel, keys: tuple[str, ...], arms: list[Arm], speaker: Arm | None, leader: Arm | None
) -> FamilyFacts:
    """A family: the arm that speaks for it, then the others by name."""
    rivals = [arm for arm in arms if not arm.verifier]
    others = [arm for arm in rivals if arm is not speaker and _has_difference(arm)]
    is_quiet = speaker is None
    return FamilyFacts(
        families=keys,
        speaker=None if speaker is None else judge_arm(panel, speaker, leader),
        no_gain=_judge_no_gain(panel, rivals or arms) if is_quiet else None,
        reference=_judge_reference(arms) if is_quiet else None,
        small_gains=tuple(_list_small_gains(panel, rivals, leader)) if is_quiet else (),
        notable=tuple(judge_level(panel, arm) for arm in others if judge_gain(arm).is_notable),
        not_notable=() if is_quiet else tuple(arm.name for arm in others if not judge_gain(arm).is_notable),
        verifier_arms=tuple(
            VerifierArm(arm.name, arm.accuracy) for arm in arms if arm.verifier and arm.accuracy.value is not None
        ),
    )


def _judge_no_gain(panel: ModelPanel, arms: list[Arm]) -> NoGain:
    """The conclusion where nothing is notable (rule 4)."""
    gains = {arm.name: arm.read_difference("vs_base").estimate for arm in arms if _has_difference(arm)}
    largest = max(
        (arm for arm in arms if _has_difference(arm)),
        key=lambda arm: arm.read_difference("vs_base").estimate.value or 0.0,
        default=None,
    )
    return NoGain(
        len(gains),
        None if largest is None else judge_level(panel, largest),
        tuple(name for name, gain in gains.items() if gain.high is None or gain.high > NOTABLE),
        tuple(name for name, gain in gains.items() if (gain.high or 0.0) < 0),
    )


def _judge_reference(arms: list[Arm]) -> ReferenceGain | None:
    sft = next((arm for arm in arms if arm.role == "reference" and _has_difference(arm)), None)
    if sft is None or judge_gain(sft).kind is GainKind.GAIN:
        return None
    return ReferenceGain(label_arm(sft), judge_gain(sft))


def _list_small_gains(panel: ModelPanel, arms: list[Arm], leader: Arm | None) -> Iterator[SmallGain]:
    """Gains below 10 points; the largest of the family only where its origin needs a word."""
    largest = max((arm.read_difference("vs_base").estimate.value or 0.0 for arm in arms), default=0.0)
    for arm in arms:
        gain, origin = judge_gain(arm), judge_origin(panel, arm, leader)
        if gain.kind is GainKind.GAIN and (origin is not Origin.ELICITED or gain.difference.value != largest):
            yield SmallGain(label_arm(arm), gain, origin)
