"""The verdict's rules on trained arms, rivals, expansion, teaching, the verifier, and many arms at once."""

from __future__ import annotations

from typing import Any

import pytest

from elicit.report.verdict import Verdict, verdicts
from tests.report.support import arm, estimate, summary, versus
from tests.report.synthetic import big_summary

TRAIN = {"flops": 1e9, "tokens": 10}


def judged(found: dict[str, Any]) -> Verdict:
    return verdicts(found)[0]


def text_of(found: dict[str, Any]) -> str:
    return " ".join(judged(found).sentences)


def grpo(accuracy: float = 0.83, **changes: Any) -> dict[str, Any]:
    return arm(accuracy, method="grpo", seeds=3, train=TRAIN) | changes


def rewarded(method: str, accuracy: float, behind: float, **changes: Any) -> dict[str, Any]:
    return arm(accuracy, method=method, seeds=3, train=TRAIN) | {"vs_parent": versus(behind)} | changes


def test_grpo_is_read_with_its_rewards() -> None:
    text = text_of(
        summary(
            grpo=grpo(),
            grpo__random_reward=rewarded("grpo_random_reward", 0.05, -0.78),
            grpo__format_only=rewarded("grpo_format_only", 0.3, -0.53),
            grpo__wrong_label=rewarded("grpo_wrong_label", 0.06, -0.77),
        )
    )
    assert (
        "grpo recovers 0.87 [0.82, 0.92] of the gap, more than SFT on 16 demonstrations (+23.0 points [19.0, 27.0], "
        "Holm p = 0.001). A part of it with a reward for the form alone (+25.0 points [21.0, 29.0]); no gain with a "
        "random reward (0.0 points [−4.0, 4.0]) and a reward for wrong answers (+1.0 points [−3.0, 5.0])." in text
    )
    assert "reinforcement learning 0.87 [0.82, 0.92] (grpo)" in text


def test_a_random_reward_that_gains_as_much_makes_the_reward_irrelevant() -> None:
    text = text_of(summary(grpo=grpo(), grpo__random=rewarded("grpo_random_reward", 0.82, -0.01)))
    assert "Not specific: as much with a random reward (+77.0 points [73.0, 81.0]), so" in text
    assert "not tied to the reward being right" in text


def test_an_untrained_vector_and_a_hybrids_controls_have_words() -> None:
    text = text_of(
        summary(
            rl_steering=arm(0.7, method="rl_steering", seeds=3, train=TRAIN),
            rl_steering__start=arm(0.06, method="untrained_vector") | {"vs_parent": versus(-0.64)},
            hybrid_steering=arm(0.8, method="hybrid_steering", seeds=3, train=TRAIN),
            hybrid_steering__random_categories=arm(0.4, method="hybrid_control") | {"vs_parent": versus(-0.4)},
        )
    )
    assert "No gain with the untrained vector it starts from (+1.0 points [−3.0, 5.0])." in text
    assert "A part of it with random categories (+35.0 points [31.0, 39.0])." in text


@pytest.mark.parametrize(
    ("difference", "k", "capped", "sentence"),
    [
        (0.3, 5, False, "More than the base's majority vote of 5 at the same tokens (+30.0 points [26.0, 34.0])."),
        (0.01, 5, False, "No more than the base's majority vote of 5 at the same tokens (+1.0 points [−3.0, 5.0])."),
        (-0.2, 64, True, "Less than the base's majority vote of 64, all it has at the same tokens (−20.0 points"),
        (0.3, 1, False, "More than the base's single sample at the same tokens"),
    ],
)
def test_the_rival_is_exceeded_only_by_an_interval_above_zero(
    difference: float, k: int, capped: bool, sentence: str
) -> None:
    rival = {"k": k, "difference": versus(difference), "capped": capped, "accuracy": estimate(0.2), "note": ""}
    found = summary(mean_steering=arm(0.9, rival=rival))
    assert sentence in text_of(found)
    assert ("weaker than it could be" in " ".join(judged(found).cautions)) is capped


