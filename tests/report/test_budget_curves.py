"""Budget curves in a report: ratios of spending, fine-tuning at the same spending, and the chart's own figures."""

from __future__ import annotations

import copy
import itertools
import json
import re
from typing import Any

import pytest

from elicit.comparison.summary.summarise import summarise_run
from elicit.report.charts import svg
from elicit.report.charts.budget_curves import render_budget_curves
from elicit.report.data.families import FAMILIES
from elicit.report.data.spending import read_spending
from elicit.report.data.summary_view import ModelPanel, read_panels
from elicit.report.verdict import list_claims, list_detail_claims
from elicit.report.verdict.caution_facts import ControlGain
from elicit.report.verdict.claim_facts import Claim, ClaimKind
from elicit.report.verdict.kinds import BudgetAxis, Comparison
from tests.report.reading import looked_up, read
from tests.report.support import arm, summary, versus
from tests.report.verdict_support import around, find_arm, judge_model
from tests.support.budgets import make_budget_run

_BUDGET = {"train_tokens": None, "fit_generated_tokens": None, "inherited_tokens": None, "inherited_labels": None}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = make_budget_run(tmp_path_factory.mktemp("curves"))
    return json.loads(json.dumps(summarise_run(run)))


@pytest.fixture(scope="module")
def panel(data: dict[str, Any]) -> ModelPanel:
    (panel,) = read_panels(data)
    return panel


def _with_budgets(labels: float, tokens: float, /, **at_budget: Any) -> dict[str, Any]:
    """`mean_steering` beside SFT on 16 labels and 1,000 + 100 x 5 tokens, in a run of 100 problems."""
    spent = {**_BUDGET, "labels": labels, "fit_generated_tokens": tokens, "answer_tokens": 5.0}
    made = summary(mean_steering=arm(0.95, budget=spent, vs_sft_at_budget=at_budget or None))
    sft = made["models"]["m"]["tasks"]["addition"]["arms"]["sft"]
    sft["budget"] = {**_BUDGET, "labels": 16.0, "train_tokens": 1000.0, "answer_tokens": 5.0}
    return made


def test_a_comparison_with_fine_tuning_has_the_ratios_of_labels_and_tokens():
    against = find_arm(judge_model(_with_budgets(256, 14_500)), "mean_steering").against_sft
    assert against is not None
    assert (against.ratios.labels, against.ratios.tokens) == (16, 10)
    unknown = find_arm(judge_model(summary(mean_steering=arm(0.95))), "mean_steering").against_sft
    assert unknown is not None
    assert (unknown.ratios.labels, unknown.ratios.tokens) == (None, None)


def test_the_report_reads_the_spending_that_the_summary_has(panel):
    for one in panel.arms:
        spent = one.data["budget"]["spent"]
        assert read_spending(panel, one) == (spent["labels"], pytest.approx(spent["tokens"]))


@pytest.mark.parametrize(("ratio", "equal"), [(0.49, False), (0.5, True), (1.0, True), (2.0, True), (2.1, False)])
def test_budgets_more_than_a_factor_of_two_apart_are_not_equal(ratio, equal):
    entry = {"arm": "sft/demonstrations-64", "spent": 64 * ratio, "arm_spent": 64.0, "ratio": ratio, **versus(0.2)}
    verdict = judge_model(_with_budgets(64 * ratio, 1000, labels=entry, tokens=None, flops=None))
    (facts,) = find_arm(verdict, "mean_steering").at_budget
    assert (facts.axis, facts.kind, facts.point, facts.ratio) == (
        *(BudgetAxis.LABELS, Comparison.MORE, "sft/demonstrations-64", ratio),
    )
    assert facts.difference == around(0.2)
    assert facts.is_equal is equal
    (claim,) = [claim for claim in list_claims(verdict) if claim.kind is ClaimKind.AT_BUDGET]
    assert claim.figure == around(0.2)
    assert claim.against == "sft/demonstrations-64"
    assert ("no equal budget" in claim.reading) is not equal


