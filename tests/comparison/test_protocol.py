"""Budgets, rivals, votes, sharpening and expansion, against figures worked out by hand from made-up rows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from elicit import statistics
from elicit.comparison.summary import samples
from elicit.comparison.summary.summarise import summarise_run
from elicit.methods.baselines.base import Base
from elicit.methods.finetuning.sft import SFT
from elicit.schema import Row
from elicit.statistics import holm_correction
from elicit.statistics.paired import MCNEMAR, PAIRED_T
from tests.support.rundirs import Said, Told, _row, arms_of, make, right, wrong

ARMS = {"base": {"method": "base"}, "sft": {"method": "sft"}}
#: Four problems. The base's samples cost 4 tokens on average.
BASE = Told(
    answers=[right(), wrong(), wrong(), wrong()],
    samples=[
        [right(3), right(5), wrong("a", 3), wrong("b", 5)],
        [right(4), wrong("a", 4), wrong("a", 4), wrong("a", 4)],
        [wrong("a", 4), wrong("b", 4), right(4), right(4)],
        [wrong(None, 4), wrong(None, 4), wrong(None, 4), right(4)],
    ],
)


def _vote(drawn: list[Said], k: int) -> float:
    """Share of the ways to choose k samples whose majority is right: ties go to the first seen."""
    return float(
        np.mean([statistics.majority_vote([s.answer for s in chosen]) == "yes" for chosen in _choices(drawn, k)])
    )


def _choices(drawn: list[Said], k: int) -> list[tuple[Said, ...]]:
    return list(itertools.combinations(drawn, k))


def test_the_rival_votes_with_as_many_tokens_as_the_arm_generates(tmp_path: Path) -> None:
    sft = Told(answers=[right(10), right(13), right(11), wrong(tokens=14)])  # 12 a problem: three votes of 4 tokens
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": 4}, {"cued/base/0": BASE, "cued/sft/0": sft})
    arms = arms_of(tmp_path)
    rival = arms["sft"]["rival"]
    assert (rival["arm"], rival["k"], rival["tokens"], rival["capped"]) == ("base", 3, 12.0, False)
    votes = np.array([_vote(list(drawn), 3) for drawn in BASE.samples])
    assert votes.tolist() == [1.0, 0.0, 0.5, 0.75]
    assert rival["accuracy"]["value"] == pytest.approx(votes.mean())
    assert rival["accuracy"]["n"] == 4
    difference = rival["difference"]
    gains = np.array([1, 1, 1, 0]) - votes
    assert difference["difference"] == pytest.approx(gains.mean())
    assert (difference["n"], difference["seeds"], difference["test"]) == (
        4,
        [1, 1],
        "paired t over problems, single runs",
    )
    assert "One training seed stands behind the arm" in difference["note"]
    # The paired t interval, with the variance that half a discordant problem each way adds.
    spread = np.sqrt((((gains - gains.mean()) ** 2).sum() + 1) / (4 * 3))
    half = stats.t.ppf(0.975, 3) * spread
    assert difference["ci"] == pytest.approx([max(-1, gains.mean() - half), min(1, gains.mean() + half)])
    assert arms["base"]["rival"] is None
    assert rival["note"] == ""


@pytest.mark.parametrize(
    ("tokens", "k", "capped", "note"),
    [
        (1, 1, False, "One vote: a single sample at temperature 1, no majority."),
        (5, 1, False, "One vote: a single sample at temperature 1, no majority."),
        (6, 2, False, ""),
        (16, 4, False, ""),
        (18, 4, True, "Capped: 5 votes would match, but the base has 4 samples a problem."),
        (4000, 4, True, "Capped: 1,000 votes would match, but the base has 4 samples a problem."),
    ],
)
def test_the_rival_takes_the_nearest_number_of_votes_and_says_when_it_is_capped(
    tmp_path: Path, tokens: int, k: int, capped: bool, note: str
) -> None:
    sft = Told(answers=[right(tokens)] * 4)
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": 4}, {"cued/base/0": BASE, "cued/sft/0": sft})
    rival = arms_of(tmp_path)["sft"]["rival"]
    assert (rival["k"], rival["tokens"], rival["capped"], rival["note"]) == (k, 4.0 * k, capped, note)
    assert rival["accuracy"]["value"] == pytest.approx(np.mean([_vote(list(drawn), k) for drawn in BASE.samples]))


def test_the_rival_meets_the_arm_on_the_problems_that_both_have(tmp_path: Path) -> None:
    """The base was sampled on two of four problems; one of the arm's two seeds lost a row."""
    base = BASE._replace(samples=BASE.samples[:2])
    sft = {f"cued/sft/{seed}": Told(answers=[right(8), right(8), wrong(tokens=8), wrong(tokens=8)]) for seed in (0, 1)}
    asked = {"n": 4, "problems": 2, "arms": ["base"]}
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": asked, "seeds": 2}, {"cued/base/0": base, **sft})
    path = tmp_path / "cells/cued/sft/1/rows/addition.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if '"p1"' not in line))
    rival = arms_of(tmp_path)["sft"]["rival"]
    # p0 alone is complete
    assert (rival["k"], rival["accuracy"]["n"], rival["difference"]["n"]) == (2, 1, 1)
    assert rival["accuracy"]["value"] == pytest.approx(_vote(list(base.samples[0]), 2))
    assert rival["difference"]["difference"] == pytest.approx(1 - _vote(list(base.samples[0]), 2))
    assert rival["note"] == "On the 2 of 4 problems that the base was sampled on."
    assert summarise_run(tmp_path)["models"]["cued"]["tasks"]["addition"]["samples"] == {"n": 4, "problems": 2}