def test_a_rival_that_catches_up_with_the_fits_tokens_is_news_and_one_that_does_not_is_not() -> None:
    near = {"k": 9, "difference": versus(0.3), "capped": False}
    assert "fit's tokens" not in text_of(summary(grpo=grpo(rival=near, rival_total=near)))
    caught = near | {"difference": versus(0.0), "k": 900}
    text = text_of(summary(grpo=grpo(rival=near, rival_total=caught)))
    assert "No more than the base's majority vote of 900 with the fit's tokens included (0.0 points" in text


def expansion(count: int, n: int = 64) -> dict[str, Any]:
    share = estimate(count / n, (0.01 if count else 0.0, count / n + 0.057), n)
    converse = estimate(2 / n, (0.01, 0.1), n)
    return {"k": 256, "solved_only_by_arm": share, "solved_only_by_base": converse, "arm_ids": [], "valid_trace": True}


def test_sharpening_and_expansion() -> None:
    text = text_of(summary(grpo=grpo(sharpening=versus(0.93), expansion=expansion(0), crossover_k=64)))
    assert (
        "Sharpens: +93.0 points [89.0, 97.0] at pass@1; expansion: 0 of 64 problems with a valid trace that base@256 "
        "never solved, at most 5.7 %; 2 the other way round; the base overtakes at k = 64." in text
    )
    text = text_of(summary(grpo=grpo(sharpening=versus(0.01), expansion=expansion(5))))
    assert "Not shown to sharpen: +1.0 points" in text
    assert "expansion: 5 of 64 problems with a valid trace that base@256 never solved, 7.8 % [1.0, 13.5]; 2 the" in text


def test_a_leak_is_teaching_only_where_its_interval_lies_above_zero() -> None:
    taught = {"model": "incapable", **versus(0.2)}
    text = text_of(summary(grpo=grpo(leak=taught)))
    assert "Teaches: on incapable, which never had the ability, +20.0 points [16.0, 24.0]." in text
    text = text_of(summary(grpo=grpo(leak=taught | versus(0.02))))
    assert "On incapable no gain (+2.0 points [−2.0, 6.0])." in text
    assert "Teaches" not in text
    text = text_of(summary(grpo=grpo(leak=taught | versus(-0.2))))
    assert "On incapable a loss (−20.0 points" in text


def test_a_gain_on_a_model_that_never_had_the_ability_is_teaching() -> None:
    found = summary(ceiling=None, grpo=grpo(ceiling=None) | {"gap_recovered": None, "gap_ci": None})
    found["models"]["m"]["capable"] = False
    text = text_of(found)
    assert "and which never had the ability, 2 of 2 mechanisms gain 10 points or more. Over the base:" in text
    assert "; this model never had the ability, so this is teaching." in text


def test_an_arm_that_consults_the_verifier_speaks_for_nobody() -> None:
    found = summary(best_of_n=arm(0.99, method="best_of_n", verifier=True), cot=arm(0.5, method="cot_decoding"))
    verdict = judged(found)
    text = " ".join(verdict.sentences)
    assert "decoding and prompting 0.50 [0.45, 0.55] (cot)" in verdict.lead
    assert "best_of_n consults the verifier while answering (99.0 %): no rival of the others." in text
    assert "best of 2 inference-time arms" not in " ".join(verdict.cautions)


def test_an_arm_with_controls_speaks_before_a_better_one_without() -> None:
    better, controlled = arm(0.95, method="grpo", seeds=3), grpo()
    random = rewarded("grpo_random_reward", 0.05, -0.78)
    verdict = judged(summary(grpo_full=better, grpo=controlled, grpo__random_reward=random))
    (said,) = [said for said in verdict.families if said.family == "Reinforcement learning"]
    assert said.sentences[0].startswith("grpo recovers 0.87")
    assert "Also: grpo_full 1.00 [0.95, 1.05]." in said.sentences
    assert "grpo_full" in [detail.family for detail in verdict.details]


