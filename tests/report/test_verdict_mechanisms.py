"""The verdict's rules on trained arms, cost, expansion, teaching, the verifier, and many arms at once, as facts."""

from __future__ import annotations

from typing import Any

import pytest

from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.verdict import judge_summary
from elicit.report.verdict.arm_facts import ArmFacts, Control, Expansion
from elicit.report.verdict.caution_facts import (
    BestOfMany,
    CappedRival,
    ControlGain,
    FailedCell,
    GridEdge,
    SingleVector,
    TiedSettings,
    Unfinished,
)
from elicit.report.verdict.facts import VerifierArm
from elicit.report.verdict.kinds import Comparison, ControlChange, ControlEffect, LeakKind, OpeningKind, Origin
from tests.report.support import arm, estimate, summary, versus
from tests.report.synthetic import big_summary
from tests.report.verdict_runs import TIED
from tests.report.verdict_support import around, find_arm, find_family, judge_model, map_effects

TRAIN = {"flops": 1e9, "tokens": 10}


def judge_grpo(**arms: Any) -> ArmFacts:
    """The facts about the arm `grpo`."""
    return find_arm(judge_model(summary(**arms)), "grpo")


def list_controls(facts: ArmFacts) -> tuple[Control, ...]:
    assert facts.specificity is not None
    return facts.specificity.controls


def grpo(accuracy: float = 0.83, **changes: Any) -> dict[str, Any]:
    return arm(accuracy, method="grpo", seeds=3, train=TRAIN) | changes


def rewarded(method: str, accuracy: float, behind: float, **changes: Any) -> dict[str, Any]:
    return arm(accuracy, method=method, seeds=3, train=TRAIN) | {"vs_parent": versus(behind)} | changes


def test_grpo_is_read_with_its_rewards() -> None:
    verdict = judge_model(
        summary(
            grpo=grpo(),
            grpo__random_reward=rewarded("grpo_random_reward", 0.05, -0.78),
            grpo__format_only=rewarded("grpo_format_only", 0.3, -0.53),
            grpo__wrong_label=rewarded("grpo_wrong_label", 0.06, -0.77),
        )
    )
    facts = find_arm(verdict, "grpo")
    assert facts.level.gap == pytest.approx(
        OptionalEstimate(0.78 / 0.9, 0.78 / 0.9 - 0.05, 0.78 / 0.9 + 0.05, 100, True)
    )
    assert facts.against_sft is not None
    assert (facts.against_sft.kind, facts.against_sft.difference) == (Comparison.MORE, around(0.23))
    assert map_effects(facts) == {"random_reward": "none", "format_only": "part", "wrong_label": "none"}
    assert [control.gain for control in list_controls(facts)] == [around(0.0), around(0.25), around(0.01)]
    assert {control.change for control in list_controls(facts)} == {ControlChange.REWARD}
    assert ("rl", "grpo") in [(mechanism.family, mechanism.level.arm) for mechanism in verdict.opening.mechanisms]


def test_a_random_reward_that_gains_as_much_makes_the_reward_irrelevant() -> None:
    facts = judge_grpo(grpo=grpo(), grpo__random=rewarded("grpo_random_reward", 0.82, -0.01))
    (control,) = list_controls(facts)
    assert (control.effect, control.change, control.gain) == ("as much", ControlChange.REWARD, around(0.77))


def test_an_untrained_vector_and_a_hybrids_controls() -> None:
    verdict = judge_model(
        summary(
            rl_steering=arm(0.7, method="rl_steering", seeds=3, train=TRAIN),
            rl_steering__start=arm(0.06, method="untrained_vector") | {"vs_parent": versus(-0.64)},
            hybrid_steering=arm(0.8, method="hybrid_steering", seeds=3, train=TRAIN),
            hybrid_steering__random_categories=arm(0.4, method="hybrid_control") | {"vs_parent": versus(-0.4)},
        )
    )
    (start,) = list_controls(find_arm(verdict, "rl_steering"))
    assert (start.effect, start.change, start.gain) == (ControlEffect.NONE, ControlChange.TRAINING, around(0.01))
    (categories,) = list_controls(find_arm(verdict, "hybrid_steering"))
    assert (categories.effect, categories.label, categories.gain) == ("part", "random_categories", around(0.35))


