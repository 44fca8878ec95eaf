"""What a run says of a feature beside its controls, on summaries whose figures are known."""

from __future__ import annotations

from typing import Any

from elicit.report.verdict import verdicts
from tests.report.support import arm, summary, versus

FEATURE = {"features": [{"sae": "m/L1", "feature": 7, "layer": 1}]}
EDIT = "add feature m/L1/7 at layer 1, first: 2 residual norms (absolute 9.5)"


def said(**arms: Any) -> str:
    (verdict,) = verdicts(summary(sae_steering=arm(0.95, method="sae_steering", steering=[EDIT], **FEATURE), **arms))
    return " ".join(verdict.sentences)


def twin(accuracy: float, behind: float) -> dict[str, Any]:
    features = [{"sae": "m/L1-s1", "feature": 9, "cosine": 0.934}]
    return arm(accuracy, method="twin_feature", features=features) | {"vs_parent": versus(behind)}


def test_a_feature_is_called_one() -> None:
    assert "sae_steering (one SAE feature at the first generation step, layer 1)" in said()


def test_replication_is_no_control() -> None:
    text = said(sae_steering__second=twin(0.93, -0.02))
    assert "The nearest feature of a second SAE (cosine 0.93) does the same (+88.0 points [84.0, 92.0])." in text
    assert "Not specific" not in text
    assert "No control of sae_steering was measured" in text
    assert "does less (+5.0 points" in said(sae_steering__second=twin(0.10, -0.85))


def test_sufficiency_of_one_feature_and_of_several() -> None:
    one = arm(0.05, method="clamp_feature", **FEATURE) | {"vs_parent": versus(-0.9)}
    several = arm(0.95, method="clamp_feature", features=[{}] * 8) | {"vs_parent": versus(0.0)}
    text = said(sae_steering__natural=one, sae_steering__natural_8=several)
    assert "At its natural value under the cue, in the plain prompt, the feature is not enough (0.0 points" in text
    assert "the 8 best features together are enough (+90.0 points" in text
    assert "as much with" not in text


def test_necessity_is_the_paired_fall_of_the_ceiling() -> None:
    none = arm(0.95, method="ablate_feature", **FEATURE) | {"vs_parent": versus(0.0)}
    swapped = arm(0.0, method="mean_ablation", features=[{}] * 16) | {"vs_parent": versus(-0.95)}
    assert (
        "Giving 16 features together the values of the plain prompt under cue_prompt lowers its accuracy: −95.0 points"
        in said(cue_prompt__swapped=swapped)
    )
    much = arm(0.45, method="ablate_feature", features=[{}] * 24) | {"vs_parent": versus(-0.5)}
    text = said(cue_prompt__one=none, cue_prompt__all=much, cue_prompt__all__random=arm(0.94, method="random_feature"))
    assert "Taking the feature out under cue_prompt is not shown to matter there: 0.0 points [−4.0, 4.0]." in text
    assert (
        "Taking 24 features together out under cue_prompt lowers its accuracy: −50.0 points [−54.0, −46.0] "
        "(94.0 % [90.0, 98.0] with as many matched random features instead)." in text
    )


def test_a_control_is_compared_with_its_parent_pair_by_pair() -> None:
    """Intervals of the two gains overlap, but problem by problem the control falls short: specific after all."""
    control = arm(0.92, method="random_feature") | {"vs_parent": versus(-0.03, half=0.01)}
    text = said(sae_steering__random=control)
    assert "A part of it with" in text
    assert "Not specific" not in text
    level = control | {"vs_parent": versus(-0.03, half=0.04)}
    assert "Not specific: as much with a random feature of matched density and norm" in said(sae_steering__random=level)


def test_the_best_of_the_draws_is_said() -> None:
    control = arm(0.05, method="random_feature", seed_accuracies=[0.02, 0.31, None, 0.0])
    assert (
        "No gain with a random feature of matched density and norm (0.0 points [−4.0, 4.0]; best of 3 draws 31.0 %)"
        in said(sae_steering__random=control)
    )


def test_a_small_fall_is_called_small_and_nothing_is_needed_where_nothing_is_there() -> None:
    little = arm(0.92, method="ablate_feature", **FEATURE) | {"vs_parent": versus(-0.03, half=0.01)}
    text = said(cue_prompt__one=little)
    assert "lowers its accuracy a little: −3.0 points [−4.0, −2.0]" in text
    none = summary(ceiling=None, cue_prompt__one=little)
    assert "Taking the feature out" not in " ".join(verdicts(none)[0].sentences)
