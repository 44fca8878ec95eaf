"""Each rule of the verdict, on summaries whose figures are known. The facts are checked, never their wording."""

from __future__ import annotations

import pytest

from elicit.report.data.recorded_edit import RecordedEdit, parse_edit
from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.verdict.caution_facts import (
    BestOfMany,
    BrokenText,
    ControlGain,
    FailedCell,
    FormWithoutAbility,
    OffTargetLoss,
    Rate,
    SingleSeed,
    Unfinished,
)
from elicit.report.verdict.facts import Ceiling
from elicit.report.verdict.kinds import (
    Comparison,
    ControlChange,
    ControlEffect,
    GainKind,
    OpeningKind,
    Origin,
    SpecificityKind,
    SteeringKind,
)
from tests.report.support import EDIT, arm, estimate, summary, versus
from tests.report.verdict_support import around, find_arm, find_family, judge_model, map_effects

FIRST = {"steering": [EDIT.format("first")]}
RANDOM = {"method": "random_vector"}


def test_the_opening_ranks_the_mechanisms_and_each_is_read_with_its_controls() -> None:
    verdict = judge_model(summary(mean_steering=arm(0.95, **FIRST), mean_steering__random=arm(0.05, **RANDOM)))
    opening = verdict.opening
    assert (opening.kind, opening.problems, opening.not_shown) == (OpeningKind.GAIN, 100, ())
    assert opening.base is not None
    assert opening.base.value == 0.05
    assert opening.ceiling == Ceiling(
        "cue", OptionalEstimate(0.95, pytest.approx(0.91), pytest.approx(0.99), 100, True)
    )
    assert opening.has_shares
    assert [(m.family, m.level.arm) for m in opening.mechanisms] == [("steering", "mean_steering"), ("sft", "sft")]
    assert opening.mechanisms[0].level.gap == pytest.approx(OptionalEstimate(1.0, 0.95, 1.05, 100, True))
    assert opening.mechanisms[1].level.gap == pytest.approx(
        OptionalEstimate(0.55 / 0.9, 0.55 / 0.9 - 0.05, 0.55 / 0.9 + 0.05, 100, 1)
    )
    steering, sft = find_arm(verdict, "mean_steering"), find_arm(verdict, "sft")
    assert (steering.arm.steering, steering.arm.edit) == (SteeringKind.VECTOR, RecordedEdit(2, "first", 1.0))
    assert (steering.gain.kind, steering.gain.difference) == (GainKind.GAIN, around(0.9))
    assert steering.against_sft is not None
    assert (steering.against_sft.kind, steering.against_sft.p) == (Comparison.MORE, 0.001)
    assert steering.against_sft.difference == around(0.35)
    assert steering.against_sft.is_corrected
    assert map_effects(steering) == {"random": ControlEffect.NONE}
    assert steering.specificity is not None
    assert steering.specificity.controls[0].gain == around(0.0)
    assert (sft.arm.is_reference, sft.arm.demonstrations) == (True, 16)
    assert (sft.against_sft, sft.specificity) == (None, None)


@pytest.mark.parametrize(
    ("sft", "p", "kind"),
    [
        (0.6, None, Comparison.MORE),
        (0.93, None, Comparison.EQUAL),
        (0.97, 0.001, Comparison.EQUAL),
        (0.6, 0.2, Comparison.EQUAL),
    ],
)
def test_more_than_sft_needs_interval_and_p(sft: float, p: float | None, kind: Comparison) -> None:
    verdict = judge_model(summary(sft=sft, mean_steering=arm(0.95, sft=sft, vs_sft=versus(0.95 - sft, p=p))))
    against = find_arm(verdict, "mean_steering").against_sft
    assert against is not None
    assert against.kind is kind


def test_less_than_sft() -> None:
    against = find_arm(judge_model(summary(sft=0.9, mean_steering=arm(0.5, sft=0.9))), "mean_steering").against_sft
    assert against is not None
    assert (against.kind, against.difference) == (Comparison.LESS, around(-0.4))


