"""The evidence on a feature next to its controls, on summaries whose figures are known."""

from __future__ import annotations

from typing import Any

from elicit.report.data.recorded_edit import RecordedEdit
from elicit.report.verdict import Verdict
from elicit.report.verdict.arm_facts import ArmFacts, BestDraw, FeatureRank, Replication, Substitute, Sufficiency
from elicit.report.verdict.kinds import ControlEffect, FallKind, SteeringKind
from tests.report.support import arm, summary, versus
from tests.report.verdict_runs import RANK
from tests.report.verdict_support import around, find_arm, judge_model, map_effects

FEATURE = {"features": [{"sae": "m/L1", "feature": 7, "layer": 1}]}
EDIT = "add feature m/L1/7 at layer 1, first: 2 residual norms (absolute 9.5)"


def judge_feature(**arms: Any) -> tuple[Verdict, ArmFacts]:
    """The verdict, and the facts about `sae_steering`."""
    verdict = judge_model(summary(sae_steering=arm(0.95, method="sae_steering", steering=[EDIT], **FEATURE), **arms))
    return verdict, find_arm(verdict, "sae_steering")


def twin(accuracy: float, behind: float) -> dict[str, Any]:
    features = [{"sae": "m/L1-s1", "feature": 9, "cosine": 0.934}]
    return arm(accuracy, method="twin_feature", features=features) | {"vs_parent": versus(behind)}


def test_a_feature_is_labelled_as_such() -> None:
    _, facts = judge_feature()
    assert (facts.arm.steering, facts.arm.edit) == (SteeringKind.FEATURE, RecordedEdit(1, "first", 2.0))


def test_replication_is_not_a_control() -> None:
    _, facts = judge_feature(sae_steering__second=twin(0.93, -0.02))
    assert facts.support == (Replication(0.934, around(0.88), falls_short=False),)
    assert map_effects(facts) == {}
    _, facts = judge_feature(sae_steering__second=twin(0.10, -0.85))
    assert facts.support == (Replication(0.934, around(0.05), falls_short=True),)


def test_sufficiency_of_one_feature_and_of_several() -> None:
    single = arm(0.05, method="clamp_feature", **FEATURE) | {"vs_parent": versus(-0.9)}
    several = arm(0.95, method="clamp_feature", features=[{}] * 8) | {"vs_parent": versus(0.0)}
    _, facts = judge_feature(sae_steering__natural=single, sae_steering__natural_8=several)
    assert facts.support == (
        Sufficiency(1, around(0.0), falls_short=True),
        Sufficiency(8, around(0.9), falls_short=False),
    )
    assert map_effects(facts) == {}


def test_necessity_is_the_paired_fall_of_the_ceiling() -> None:
    none = arm(0.95, method="ablate_feature", **FEATURE) | {"vs_parent": versus(0.0)}
    swapped = arm(0.0, method="mean_ablation", features=[{}] * 16) | {"vs_parent": versus(-0.95)}
    verdict, _ = judge_feature(cue_prompt__swapped=swapped)
    (facts,) = verdict.necessity
    assert (facts.kind, facts.method, facts.features) == (FallKind.LARGE, "mean_ablation", 16)
    assert (facts.ceiling, facts.fall, facts.substitutes) == ("cue_prompt", around(-0.95), ())
    much = arm(0.45, method="ablate_feature", features=[{}] * 24) | {"vs_parent": versus(-0.5)}
    random = arm(0.94, method="random_feature")
    verdict, _ = judge_feature(cue_prompt__one=none, cue_prompt__all=much, cue_prompt__all__random=random)
    single, all_features = verdict.necessity
    assert (single.kind, single.method, single.features, single.fall) == (
        FallKind.NOT_SHOWN,
        "ablate_feature",
        1,
        around(0.0),
    )
    assert (all_features.kind, all_features.features, all_features.fall) == (FallKind.LARGE, 24, around(-0.5))
    assert all_features.substitutes == (Substitute("random_feature", around(0.94)),)


def test_a_control_is_compared_with_its_parent_pair_by_pair() -> None:
    """Intervals of the two gains overlap, but problem by problem the control falls short: specific after all."""
    control = arm(0.92, method="random_feature") | {"vs_parent": versus(-0.03, half=0.01)}
    assert map_effects(judge_feature(sae_steering__random=control)[1]) == {"random": ControlEffect.PART}
    level = control | {"vs_parent": versus(-0.03, half=0.04)}
    assert map_effects(judge_feature(sae_steering__random=level)[1]) == {"random": ControlEffect.AS_MUCH}


def test_the_best_of_the_draws_is_reported() -> None:
    control = arm(0.05, method="random_feature", seed_accuracies=[0.02, 0.31, None, 0.0])
    specificity = judge_feature(sae_steering__random=control)[1].specificity
    assert specificity is not None
    (facts,) = specificity.controls
    assert (facts.effect, facts.gain, facts.best_draw) == (ControlEffect.NONE, around(0.0), BestDraw(3, 0.31))


def test_a_small_fall_is_small_and_nothing_is_needed_where_nothing_is_there() -> None:
    little = arm(0.92, method="ablate_feature", **FEATURE) | {"vs_parent": versus(-0.03, half=0.01)}
    (facts,) = judge_feature(cue_prompt__one=little)[0].necessity
    assert (facts.kind, facts.fall) == (FallKind.SMALL, around(-0.03, 0.01))
    assert judge_model(summary(ceiling=None, cue_prompt__one=little)).necessity == ()


def test_the_rank_of_a_feature_is_no_control_and_is_said() -> None:
    """The best of hundreds may well be another latent of the same direction: it does not make the effect unspecific."""
    sweep = arm(0.95, method="feature_sweep", rank=RANK, features=[{"feature": 9, "cosine": 0.93}])
    steered = {"sae_steering": arm(0.95, method="sae_steering"), "sae_steering__sweep": sweep}
    facts = find_arm(judge_model(summary(**steered)), "sae_steering")
    (rank,) = facts.support
    assert isinstance(rank, FeatureRank)
    assert (rank.features, rank.as_good, rank.problems, rank.cosine) == (498, 12, 16, 0.93)
    assert (rank.share.value, rank.best.value) == (12 / 498, 1.0)
    assert facts.specificity is not None
    assert facts.specificity.controls == ()