def test_what_fitting_took_goes_to_the_total_rival_spread_over_the_test_problems(tmp_path: Path) -> None:
    arms = {
        **ARMS,
        "mean_steering": {"method": "mean_steering"},
        "mean_steering/random": {"method": "random_vector", "parent": "mean_steering"},
        "mean_steering/random/again": {"method": "same_vector", "parent": "mean_steering/random", "positions": "all"},
    }
    tuning = {"generated_tokens": 24, "labels": 2, "n": 2, "split": "select"}
    told = {
        "cued/base/0": BASE,
        "cued/sft/0": Told([right(4)] * 4, record={"train": {"tokens": 10, "flops": 1.0, "labels": 1}}),
        "cued/sft/1": Told([right(4)] * 4, record={"train": {"tokens": 30, "flops": 3.0, "labels": 1}}),
        "cued/mean_steering/0": Told([right(4)] * 4, record={"tuning": tuning}),
        "cued/mean_steering/random/0": Told([right(4)] * 4),
        "cued/mean_steering/random/1": Told([right(4)] * 4),
        "cued/mean_steering/random/again/0": Told([right(4)] * 4, record={"train": {"tokens": 16}}),
    }
    make(tmp_path, {"arms": arms, "test": 4, "samples": 4, "seeds": 2}, told)
    found = arms_of(tmp_path)
    rivals = {arm: entry["rival_total"] and entry["rival_total"]["k"] for arm, entry in found.items()}
    whole = {arm: entry["rival_total"]["fit_tokens"] for arm, entry in found.items() if entry["rival_total"]}
    parent, control = "mean_steering", "mean_steering/random"
    assert whole == {"sft": 20, parent: 24, control: 24, f"{control}/again": 24 + 16}
    assert {entry["rival_total"]["answers"] for entry in found.values() if entry["rival_total"]} == {4}
    # 4 answer tokens, and on top: 20 / 4 for sft; 24 / 4 for the tuned arm and for those made from it; 16 / 4 more.
    assert rivals == {
        "base": None,
        "sft": round(9 / 4),
        "mean_steering": 3,
        "mean_steering/random": 3,
        "mean_steering/random/again": 4,
    }
    assert [entry["rival"] and entry["rival"]["k"] for entry in found.values()] == [None, 1, 1, 1, 1]
    assert found["mean_steering/random"]["budget"]["inherited_tokens"] == 24
    assert found["mean_steering/random"]["budget"]["inherited_labels"] == tuning["labels"]
    assert found["mean_steering/random"]["budget"]["fit_generated_tokens"] is None
    assert found["mean_steering"]["tuning"] == tuning
    assert found["sft"]["tuning"] is None