def test_a_run_has_a_row_for_each_axis_of_each_arm_that_gains(data):
    verdict = judge_model(data)
    arms = data["models"]["cued"]["tasks"]["addition"]["arms"]
    claims: list[Claim] = [*list_claims(verdict), *list_detail_claims(verdict)]
    rows = [claim for claim in claims if claim.kind is ClaimKind.AT_BUDGET]
    assert [claim.figure.value for claim in rows if claim.subject == "grpo" and claim.figure is not None] == [
        arms["grpo"]["vs_sft_at_budget"][axis]["difference"] for axis in ("labels", "tokens", "flops")
    ]
    assert all(not facts.at_budget for facts in verdict.arms if facts.arm.name.startswith("sft"))


def test_points_are_neither_controls_nor_arms_that_speak_for_a_family(data, panel):
    roles = {one.name: one.role for one in panel.arms}
    points = {name for name, role in roles.items() if role == "point"}
    assert points == {
        *(f"sft/demonstrations-{n}" for n in (4, 64, 256)),
        *("self_consistency/n-4", "grpo/steps-4"),
    }
    assert roles["mean_steering/random_vector"] == "control"
    verdict = judge_model(data)
    assert not points & {facts.arm.name for facts in verdict.arms}
    assert not [caution for caution in verdict.cautions if isinstance(caution, ControlGain)]
    variants = {variant.arm for variant in find_arm(verdict, "sft").variants}
    assert variants == {f"/demonstrations-{n}" for n in (4, 64, 256)}


def test_the_chart_marks_every_point_of_every_curve_with_the_summarys_own_figures(data, panel):
    task = data["models"]["cued"]["tasks"]["addition"]
    wide = render_budget_curves(panel).split('<div class="narrow">')[0]
    marks = re.findall(r'<(?:rect|circle|polygon)[^>]*data-arm="([^"]+)" data-key="([^"]+)" data-value="([^"]+)"', wide)
    expected = [
        (point["arm"], f"budget.spent.{axis}", point["spent"])
        for axis in ("labels", "tokens", "flops")
        for curve in task["budget_curves"].values()
        for point in curve[axis] or []
    ]
    assert sorted((name, key, float(value)) for name, key, value in marks) == sorted(expected)
    for key in ("sft", "rl", "decoding"):
        assert FAMILIES[key].colour in wide
    assert wide.count(f'stroke="{svg.GREY}" stroke-width="1.7" stroke-dasharray') == 3  # the base, once an axis


def test_curves_rise_with_accuracy_and_run_right_with_spending(panel):
    """Of the SFT curve over labels: 4, 16, 64, 256 are equally far apart on a logarithmic axis."""
    wide = render_budget_curves(panel)
    path = re.search(rf'<path d="([^"]+)" fill="none" stroke="{FAMILIES["sft"].colour}"', wide)
    assert path is not None
    points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.]+ [\d.]+)", path[1])]
    steps = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    heights = [y for _, y in points]
    accuracies = [8, 20, 30, 36]
    for i in range(1, 4):
        share = (heights[0] - heights[i]) / (heights[0] - heights[3])
        assert share == pytest.approx((accuracies[i] - 8) / (36 - 8), abs=0.01)


def test_the_table_has_the_summarys_own_figures(data, panel):
    task = data["models"]["cued"]["tasks"]["addition"]
    page = read(render_budget_curves(panel))
    cells = [figure for figure in page.figures if figure.tag == "td"]
    assert {figure.key.split(".")[0] for figure in cells} == {"accuracy", "budget", "vs_sft_at_budget"}
    for figure in cells:
        value = None if figure.value is None else float(figure.value)
        assert looked_up(task, figure.arm, figure.key) == value, figure


def test_a_run_without_curves_has_no_chart(data):
    bare = copy.deepcopy(data)
    del bare["models"]["cued"]["tasks"]["addition"]["budget_curves"]
    (panel,) = read_panels(bare)
    assert render_budget_curves(panel) == ""
    (panel,) = read_panels(summary(mean_steering=arm(0.9)))
    assert render_budget_curves(panel) == ""
