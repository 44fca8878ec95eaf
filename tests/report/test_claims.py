"""The table of claims: a row a comparison, with the figure of the facts; nothing for what was not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elicit.report import write_report
from elicit.report.html.claims_table import render_claims_table
from elicit.report.verdict import list_claims, list_detail_claims
from elicit.report.verdict.claim_facts import Claim, ClaimKind
from elicit.report.verdict.headline import write_headline
from tests.report.reading import read
from tests.report.support import EDIT, arm, make_run, summary, versus
from tests.report.verdict_runs import list_summaries, trained
from tests.report.verdict_support import around, find_arm, judge_model

ABSENT: dict[str, Any] = {"method": "grpo", "status": "pending", "accuracy": None}
RUNS = {name: data for name, data in list_summaries().items() if len(data["models"]) == 1}


def rows_of(claims: tuple[Claim, ...], kind: ClaimKind) -> list[Claim]:
    return [claim for claim in claims if claim.kind is kind]


def test_an_arm_has_a_row_for_each_of_its_comparisons() -> None:
    verdict = judge_model(
        summary(
            mean_steering=arm(0.95, steering=[EDIT.format("first")], rival={"k": 5, "difference": versus(0.3)}),
            mean_steering__random=arm(0.05, method="random_vector"),
        )
    )
    claims = [claim for claim in list_claims(verdict) if claim.subject.startswith("mean_steering")]
    assert [(claim.kind, claim.figure) for claim in claims] == [
        (ClaimKind.GAIN, around(0.9)),
        (ClaimKind.SHARE, find_arm(verdict, "mean_steering").level.gap),
        (ClaimKind.AGAINST_SFT, around(0.35)),
        (ClaimKind.CONTROL, around(0.0)),
        (ClaimKind.COST, around(0.3)),
    ]
    assert {claim.heading for claim in claims} == {"Steering"}


def test_the_headline_names_every_arm_that_reaches_as_much() -> None:
    one = {"steering": [EDIT.format("first")]}
    tied = write_headline(judge_model(summary(mean_steering=arm(0.95, **one), sae_steering=arm(0.95, **one))))
    alone = write_headline(judge_model(summary(mean_steering=arm(0.95, **one), sae_steering=arm(0.8, **one))))
    assert "mean_steering" in tied
    assert "sae_steering" in tied
    assert "mean_steering" in alone
    assert "sae_steering" not in alone


@pytest.mark.parametrize(("gap", "is_whole"), [(0.98, True), (0.9, False)])
def test_the_whole_gap_needs_an_interval_that_reaches_1(gap: float, is_whole: bool) -> None:
    verdict = judge_model(summary(mean_steering=arm(0.9, gap_recovered=gap, gap_ci=[gap - 0.05, gap + 0.05])))
    (claim,) = [c for c in rows_of(list_claims(verdict), ClaimKind.SHARE) if c.subject == "mean_steering"]
    assert claim.reading.startswith("all of it") is is_whole


@pytest.mark.parametrize(("half", "is_ruled_out"), [(0.04, True), (0.2, False)])
def test_no_gain_of_10_points_needs_an_interval_that_ends_there(half: float, is_ruled_out: bool) -> None:
    verdict = judge_model(summary(grpo=trained("grpo", 0.06, vs_base=versus(0.01, half=half))))
    (claim,) = [c for c in rows_of(list_claims(verdict), ClaimKind.GAIN) if c.subject == "grpo"]
    assert claim.reading.startswith("no gain of 10 points") is is_ruled_out


def test_an_arm_that_was_not_run_has_no_row_and_is_not_counted() -> None:
    with_arm, without_arm = (judge_model(summary(mean_steering=arm(0.95), **arms)) for arms in ({"grpo": ABSENT}, {}))
    assert list_claims(with_arm) == list_claims(without_arm)
    assert list_detail_claims(with_arm) == list_detail_claims(without_arm)
    assert with_arm.opening == without_arm.opening


@pytest.mark.parametrize("name", RUNS)
def test_every_measured_arm_is_in_the_table_and_every_figure_is_a_fact(name: str) -> None:
    verdict = judge_model(RUNS[name])
    claims = list_claims(verdict)
    gains = [claim.figure for claim in rows_of(claims, ClaimKind.GAIN)]
    expected = [facts.gain.difference for facts in verdict.arms]
    verifiers = {arm.name for family in verdict.families for arm in family.verifier_arms}
    expected = [facts.gain.difference for facts in verdict.arms if facts.arm.name not in verifiers]
    assert sorted(gains, key=repr) == sorted(expected, key=repr)
    page = read(render_claims_table(claims, caption="c"))
    shown = [float(given["data-value"] or "") for tag, given in page.tags if tag == "td" and "data-value" in given]
    assert shown == [claim.figure.value for claim in claims if claim.figure is not None]


def test_a_page_opens_with_the_sentence_then_the_picture_then_folded_parts(tmp_path: Path) -> None:
    make_run(tmp_path, test=12)
    text = write_report(tmp_path).read_text()
    order = [
        text.index(mark) for mark in ("<h1>", '<p class="lead">', "<svg", 'class="claims"', "<h3>Cautions", "<nav>")
    ]
    assert order == sorted(order)
    body = text[text.index("<nav>") :]
    assert body.count("<section") == body.count('<details class="part">')