def test_budgets_are_means_over_finished_seeds_and_null_where_nothing_applies(tmp_path: Path) -> None:
    train = {"tokens": 100, "flops": 6e6, "labels": 8, "teacher_tokens": 50, "generated_tokens": 400}
    tuning = {"generated_tokens": 60, "labels": 4, "n": 4, "split": "select"}
    told = {
        "cued/base/0": BASE._replace(fit_seconds=0.5, seconds=2.0),
        "cued/sft/0": Told([right(20)] * 4, record={"train": train, "tuning": tuning}, fit_seconds=10, seconds=12),
        "cued/sft/1": Told([right(10)] * 4, record={"train": {**train, "tokens": 300}}, fit_seconds=20, seconds=26),
        "cued/sft/2": Told(error="the loss became NaN"),
    }
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": 4, "seeds": 3}, told)
    arms = arms_of(tmp_path)
    assert arms["sft"]["budget"] == {
        "train_tokens": 200.0,
        "train_flops": 6e6,
        "fit_generated_tokens": (460 + 400) / 2,
        "labels": (12 + 8) / 2,
        "teacher_tokens": 50.0,
        "inherited_tokens": None,
        "inherited_labels": None,
        "fit_seconds": 15.0,
        "seconds": 19.0,
        "answer_tokens": 15.0,
    }
    nothing = {"train_tokens", "train_flops", "fit_generated_tokens", "labels", "teacher_tokens"}
    nothing |= {"inherited_tokens", "inherited_labels"}
    assert {key for key, value in arms["base"]["budget"].items() if value is None} == nothing
    # A seed failed: the arm says so, with the figures of the others.
    assert arms["sft"]["status"] == "failed"
    assert arms["sft"]["failed_seeds"] == [{"seed": 2, "error": "the loss became NaN"}]
    assert (arms["sft"]["seeds"], arms["sft"]["accuracy"], arms["sft"]["n"]) == (2, 1.0, 4)
    assert arms["sft"]["vs_base"]["seeds"] == [2, 1]
    assert (arms["base"]["status"], arms["base"]["failed_seeds"]) == ("done", [])


def test_a_record_is_read_of_the_first_seed_that_finished(tmp_path: Path) -> None:
    told = {
        "cued/base/0": BASE,
        "cued/sft/0": Told(error="diverged"),
        "cued/sft/1": Told([right()] * 4, record={"train": {"tokens": 7}, "steering": ["this"]}),
    }
    make(tmp_path, {"arms": ARMS, "test": 4, "seeds": 2}, told)
    sft = arms_of(tmp_path)["sft"]
    assert (sft["train"], sft["steering"], sft["error"]) == ({"tokens": 7}, ["this"], "diverged")


def test_votes_of_k_samples_and_what_they_cost(tmp_path: Path) -> None:
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": 4}, {"cued/base/0": BASE, "cued/sft/0": Told([right()] * 4)})
    arms = arms_of(tmp_path)
    votes = arms["base"]["majority_at_k"]
    assert list(votes) == ["1", "2", "4"]
    for k in (1, 2, 4):
        assert votes[str(k)]["accuracy"]["value"] == pytest.approx(np.mean([_vote(list(d), k) for d in BASE.samples]))
        assert votes[str(k)]["tokens"] == 4.0 * k
    assert arms["sft"]["majority_at_k"] is arms["sft"]["pass_at_k"] is None


def test_samples_are_of_one_training_seed_each(tmp_path: Path) -> None:
    """Two seeds that solve different problems: neither solves both with two samples, a pool of the two would."""
    told = {
        "cued/base/0": Told([wrong()] * 2, samples=[[wrong(), wrong()], [wrong(), wrong()]]),
        "cued/sft/0": Told([right()] * 2, samples=[[right(), wrong()], [wrong(), wrong()]]),
        "cued/sft/1": Told([right()] * 2, samples=[[wrong(), wrong()], [right(), right()]]),
    }
    make(tmp_path, {"arms": ARMS, "test": 2, "samples": 2, "seeds": 2}, told)
    sft = arms_of(tmp_path)["sft"]
    assert {k: e["value"] for k, e in sft["pass_at_k"].items()} == {"1": pytest.approx(3 / 8), "2": 0.5}
    assert sft["majority_at_k"]["2"]["accuracy"]["value"] == pytest.approx(0.5)  # a tie goes to the first seen
    expansion = sft["expansion"]
    assert expansion["solved_only_by_arm"]["value"] == 0.5
    assert expansion["arm_ids"] == ["p0", "p1"]
    assert sft["sharpening"]["difference"] == pytest.approx(3 / 8)
    assert sft["sharpening"]["seeds"] == [2, 1]


