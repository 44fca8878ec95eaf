"""Each rule of the verdict, on summaries whose figures are known."""

from __future__ import annotations

from typing import Any

import pytest

from elicit.report.verdict import Verdict, verdicts
from tests.report.support import EDIT, arm, estimate, summary, versus

FIRST = {"steering": [EDIT.format("first")]}
RANDOM = {"method": "random_vector"}


def said(found: dict[str, Any]) -> tuple[str, str]:
    """(sentences, cautions) of the only model."""
    (verdict,) = verdicts(found)
    assert isinstance(verdict, Verdict)
    return " ".join(verdict.sentences), " ".join(verdict.cautions)


def test_the_lead_ranks_the_mechanisms_and_each_is_read_with_its_controls() -> None:
    text, _ = said(summary(mean_steering=arm(0.95, **FIRST), mean_steering__random=arm(0.05, **RANDOM)))
    assert text.startswith(
        "On m, where the base answers 5.0 % and the cue prompt 95.0 % of 100 problems right, 2 of 2 mechanisms gain 10 "
        "points or more. In shares of the gap to the ceiling: steering 1.00 [0.95, 1.05] (mean_steering) and "
        "supervised fine-tuning 0.61 [0.56, 0.66] (sft)."
    )
    assert (
        "mean_steering (one vector at the first generation step, layer 2) recovers 1.00 [0.95, 1.05] of the gap, more "
        "than SFT on 16 demonstrations (+35.0 points [31.0, 39.0], Holm p = 0.001). No gain with a random vector of "
        "the same norm (0.0 points [−4.0, 4.0])." in text
    )
    assert "SFT on 16 demonstrations recovers 0.61 [0.56, 0.66] of the gap." in text


@pytest.mark.parametrize(
    ("sft", "p", "word"),
    [
        (0.6, None, "more than SFT"),
        (0.93, None, "not told apart from SFT"),
        (0.97, 0.001, "not told apart from SFT"),
        (0.6, 0.2, "not told apart from SFT"),
    ],
)
def test_more_than_sft_needs_interval_and_p(sft: float, p: float | None, word: str) -> None:
    text, _ = said(summary(sft=sft, mean_steering=arm(0.95, sft=sft, vs_sft=versus(0.95 - sft, p=p))))
    assert word in text
    assert sum(phrase in text for phrase in ("more than SFT", "not told apart from SFT", "less than SFT")) == 1


def test_less_than_sft() -> None:
    text, _ = said(summary(sft=0.9, mean_steering=arm(0.5, sft=0.9)))
    assert "less than SFT on 16 demonstrations (−40.0 points [−44.0, −36.0]" in text


def test_a_control_that_moves_as_much_makes_the_effect_unspecific() -> None:
    text, _ = said(summary(mean_steering=arm(0.9, **FIRST), mean_steering__random=arm(0.88, **RANDOM)))
    assert "Not specific: as much with a random vector of the same norm (+83.0 points [79.0, 87.0]), so" in text
    assert "not tied to its direction" in text
    assert "o gain with" not in text


def test_controls_that_move_in_part_not_at_all_and_down_are_told_apart() -> None:
    everywhere = arm(0.3, method="same_vector", steering=[EDIT.format("all")])
    text, _ = said(
        summary(
            base=0.2,
            mean_steering=arm(0.9, base=0.2),
            mean_steering__all=everywhere | {"vs_base": versus(0.1)},
            mean_steering__random=arm(0.2, base=0.2, **RANDOM),
            mean_steering__flipped=arm(0.0, base=0.2, method="same_vector"),
        )
    )
    assert "A part of it with the same vector at all positions (+10.0 points [6.0, 14.0])" in text
    assert "no gain with a random vector of the same norm (0.0 points [−4.0, 4.0])" in text
    assert "a loss with flipped (−20.0 points [−24.0, −16.0])" in text


def test_a_leader_without_a_control_is_said_to_be_open() -> None:
    text, _ = said(summary(mean_steering=arm(0.9)))
    assert "No control of mean_steering was measured: whether the effect is specific is open." in text


def test_a_failed_control_does_not_count_as_one() -> None:
    gone = {"method": "random_vector", "status": "failed", "error": "no <space>\nleft", "accuracy": None}
    text, cautions = said(summary(mean_steering=arm(0.9), mean_steering__random=gone))
    assert "No control of mean_steering was measured" in text
    assert "mean_steering/random failed: no <space> left" in cautions


def test_no_gain_is_claimed_only_where_every_interval_ends_below_ten_points() -> None:
    tight, wide = arm(0.06), arm(0.06, vs_base=versus(0.01, half=0.2))
    text, _ = said(summary(mean_steering=tight))
    assert "No arm gains more than 10 points over the base: the largest difference is mean_steering's, +1.0" in text
    text, _ = said(summary(mean_steering=tight, voting=wide | {"method": "mean_steering"}))
    assert "No arm is shown to gain 10 points over the base" in text
    assert "more is not ruled out for voting." in text