def test_a_control_that_moves_as_much_makes_the_effect_unspecific() -> None:
    verdict = judge_model(summary(mean_steering=arm(0.9, **FIRST), mean_steering__random=arm(0.88, **RANDOM)))
    specificity = find_arm(verdict, "mean_steering").specificity
    assert specificity is not None
    (control,) = specificity.controls
    assert (control.effect, control.change) == (ControlEffect.AS_MUCH, ControlChange.DIRECTION)
    assert (control.method, control.gain) == ("random_vector", around(0.83))


@pytest.mark.parametrize(
    ("random", "searched", "kind"),
    [
        (0.06, None, SpecificityKind.UNSEARCHED),
        (0.88, None, SpecificityKind.NOT_SPECIFIC),
        (0.06, 0.06, SpecificityKind.SPECIFIC),
        (0.5, 0.06, SpecificityKind.SPECIFIC),
        (0.06, 0.5, SpecificityKind.PARTLY),
        (0.06, 0.88, SpecificityKind.NOT_SPECIFIC),
    ],
)
def test_an_arm_that_searched_is_specific_only_against_a_search(
    random: float, searched: float | None, kind: SpecificityKind
) -> None:
    tuning = {"trials": 20, "n": 64}
    controls = {"mean_steering__random": arm(random, **RANDOM)}
    if searched is not None:
        controls["mean_steering__best"] = arm(searched, method="searched_random_vector", tuning=tuning)
    specificity = find_arm(
        judge_model(summary(mean_steering=arm(0.9, tuning=tuning, **FIRST), **controls)), "mean_steering"
    ).specificity
    assert specificity is not None
    assert (specificity.kind, specificity.settings) == (kind, 20)


def test_a_control_of_fewer_settings_is_no_search_as_wide() -> None:
    few = arm(0.06, method="searched_random_vector", tuning={"trials": 19})
    verdict = judge_model(summary(mean_steering=arm(0.9, tuning={"trials": 20}, **FIRST), mean_steering__few=few))
    specificity = find_arm(verdict, "mean_steering").specificity
    assert specificity is not None
    assert specificity.kind is SpecificityKind.UNSEARCHED


def test_controls_that_move_in_part_not_at_all_and_down_are_told_apart() -> None:
    everywhere = arm(0.3, method="same_vector", steering=[EDIT.format("all")])
    verdict = judge_model(
        summary(
            base=0.2,
            mean_steering=arm(0.9, base=0.2),
            mean_steering__all=everywhere | {"vs_base": versus(0.1)},
            mean_steering__random=arm(0.2, base=0.2, **RANDOM),
            mean_steering__flipped=arm(0.0, base=0.2, method="same_vector"),
        )
    )
    facts = find_arm(verdict, "mean_steering")
    assert map_effects(facts) == {"all": "part", "random": "none", "flipped": "loss"}
    assert facts.specificity is not None
    everywhere_facts, _, flipped = facts.specificity.controls
    assert (everywhere_facts.edit, everywhere_facts.is_reversed) == (RecordedEdit(2, "all", 1.0), False)
    assert everywhere_facts.gain == around(0.1)
    assert (flipped.edit, flipped.gain) == (None, around(-0.2))


@pytest.mark.parametrize(
    ("parent", "control", "is_reversed"), [("1", "-1", True), ("-2", "-2", False), ("-2", "2", True)]
)
def test_a_reversed_vector_has_the_other_sign_than_its_parents(parent: str, control: str, is_reversed: bool) -> None:
    edits = [[EDIT.format("first").replace(": 1 ", f": {strength} ")] for strength in (parent, control)]
    turned = arm(0.05, method="same_vector", steering=edits[1])
    verdict = judge_model(summary(mean_steering=arm(0.9, steering=edits[0]), mean_steering__turned=turned))
    specificity = find_arm(verdict, "mean_steering").specificity
    assert specificity is not None
    assert specificity.controls[0].is_reversed is is_reversed


def test_a_recorded_edit_is_read_as_the_edit_writes_itself() -> None:
    import torch

    from elicit.steering import Gate, GatedEdit, Steering

    edit = Steering(torch.ones(4), 3, -1.5, "clamp", "first:4", 2.0, "odd label at layer 9, first: -3")
    assert parse_edit(str(edit)) == RecordedEdit(3, "first:4", -1.5)
    gate = Gate(torch.zeros(2, 4), torch.zeros(2))
    gated = GatedEdit(gate, torch.ones(1, 4), 1, 1e-05, "generated", 2.0)
    assert parse_edit(str(gated)) == RecordedEdit(1, "generated", 1e-05)
    assert parse_edit("hybrid of 3 categories at layer 2: 1 residual norms (absolute 9) where both disagree") is None