@pytest.mark.parametrize(
    ("difference", "votes", "is_capped", "kind"),
    [
        (0.3, 5, False, Comparison.MORE),
        (0.01, 5, False, Comparison.EQUAL),
        (-0.2, 64, True, Comparison.LESS),
        (0.3, 1, False, Comparison.MORE),
    ],
)
def test_the_base_at_equal_cost_is_exceeded_only_by_an_interval_above_zero(
    difference: float, votes: int, is_capped: bool, kind: Comparison
) -> None:
    rival = {"k": votes, "difference": versus(difference), "capped": is_capped, "accuracy": estimate(0.2), "note": ""}
    verdict = judge_model(summary(mean_steering=arm(0.9, rival=rival)))
    (cost,) = find_arm(verdict, "mean_steering").costs
    assert (cost.kind, cost.votes, cost.is_capped, cost.with_fit) == (kind, votes, is_capped, False)
    assert cost.difference == around(difference)
    assert (CappedRival(("mean_steering",)) in verdict.cautions) is is_capped


def test_the_vote_is_reported_without_and_with_the_fits_tokens_whether_it_catches_up_or_not() -> None:
    near = {"k": 9, "difference": versus(0.3), "capped": False}
    costs = judge_grpo(grpo=grpo(rival=near, rival_total=near)).costs
    assert [(cost.with_fit, cost.kind) for cost in costs] == [(False, Comparison.MORE), (True, Comparison.MORE)]
    caught = near | {"difference": versus(0.0), "k": 900}
    _, cost = judge_grpo(grpo=grpo(rival=near, rival_total=caught)).costs
    assert (cost.kind, cost.votes, cost.with_fit, cost.difference) == (Comparison.EQUAL, 900, True, around(0.0))


def expansion(count: int, n: int = 64) -> dict[str, Any]:
    share = estimate(count / n, (0.01 if count else 0.0, count / n + 0.057), n)
    converse = estimate(2 / n, (0.01, 0.1), n)
    return {"k": 256, "solved_only_by_arm": share, "solved_only_by_base": converse, "arm_ids": [], "valid_trace": True}


def test_sharpening_and_expansion() -> None:
    facts = judge_grpo(grpo=grpo(sharpening=versus(0.93), expansion=expansion(0), crossover_k=64))
    assert facts.sharpening is not None
    assert (facts.sharpening.is_shown, facts.sharpening.gain) == (True, around(0.93))
    assert facts.expansion == Expansion(0, 64, OptionalEstimate(0.0, 0.0, 0.057, 64, True), 256, True, 2)
    assert facts.crossover == 64
    facts = judge_grpo(grpo=grpo(sharpening=versus(0.01), expansion=expansion(5)))
    assert facts.sharpening is not None
    assert (facts.sharpening.is_shown, facts.sharpening.gain, facts.crossover) == (False, around(0.01), None)
    assert facts.expansion is not None
    assert (facts.expansion.solved, facts.expansion.share) == (
        5,
        OptionalEstimate(5 / 64, 0.01, 5 / 64 + 0.057, 64, True),
    )


@pytest.mark.parametrize(("difference", "kind"), [(0.2, LeakKind.TAUGHT), (0.02, LeakKind.NONE), (-0.2, LeakKind.LOSS)])
def test_a_leak_is_teaching_only_where_its_interval_lies_above_zero(difference: float, kind: LeakKind) -> None:
    leak = judge_grpo(grpo=grpo(leak={"model": "incapable", **versus(difference)})).leak
    assert leak is not None
    assert (leak.kind, leak.model, leak.difference) == (kind, "incapable", around(difference))


