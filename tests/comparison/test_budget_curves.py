"""Budget curves of a run whose cells are written by hand: what arms spent, and fine-tuning at the same spending."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from elicit import statistics
from elicit.comparison.reader import read_run_spec
from elicit.comparison.summary.summarise import summarise_run
from elicit.runs import read_rows
from tests.support.budgets import CELLS, PARAMETERS, PROBLEMS, SPEC, make_budget_run, told, trained
from tests.support.rundirs import make


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_budget_run(tmp_path_factory.mktemp("curves"))


@pytest.fixture(scope="module")
def task(run: Path) -> dict[str, Any]:
    return summarise_run(run)["models"]["cued"]["tasks"]["addition"]


def _answered(run: Path, arm: str) -> int:
    """Tokens of an arm's answers, from its rows."""
    rows = read_rows(run / "cells" / "cued" / arm / "0" / "rows" / "addition.jsonl")
    return sum(row.tokens for row in rows if row.sample == 0)


def test_what_an_arm_spent_is_its_records_and_rows_added_up(run, task):
    spent = {arm: figures["budget"]["spent"] for arm, figures in task["arms"].items()}
    for name, left in CELLS.items():
        arm = name.removeprefix("cued/").removesuffix("/0")
        train, tuning = left.record.get("train", {}), left.record.get("tuning", {})
        answers = _answered(run, arm)
        tokens = answers + sum(part.get(key, 0) for part in (train, tuning) for key in ("tokens", "generated_tokens"))
        flops = train.get("flops", 0) + 2 * PARAMETERS * (tuning.get("generated_tokens", 0) + answers)
        labels = train.get("labels", 0) + tuning.get("labels", 0)
        if arm == "mean_steering/random_vector":  # made of mean_steering
            tokens, flops, labels = tokens + 6000, flops + 2 * PARAMETERS * 6000, labels + 64
        assert spent[arm]["labels"] == (labels or None), arm
        assert spent[arm]["tokens"] == pytest.approx(tokens), arm
        assert spent[arm]["flops"] == (None if arm == "contrastive_decoding" else pytest.approx(flops)), arm


def test_without_the_number_of_parameters_flops_are_not_known(tmp_path):
    make(tmp_path, SPEC, CELLS)
    task = summarise_run(tmp_path)["models"]["cued"]["tasks"]["addition"]
    assert all(figures["budget"]["spent"]["flops"] is None for figures in task["arms"].values())
    assert task["budget_curves"]["sft"]["flops"] is None
    assert task["arms"]["grpo"]["vs_sft_at_budget"]["flops"] is None


def test_rollouts_of_a_search_are_in_its_flops_already(tmp_path):
    tuning = {"generated_tokens": 900, "rollout_tokens": 700, "flops": 5_000_000, "tokens": 100, "labels": 64, "n": 64}
    make_budget_run(tmp_path, grpo=told(34, 20, train=trained(100, 60_000, 40_000), tuning=tuning))
    figures = summarise_run(tmp_path)["models"]["cued"]["tasks"]["addition"]["arms"]["grpo"]
    assert figures["budget"]["spent"]["flops"] == 6000 * 60_000 + 2000 * 40_000 + 5_000_000 + 2 * PARAMETERS * (
        900 - 700 + 20 * PROBLEMS
    )


def test_a_curve_has_the_arm_and_its_points_by_spending(task):
    curves = task["budget_curves"]
    assert list(curves) == ["sft", "self_consistency", "grpo"]
    assert curves["grpo"]["points"] == ["grpo/steps-4"]
    order = ["sft/demonstrations-4", "sft", "sft/demonstrations-64", "sft/demonstrations-256"]
    for axis in ("labels", "tokens", "flops"):
        assert [point["arm"] for point in curves["sft"][axis]] == order
        for point in curves["sft"][axis]:
            figures = task["arms"][point["arm"]]
            assert point["spent"] == figures["budget"]["spent"][axis]
            assert {key: point[key] for key in ("accuracy", "ci", "n")} == {
                key: figures[key] for key in ("accuracy", "ci", "n")
            }
    assert curves["self_consistency"]["labels"] is None  # it reads none