def test_an_arm_without_a_control_is_open() -> None:
    assert map_effects(find_arm(judge_model(summary(mean_steering=arm(0.9))), "mean_steering")) == {}


def test_a_failed_control_does_not_count_as_one() -> None:
    gone = {"method": "random_vector", "status": "failed", "error": "no <space>\nleft", "accuracy": None}
    verdict = judge_model(summary(mean_steering=arm(0.9), mean_steering__random=gone))
    assert map_effects(find_arm(verdict, "mean_steering")) == {}
    assert FailedCell("mean_steering/random", "", "no <space>\nleft", False) in verdict.cautions


def test_no_gain_is_claimed_only_where_every_interval_ends_below_ten_points() -> None:
    tight, wide = arm(0.06), arm(0.06, vs_base=versus(0.01, half=0.2))
    facts = find_family(judge_model(summary(mean_steering=tight)), "steering").no_gain
    assert facts is not None
    assert facts.largest is not None
    assert (facts.largest.arm, facts.largest.gain) == ("mean_steering", around(0.01))
    assert (facts.measured, facts.not_ruled_out) == (1, ())
    voting = wide | {"method": "mean_steering"}
    facts = find_family(judge_model(summary(mean_steering=tight, voting=voting)), "steering").no_gain
    assert facts is not None
    assert (facts.measured, facts.not_ruled_out) == (2, ("voting",))


def test_a_large_difference_without_significance_leads_nothing() -> None:
    verdict = judge_model(summary(mean_steering=arm(0.3, vs_base=versus(0.25, p=0.3))))
    family = find_family(verdict, "steering")
    assert (family.speaker, verdict.opening.not_shown) == (None, ("steering",))
    assert family.no_gain is not None
    assert family.no_gain.not_ruled_out == ("mean_steering",)
    gain = find_arm(verdict, "mean_steering").gain
    assert (gain.kind, gain.is_notable, gain.p_holm) == (GainKind.UNCORRECTED, False, 0.3)


def test_a_gain_of_sft_on_a_model_without_the_ability_is_teaching() -> None:
    verdict = judge_model(summary(base=0.01, ceiling=None, mean_steering=arm(0.01, base=0.01, ceiling=None)))
    sft = find_arm(verdict, "sft")
    assert sft.origin is Origin.NO_ABILITY
    assert (sft.base_accuracy.value, sft.accuracy.value, sft.gain.difference) == (0.01, 0.6, around(0.59))
    assert sft.level.gap is None
    assert verdict.withheld_gap is not None
    assert verdict.withheld_gap.ceiling is not None
    assert (verdict.withheld_gap.ceiling.kind, verdict.withheld_gap.ceiling.accuracy.value) == ("cue", 0.01)
    assert verdict.withheld_gap.base.value == 0.01
    assert not verdict.opening.has_shares


def test_without_a_ceiling_teaching_is_left_open() -> None:
    data = summary(ceiling=None, mean_steering=arm(0.05, ceiling=None))
    task = data["models"]["m"]["tasks"]["addition"]
    task["ceilings"] = []
    del task["arms"]["cue_prompt"]
    verdict = judge_model(data)
    assert find_arm(verdict, "sft").origin is Origin.NO_CEILING
    assert verdict.withheld_gap is not None
    assert (verdict.withheld_gap.ceiling, verdict.opening.ceiling) == (None, None)