def test_other_settings_of_the_same_method_are_variants_and_no_controls() -> None:
    found = summary(sft__mlp=arm(0.58, method="sft", seeds=3), cot=arm(0.9, method="cot_decoding"))
    found["models"]["m"]["tasks"]["addition"]["arms"]["cot/aggregate"] = arm(0.88, method="cot_decoding")
    text = text_of(found)
    assert "Variants: /mlp 0.59 [0.54, 0.64]." in text
    assert "Variants: /aggregate 0.92 [0.87, 0.97]." in text
    assert "No control of cot was measured" in text
    assert "Not specific" not in text


def test_the_fair_baseline_of_a_critique_that_gains_alone_is_said() -> None:
    critique = arm(0.06, method="critique", seeds=3, train=TRAIN)
    same = arm(0.6, method="same_solutions", seeds=3, train=TRAIN)
    verdict = judged(summary(critique=critique, critique__same_solutions=same))
    assert (
        "critique/same_solutions, its fair baseline, gains +55.0 points [51.0, 59.0] where critique itself is not "
        "shown to gain 10: the solutions help, the critiques do not." in verdict.cautions
    )
    assert "not shown for critique fine-tuning" in verdict.lead


def test_failed_seeds_are_named_with_their_message_and_the_rest_is_kept() -> None:
    broken = grpo(status="failed", failed_seeds=[{"seed": 2, "error": "step 12: the loss is NaN. Lower learning_rate"}])
    verdict = judged(summary(grpo=broken))
    assert (
        "grpo, seed 2, failed: step 12: the loss is NaN. Lower learning_rate. Its figures are those of its other seeds."
        in verdict.cautions
    )
    assert "grpo recovers 0.87" in " ".join(verdict.sentences)
    gone = {"method": "grpo", "status": "failed", "accuracy": None, "error": "all clipped"}
    verdict = judged(summary(grpo=gone))
    assert "grpo failed: all clipped." in verdict.cautions
    assert "Nothing was measured." in " ".join(verdict.sentences)


def test_forty_arms_are_led_by_one_sentence_a_mechanism() -> None:
    verdict = judged(big_summary(1))
    assert len(verdict.families) == 7
    assert verdict.lead.count("0.") >= 6
    assert max(len(said.sentences) for said in verdict.families) <= 9
    assert sum(len(said.sentences) for said in verdict.families) <= 40
    named = {detail.family for detail in verdict.details}
    assert {"grpo_full", "hybrid_oracle_free", "sae_steering", "dola"} <= named
    assert "grpo" not in named


def test_mechanisms_without_a_gain_are_said_together() -> None:
    incapable = verdicts(big_summary())[3]
    assert incapable.lead.endswith("and which never had the ability, no mechanism is shown to gain 10 points.")
    (said,) = incapable.families
    assert said.family.startswith("Supervised fine-tuning; critique fine-tuning; reinforcement learning;")
    assert said.sentences[0].startswith("No arm gains more than 10 points over the base: the largest difference is")


def test_only_what_was_run_is_said_not_to_be_shown() -> None:
    waiting = {"method": "grpo", "status": "pending", "accuracy": None, "n": 0}
    whole = " ".join(judged(summary(grpo=waiting)).sentences)
    assert "of 1 mechanisms" in whole
    assert "not shown for" not in whole
    assert "einforcement" not in whole
    assert "Not finished: grpo." in judged(summary(grpo=waiting)).cautions


def test_a_choice_at_the_edge_of_its_grid_is_said() -> None:
    said = "strength 2 is the largest of those tried (0.5 to 2)"
    cautions = judged(summary(grpo=grpo(edges=[said]))).cautions
    assert f"grpo was chosen at the edge of its grid, and more may lie beyond: {said}." in cautions