def test_fine_tuning_at_an_arms_spending_is_the_nearest_in_ratio(run, task):
    """100 labels are 1.56 x 64 and 0.39 x 256: a difference would choose neither otherwise, 0.39 is 2.56 to one."""
    sft = {arm: task["arms"][arm]["budget"]["spent"] for arm in task["arms"] if arm.split("/")[0] == "sft"}
    for arm in ("self_consistency", "self_consistency/n-4", "mean_steering", "grpo", "grpo/steps-4"):
        figures = task["arms"][arm]
        for axis, compared in figures["vs_sft_at_budget"].items():
            spent = figures["budget"]["spent"][axis]
            if spent is None:
                assert compared is None
                continue
            ratios = {name: spent / reference[axis] for name, reference in sft.items()}
            farness = {name: max(ratio, 1 / ratio) for name, ratio in ratios.items()}
            assert farness[compared["arm"]] == min(farness.values())
            assert compared["ratio"] == pytest.approx(ratios[compared["arm"]])
            assert (compared["spent"], compared["arm_spent"]) == (spent, sft[compared["arm"]][axis])
            right_here, right_there = (CELLS[f"cued/{name}/0"].answers for name in (arm, compared["arm"]))
            gains = [a.correct - b.correct for a, b in zip(right_here, right_there, strict=True)]
            assert compared["difference"] == pytest.approx(sum(gains) / PROBLEMS)
    assert task["arms"]["grpo"]["vs_sft_at_budget"]["labels"]["arm"] == "sft/demonstrations-64"
    assert math.isclose(task["arms"]["grpo"]["vs_sft_at_budget"]["labels"]["ratio"], 100 / 64)


def test_arms_that_are_fine_tuning_base_or_controls_have_no_such_comparison(task):
    for arm in ("base", "sft", "sft/demonstrations-64", "mean_steering/random_vector"):
        assert task["arms"][arm]["vs_sft_at_budget"] == {"labels": None, "tokens": None, "flops": None}


def test_the_comparisons_are_in_holms_family_and_a_pair_of_arms_is_one_test(task):
    pairs: dict[frozenset[str], float] = {}
    corrected: list[dict[str, Any]] = []
    for arm, figures in task["arms"].items():
        compared = [("base", figures["vs_base"]), ("sft", figures["vs_sft"])]
        compared += [(entry["arm"], entry) for entry in figures["vs_sft_at_budget"].values() if entry]
        for other, difference in compared:
            if difference is not None and difference["p"] is not None:
                pairs[frozenset((arm, other))] = difference["p"]
                corrected.append(difference)
    assert frozenset(("grpo", "sft/demonstrations-64")) in pairs
    holm = dict(zip(pairs, statistics.holm_correction(list(pairs.values())), strict=True))
    assert {difference["holm_tests"] for difference in corrected} == {len(pairs)}
    labels = task["arms"]["grpo"]["vs_sft_at_budget"]["labels"]
    assert labels["p_holm"] == pytest.approx(holm[frozenset(("grpo", "sft/demonstrations-64"))])


def test_a_run_without_budgets_has_the_figures_that_it_had(tmp_path):
    points = {
        name for names in ("sft/demonstrations", "self_consistency/n", "grpo/steps") for name in CELLS if names in name
    }
    make(tmp_path, {**SPEC, "budgets": {}}, {name: left for name, left in CELLS.items() if name not in points})
    assert read_run_spec(tmp_path)[0].budgets == {}
    text = json.dumps(summarise_run(tmp_path))
    assert not any(key in text for key in ("budget_curves", "vs_sft_at_budget", '"spent"'))