def test_a_trained_arm_is_compared_with_sft_and_its_controls_are_read() -> None:
    train = {"flops": 1e9}
    rewarded = arm(0.9, method="rl", seeds=3, train=train)
    random = arm(0.88, method="random_reward", seeds=3, train=train)
    facts = find_arm(judge_model(summary(rl=rewarded, rl__random_reward=random)), "rl")
    assert facts.level.gap == pytest.approx(
        OptionalEstimate(0.85 / 0.9, 0.85 / 0.9 - 0.05, 0.85 / 0.9 + 0.05, 100, True)
    )
    assert facts.against_sft is not None
    assert (facts.against_sft.kind, facts.against_sft.difference) == (Comparison.MORE, around(0.3))
    assert facts.specificity is not None
    (control,) = facts.specificity.controls
    assert (control.effect, control.label, control.gain) == (ControlEffect.AS_MUCH, "random_reward", around(0.83))
    assert control.change is ControlChange.OTHER


def test_an_sft_arm_without_a_gain_is_reported() -> None:
    verdict = judge_model(summary(sft=0.05, ceiling=None, mean_steering=arm(0.05, sft=0.05, ceiling=None)))
    reference = find_family(verdict, "sft").reference
    assert reference is not None
    assert (reference.arm.demonstrations, reference.gain.kind) == (16, GainKind.NONE)
    assert reference.gain.difference == around(0.0)
    assert verdict.opening.kind is OpeningKind.NO_GAIN


def test_without_base_or_sft_nothing_is_invented() -> None:
    data = summary(mean_steering=arm(0.9))
    data["models"]["m"]["tasks"]["addition"]["arms"]["base"] |= {"accuracy": None, "status": "pending"}
    verdict = judge_model(data)
    assert (verdict.opening.kind, verdict.opening.base_status) == (OpeningKind.NO_BASE, "pending")
    assert (verdict.opening.base, verdict.opening.mechanisms, verdict.arms) == (None, (), ())
    assert (verdict.families, verdict.necessity, verdict.withheld_gap) == ((), (), None)
    assert Unfinished(("base",)) in verdict.cautions
    against = find_arm(judge_model(summary(sft=None, mean_steering=arm(0.9, sft=None))), "mean_steering").against_sft
    assert against is not None
    assert (against.kind, against.reference) == (Comparison.UNKNOWN, None)


def test_single_training_seeds_are_cautioned_and_three_are_not() -> None:
    verdict = judge_model(summary(sft_4=arm(0.7, method="sft", train={"labels": 4})))
    assert SingleSeed(("sft_4",)) in verdict.cautions


def test_selection_on_test_problems_side_effects_and_form_are_cautioned() -> None:
    leader = arm(0.9, off_target={"chains": estimate(0.1, (0.05, 0.15))})
    form = arm(0.06, trace_rate=estimate(1.0, (0.96, 1.0)))
    data = summary(mean_steering=leader, other=form)
    data["models"]["m"]["tasks"]["addition"]["arms"]["base"]["off_target"] = {"chains": estimate(0.5, (0.4, 0.6))}
    cautions = judge_model(data).cautions
    assert BestOfMany("mean_steering", 2) in cautions
    before, after = OptionalEstimate(0.5, 0.4, 0.6, 100, True), OptionalEstimate(0.1, 0.05, 0.15, 100, True)
    assert OffTargetLoss("mean_steering", "chains", before, after) in cautions
    assert FormWithoutAbility(("other",)) in cautions


def test_a_control_that_gains_where_its_parent_does_not_is_cautioned() -> None:
    verdict = judge_model(summary(mean_steering=arm(0.08), mean_steering__random=arm(0.4, **RANDOM)))
    (caution,) = [caution for caution in verdict.cautions if isinstance(caution, ControlGain)]
    assert (caution.arm, caution.parent, caution.is_baseline) == ("mean_steering/random", "mean_steering", False)
    assert caution.gain == around(0.35)
    verdict = judge_model(summary(mean_steering=arm(0.9), mean_steering__random=arm(0.4, **RANDOM)))
    assert not any(isinstance(caution, ControlGain) for caution in verdict.cautions)


def test_answers_that_do_not_end_are_cautioned() -> None:
    cut = arm(0.0, finished_rate=estimate(0.02, (0.0, 0.05)))
    verdict = judge_model(summary(mean_steering=arm(0.9), mean_steering__all=cut))
    assert BrokenText((Rate("mean_steering/all", 0.02),)) in verdict.cautions
    assert not any(isinstance(c, BrokenText) for c in judge_model(summary(mean_steering=arm(0.9))).cautions)