def test_a_gain_on_a_model_that_never_had_the_ability_is_teaching() -> None:
    data = summary(ceiling=None, grpo=grpo(ceiling=None) | {"gap_recovered": None, "gap_ci": None})
    data["models"]["m"]["capable"] = False
    verdict = judge_model(data)
    assert (verdict.opening.capable, verdict.opening.kind) == (False, OpeningKind.GAIN)
    assert (len(verdict.opening.mechanisms), verdict.opening.not_shown) == (2, ())
    assert not verdict.opening.has_shares
    assert {find_arm(verdict, name).origin for name in ("sft", "grpo")} == {Origin.INCAPABLE}


def test_an_arm_that_consults_the_verifier_speaks_for_no_family() -> None:
    data = summary(best_of_n=arm(0.99, method="best_of_n", verifier=True), cot=arm(0.5, method="cot_decoding"))
    verdict = judge_model(data)
    family = find_family(verdict, "decoding")
    assert family.speaker is not None
    assert family.speaker.arm.name == "cot"
    (mechanism,) = [m for m in verdict.opening.mechanisms if m.family == "decoding"]
    assert (mechanism.level.arm, mechanism.level.gap) == (
        "cot",
        pytest.approx(OptionalEstimate(0.5, 0.45, 0.55, 100, True)),
    )
    assert family.verifier_arms == (VerifierArm("best_of_n", OptionalEstimate(0.99, 0.95, 1.0, 100, True)),)
    assert not any(isinstance(caution, BestOfMany) for caution in verdict.cautions)
    assert find_arm(verdict, "best_of_n").origin is Origin.VERIFIER


def test_an_arm_with_controls_speaks_before_a_better_one_without() -> None:
    better, controlled = arm(0.95, method="grpo", seeds=3), grpo()
    random = rewarded("grpo_random_reward", 0.05, -0.78)
    verdict = judge_model(summary(grpo_full=better, grpo=controlled, grpo__random_reward=random))
    family = find_family(verdict, "rl")
    assert family.speaker is not None
    assert family.speaker.arm.name == "grpo"
    (other,) = family.notable
    assert (other.arm, other.gap) == ("grpo_full", pytest.approx(OptionalEstimate(1.0, 0.95, 1.05, 100, True)))
    assert "grpo_full" in [detail.arm.name for detail in verdict.details]


def test_other_settings_of_the_same_method_are_variants_and_not_controls() -> None:
    data = summary(sft__mlp=arm(0.58, method="sft", seeds=3), cot=arm(0.9, method="cot_decoding"))
    data["models"]["m"]["tasks"]["addition"]["arms"]["cot/aggregate"] = arm(0.88, method="cot_decoding")
    verdict = judge_model(data)
    (mlp,) = find_arm(verdict, "sft").variants
    (aggregate,) = find_arm(verdict, "cot").variants
    assert (mlp.arm, mlp.gain) == ("/mlp", around(0.53))
    assert (aggregate.arm, aggregate.gain) == ("/aggregate", around(0.83))
    assert map_effects(find_arm(verdict, "cot")) == {}


def test_the_fair_baseline_of_a_critique_that_gains_alone_is_cautioned() -> None:
    critique = arm(0.06, method="critique", seeds=3, train=TRAIN)
    same = arm(0.6, method="same_solutions", seeds=3, train=TRAIN)
    verdict = judge_model(summary(critique=critique, critique__same_solutions=same))
    (caution,) = [caution for caution in verdict.cautions if isinstance(caution, ControlGain)]
    assert (caution.arm, caution.parent, caution.is_baseline) == ("critique/same_solutions", "critique", True)
    assert caution.gain == around(0.55)
    assert verdict.opening.not_shown == ("critique",)


def test_failed_seeds_are_reported_with_their_message_and_the_rest_is_kept() -> None:
    error = "step 12: the loss is NaN. Lower learning_rate"
    verdict = judge_model(summary(grpo=grpo(status="failed", failed_seeds=[{"seed": 2, "error": error}])))
    assert FailedCell("grpo", "2", error, has_other_seeds=True) in verdict.cautions
    assert "grpo" in [mechanism.level.arm for mechanism in verdict.opening.mechanisms]
    gone = {"method": "grpo", "status": "failed", "accuracy": None, "error": "all clipped"}
    verdict = judge_model(summary(grpo=gone))
    assert FailedCell("grpo", "", "all clipped", has_other_seeds=False) in verdict.cautions
    no_gain = find_family(verdict, "rl").no_gain
    assert no_gain is not None
    assert (no_gain.measured, no_gain.largest) == (0, None)