def test_a_large_difference_without_significance_leads_nothing() -> None:
    text, _ = said(summary(mean_steering=arm(0.3, vs_base=versus(0.25, p=0.3))))
    assert "not ruled out for mean_steering" in text
    assert "mean_steering recovers" not in text
    assert "not shown for steering." in text


def test_a_gain_of_sft_on_a_model_without_the_ability_is_teaching() -> None:
    text, _ = said(summary(base=0.01, ceiling=None, mean_steering=arm(0.01, base=0.01, ceiling=None)))
    assert "this is teaching" in text
    assert "raises accuracy from 1.0 % to 60.0 % (+59.0 points" in text
    assert "No clear ceiling (cue prompt 1.0 %, base 1.0 %): shares of the gap are withheld." in text
    assert "recovers" not in text


def test_without_a_ceiling_teaching_is_left_open() -> None:
    found = summary(ceiling=None, mean_steering=arm(0.05, ceiling=None))
    task = found["models"]["m"]["tasks"]["addition"]
    task["ceilings"] = []
    del task["arms"]["cue_prompt"]
    text, _ = said(found)
    assert "it is open whether this is elicited or taught" in text
    assert "No ceiling was measured" in text
    assert "teaching" not in text


def test_a_trained_arm_is_placed_beside_sft_and_its_controls_are_read() -> None:
    train = {"flops": 1e9}
    rewarded = arm(0.9, method="rl", seeds=3, train=train)
    text, _ = said(summary(rl=rewarded, rl__random_reward=arm(0.88, method="random_reward", seeds=3, train=train)))
    assert "rl recovers 0.94 [0.89, 0.99] of the gap, more than SFT on 16 demonstrations (+30.0 points" in text
    assert "Not specific: as much with random reward (+83.0 points [79.0, 87.0])" in text


def test_a_null_of_sft_is_said() -> None:
    text, _ = said(summary(sft=0.05, ceiling=None, mean_steering=arm(0.05, sft=0.05, ceiling=None)))
    assert "SFT on 16 demonstrations shows no gain (0.0 points [−4.0, 4.0])." in text


def test_without_base_or_sft_nothing_is_invented() -> None:
    found = summary(mean_steering=arm(0.9))
    found["models"]["m"]["tasks"]["addition"]["arms"]["base"] |= {"accuracy": None, "status": "pending"}
    text, cautions = said(found)
    assert text == "On m nothing can be concluded: the base arm is pending, so no gain is known."
    assert "Not finished: base." in cautions
    text, _ = said(summary(sft=None, mean_steering=arm(0.9, sft=None)))
    assert "with no SFT arm beside it" in text


def test_single_training_seeds_are_said_in_words() -> None:
    trained = arm(0.7, method="sft", train={"labels": 4})
    _, cautions = said(summary(sft_4=trained))
    assert "One single training seed stands behind sft_4" in cautions
    assert "sft," not in cautions  # three seeds stand behind sft itself


def test_selection_on_test_problems_side_effects_and_form_are_cautioned() -> None:
    leader = arm(0.9, off_target={"chains": estimate(0.1, (0.05, 0.15))})
    form = arm(0.06, trace_rate=estimate(1.0, (0.96, 1.0)))
    found = summary(mean_steering=leader, other=form)
    found["models"]["m"]["tasks"]["addition"]["arms"]["base"]["off_target"] = {"chains": estimate(0.5, (0.4, 0.6))}
    _, cautions = said(found)
    assert "mean_steering is the best of 2 inference-time arms on the very test problems" in cautions
    assert "Off target, mean_steering lowers chains from 50.0 % to 10.0 %." in cautions
    assert "Form without ability: other writes worked steps" in cautions


def test_a_control_that_gains_where_its_parent_does_not_is_said() -> None:
    _, notes = said(summary(mean_steering=arm(0.08), mean_steering__random=arm(0.4, **RANDOM)))
    assert (
        "mean_steering/random, a control, gains +35.0 points [31.0, 39.0] where mean_steering itself is not shown to "
        "gain 10: what was sought is not where the effect is." in notes
    )
    _, notes = said(summary(mean_steering=arm(0.9), mean_steering__random=arm(0.4, **RANDOM)))
    assert "a control, gains" not in notes


def test_answers_that_do_not_end_are_said() -> None:
    cut = arm(0.0, finished_rate=estimate(0.02, (0.0, 0.05)))
    _, notes = said(summary(mean_steering=arm(0.9), mean_steering__all=cut))
    assert "Few answers end by themselves under mean_steering/all (2.0 %): a low accuracy there is" in notes
    _, notes = said(summary(mean_steering=arm(0.9)))
    assert "end by themselves" not in notes