def test_sharpening_is_the_paired_gain_of_one_sample(tmp_path: Path) -> None:
    sft = Told(
        [right()] * 4, samples=[[right()] * 4, [right(), right(), wrong(), wrong()], [right()] * 4, [wrong()] * 4]
    )
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": 4}, {"cued/base/0": BASE, "cued/sft/0": sft})
    arms = arms_of(tmp_path)
    gains = np.array([1 - 0.5, 0.5 - 0.25, 1 - 0.5, 0 - 0.25])
    found = arms["sft"]["sharpening"]
    assert found["difference"] == pytest.approx(gains.mean())
    assert found["difference"] == pytest.approx(
        arms["sft"]["pass_at_k"]["1"]["value"] - arms["base"]["pass_at_k"]["1"]["value"]
    )
    assert (found["n"], found["test"]) == (4, PAIRED_T)
    assert arms["base"]["sharpening"] is None


def test_expansion_counts_problems_that_the_base_never_solved_with_as_many_samples(tmp_path: Path) -> None:
    good, lucky = right(valid=True), right()
    base = Told([wrong()] * 4, samples=[[wrong(), good, good], [lucky, wrong(), wrong()], [wrong()] * 3, [wrong()] * 3])
    sft = Told([wrong()] * 4, samples=[[wrong(), wrong()], [good, wrong()], [lucky, lucky], [right(valid=False), good]])
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": 3}, {"cued/base/0": base, "cued/sft/0": sft})
    arms = arms_of(tmp_path)
    found = arms["sft"]["expansion"]
    # A lucky guess is no solution where traces can be checked: p1 and p3 are new, p0 is lost.
    assert (found["k"], found["arm_ids"], found["valid_trace"]) == (2, ["p1", "p3"], True)
    assert found["solved_only_by_arm"] == statistics.wilson_interval(2, 4).to_json()
    assert found["solved_only_by_base"] == statistics.wilson_interval(1, 4).to_json()
    assert arms["base"]["expansion"] is None


def test_without_traces_to_check_any_right_answer_counts(tmp_path: Path) -> None:
    base = Told([wrong()] * 2, samples=[[right(), wrong()], [wrong(), wrong()]])
    sft = Told([wrong()] * 2, samples=[[wrong(), wrong()], [wrong(), right()]])
    make(tmp_path, {"arms": ARMS, "test": 2, "samples": 2}, {"cued/base/0": base, "cued/sft/0": sft})
    found = arms_of(tmp_path)["sft"]["expansion"]
    assert (found["arm_ids"], found["valid_trace"]) == (["p1"], False)
    assert found["solved_only_by_base"]["value"] == 0.5


def test_the_base_overtakes_where_it_does(tmp_path: Path) -> None:
    """The arm always solves half the problems; the base solves each with one sample in eight."""
    base = Told([wrong()] * 4, samples=[[right(), *[wrong()] * 7]] * 4)
    sft = Told([right()] * 4, samples=[[right()] * 8] * 2 + [[wrong()] * 8] * 2)
    make(tmp_path, {"arms": ARMS, "test": 4, "samples": 8}, {"cued/base/0": base, "cued/sft/0": sft})
    arms = arms_of(tmp_path)
    assert [round(e["value"], 3) for e in arms["base"]["pass_at_k"].values()] == [0.125, 0.25, 0.5, 1.0]
    assert arms["sft"]["crossover_k"] == 8
    assert arms["base"]["crossover_k"] is None


def test_holms_correction_is_over_all_that_a_verdict_speaks_of(tmp_path: Path) -> None:
    """Two arms against the base, against SFT, and on the model without the ability; SFT and base are one test."""
    few, many = [right()] * 5 + [wrong()] * 7, [right()] * 9 + [wrong()] * 3
    told = {
        f"{model}/{arm}/0": Told(answers)
        for model, capable in (("cued", True), ("incapable", False))
        for arm, answers in (("base", few[4:] + few[:4]), ("sft", many), ("min_p", few if capable else many))
    }
    arms = {**ARMS, "min_p": {"method": "min_p"}}
    make(tmp_path, {"models": ["cued", "incapable"], "arms": arms, "test": 12}, told)
    figures = arms_of(tmp_path)
    tests = [
        figures["sft"]["vs_base"], figures["min_p"]["vs_base"], figures["min_p"]["vs_sft"],
        figures["sft"]["leak"], figures["min_p"]["leak"],
    ]  # fmt: skip
    assert all(test is not None and test["holm_tests"] == 5 for test in tests)
    expected = holm_correction([test["p"] for test in tests])
    assert [test["p_holm"] for test in tests] == pytest.approx(expected)
    assert len({round(p, 6) for p in expected}) > 1
    assert figures["base"]["vs_sft"]["p_holm"] == figures["sft"]["vs_base"]["p_holm"]
    without_ability = arms_of(tmp_path, "incapable")
    assert without_ability["sft"]["vs_base"]["holm_tests"] == 3