def test_forty_arms_are_led_by_one_arm_a_mechanism() -> None:
    verdict = judge_model(big_summary(1))
    assert len(verdict.families) == 7
    assert sum(mechanism.level.gap is not None for mechanism in verdict.opening.mechanisms) >= 6
    speakers = [family.speaker.arm.name for family in verdict.families if family.speaker is not None]
    details = [detail.arm.name for detail in verdict.details]
    assert len(set(speakers)) == len(speakers)
    assert not set(speakers) & set(details)
    assert {"grpo_full", "hybrid_oracle_free", "sae_steering", "dola"} <= set(details)
    assert "grpo" in speakers


def test_mechanisms_without_a_gain_are_reported_together() -> None:
    verdict = judge_summary(big_summary())[3]
    assert (verdict.opening.capable, verdict.opening.kind) == (False, OpeningKind.NO_GAIN)
    (family,) = verdict.families
    assert family.families[:3] == ("sft", "critique", "rl")
    assert family.no_gain is not None
    assert family.no_gain.not_ruled_out == ()
    assert family.no_gain.largest is not None


def test_only_an_arm_that_was_run_is_reported_as_not_shown() -> None:
    verdict = judge_model(summary(grpo={"method": "grpo", "status": "pending", "accuracy": None, "n": 0}))
    assert ([m.family for m in verdict.opening.mechanisms], verdict.opening.not_shown) == (["sft"], ())
    assert [family.families for family in verdict.families] == [("sft",)]
    assert Unfinished(("grpo",)) in verdict.cautions


def test_a_choice_at_the_edge_of_its_grid_is_cautioned() -> None:
    edge = "strength 2 is the largest of those tried (0.5 to 2)"
    assert GridEdge("grpo", (edge,)) in judge_model(summary(grpo=grpo(edges=[edge]))).cautions


def test_one_vector_at_one_token_is_not_another_mechanism() -> None:
    steered = {"method": "hybrid_steering", "seeds": 3, "train": TRAIN, "directions": 1}
    one, several = (
        judge_model(
            summary(
                mean_steering=arm(0.9, method="mean_steering"),
                hybrid_steering=arm(0.95, **steered, firings_per_problem=firings),
            )
        )
        for firings in (1.0, 3.0)
    )
    assert [mechanism.family for mechanism in one.opening.mechanisms if mechanism.family != "sft"] == ["steering"]
    assert find_family(one, "steering").speaker == find_arm(one, "mean_steering")
    assert SingleVector(("hybrid_steering",)) in one.cautions
    assert {mechanism.family for mechanism in several.opening.mechanisms} >= {"steering", "hybrid"}
    assert not any(isinstance(caution, SingleVector) for caution in several.cautions)


def test_an_arm_without_a_gain_is_said_to_have_been_tested_at_a_tied_strength() -> None:
    def list_ties(accuracy: float, **changes: Any) -> list[TiedSettings]:
        verdict = judge_model(summary(mean_steering=arm(accuracy, method="mean_steering", tied=TIED | changes)))
        return [caution for caution in verdict.cautions if isinstance(caution, TiedSettings)]

    (tied,) = list_ties(0.05)
    assert (tied.arm, tied.tied, tied.settings) == ("mean_steering", 20, 20)
    assert (tied.strength, tied.strengths) == (0.25, (0.25, 2.0))
    assert (tied.rate.value, tied.rate.high, tied.rate.n) == (0.0, 0.06, 64)
    assert list_ties(0.9) == []
    assert list_ties(0.05, strengths=[2.0, 2.0]) == []
    assert list_ties(0.05, strengths=None) == []