def test_other_tasks_are_compared_with_the_base_problem_by_problem(tmp_path: Path) -> None:
    off = [right(), right(), right(), wrong(), wrong(), right()]
    told = {
        "cued/base/0": Told([wrong()] * 6, off_target=off),
        "cued/sft/0": Told([right()] * 6, off_target=[wrong(), wrong(), right(), right(), wrong(), wrong()]),
    }
    make(tmp_path, {"arms": ARMS, "test": 6, "off_target": ["mod_chain"]}, told)
    arms = arms_of(tmp_path)
    found = arms["sft"]["off_target_vs_base"]["mod_chain"]
    assert found["difference"] == pytest.approx((1 - 3) / 6)
    assert found["p"] == pytest.approx(stats.binomtest(1, 4).pvalue)
    assert found["p_holm"] == found["p"]
    assert (found["n"], found["test"]) == (6, MCNEMAR)
    assert arms["base"]["off_target_vs_base"] == {"mod_chain": None}


_SAID = st.builds(
    lambda answer, valid: Said(answer, answer == "yes", 3, valid if answer == "yes" else None),
    st.sampled_from(["yes", "a", "b", None]),
    st.sampled_from([True, False, None]),
)


@st.composite
def _sampled(draw: st.DrawFn, seeds: int) -> list[list[Row]]:
    problems, n = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    cells = [[[draw(_SAID) for _ in range(n)] for _ in range(problems)] for _ in range(seeds)]
    return [
        [_row("addition", s, i, 1 + j, said) for i, drawn in enumerate(cell) for j, said in enumerate(drawn)]
        for s, cell in enumerate(cells)
    ]


@given(st.integers(1, 3).flatmap(_sampled), _sampled(1), st.booleans())
def test_what_arm_and_base_gain_and_lose_is_one_account(
    arm_rows: list[list[Row]], base_rows: list[list[Row]], checkable: bool
) -> None:
    """Net expansion is the difference of the shares solved at K; swapping the two swaps the sides."""
    arm, base = samples.collect_samples(arm_rows), samples.collect_samples(base_rows)
    assert arm is not None
    assert base is not None
    found = samples.compute_expansion(arm, base, checkable=checkable)
    back = samples.compute_expansion(base, arm, checkable=checkable)
    assert found is not None
    assert back is not None
    assert found["solved_only_by_arm"] == back["solved_only_by_base"]
    shared = [problem for problem in arm.problems if problem in base.problems]
    k = min(arm.n, base.n)

    def solved(seeds: list[list[Row]], problem: str) -> float:
        mine = [[r for r in rows if r.problem == problem and r.sample <= k] for rows in seeds]
        return float(np.mean([any(r.correct and (not checkable or r.trace_valid) for r in rows) for rows in mine]))

    net = np.mean([solved(arm_rows, p) - solved(base_rows, p) for p in shared])
    assert found["solved_only_by_arm"]["value"] - found["solved_only_by_base"]["value"] == pytest.approx(net)
    sharp, blunt = samples.compute_sharpening(arm, base, SFT()), samples.compute_sharpening(base, arm, Base())
    assert sharp is not None
    assert blunt is not None
    assert sharp["difference"] == pytest.approx(-blunt["difference"])


@given(st.integers(1, 3).flatmap(_sampled))
def test_the_order_in_which_rows_were_appended_does_not_matter(rows: list[list[Row]]) -> None:
    turned = [list(reversed(seed)) for seed in rows]
    one, other = samples.collect_samples(rows), samples.collect_samples(turned)
    assert one is not None
    assert other is not None
    order = other.problem_indices(one.problems)
    for k in one.ks:
        assert other.vote_scores(k)[:, order] == pytest.approx(one.vote_scores(k))
    curves = [samples.summarise_pass_at_k(drawn, valid_only=True) for drawn in (one, other)]
    assert (curves[0] is None) == (curves[1] is None)
    for left, right_ in zip((curves[0] or {}).values(), (curves[1] or {}).values(), strict=True):
        assert left["value"] == pytest.approx(right_["value"])
