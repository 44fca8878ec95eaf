"""Budget curves of a run whose cells are written by hand: what arms spent, and fine-tuning at the same spending."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from elicit import statistics
from elicit.comparison.cell_state import read_cell_status
from elicit.comparison.reader import read_run_spec
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.summary.summarise import summarise_run
from elicit.runs import read_rows, write_json
from tests.support.rundirs import Told, make, right, wrong

PROBLEMS, PARAMETERS = 40, 1000
SPEC: dict[str, Any] = {
    "arms": {
        "base": {"method": "base"},
        "sft": {"method": "sft", "demonstrations": 16},
        "self_consistency": {"method": "self_consistency", "n": 16},
        "mean_steering": {"method": "mean_steering"},
        "mean_steering/random_vector": {"method": "random_vector", "parent": "mean_steering"},
        "grpo": {"method": "grpo", "steps": 16},
        "contrastive_decoding": {"method": "contrastive_decoding", "amateur": "incapable"},
    },
    "budgets": {"sft": {"demonstrations": [4, 64, 256]}, "self_consistency": {"n": [4]}, "grpo": {"steps": [4]}},
    "seeds": 1,
    "test": PROBLEMS,
}


def _told(correct: int, tokens: int, **record: Any) -> Told:
    return Told([right(tokens)] * correct + [wrong(tokens=tokens)] * (PROBLEMS - correct), record=record)


def _trained(labels: int, tokens: int, generated: int = 0) -> dict[str, int]:
    return {
        "labels": labels,
        "tokens": tokens,
        "flops": 6000 * tokens + 2000 * generated,
        "generated_tokens": generated,
    }


CELLS = {
    "cued/base/0": _told(4, 5),
    "cued/sft/0": _told(20, 20, train=_trained(16, 5000)),
    "cued/sft/demonstrations-4/0": _told(8, 20, train=_trained(4, 1250)),
    "cued/sft/demonstrations-64/0": _told(30, 20, train=_trained(64, 20_000)),
    "cued/sft/demonstrations-256/0": _told(36, 20, train=_trained(256, 80_000)),
    "cued/self_consistency/0": _told(6, 80),
    "cued/self_consistency/n-4/0": _told(5, 20),
    "cued/mean_steering/0": _told(28, 20, tuning={"generated_tokens": 6000, "labels": 64, "n": 64}),
    "cued/mean_steering/random_vector/0": _told(5, 5),
    "cued/grpo/0": _told(34, 20, train=_trained(100, 60_000, 40_000)),
    "cued/grpo/steps-4/0": _told(25, 20, train=_trained(100, 15_000, 12_000)),
    "cued/contrastive_decoding/0": _told(6, 30),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curves")
    spec = make(folder, SPEC, CELLS)
    for cell in list_cells(spec):
        status = read_cell_status(cell, folder)
        write_json(cell.folder_in(folder) / "status.json", {**status, "model": {"parameters": PARAMETERS}})
    return folder


@pytest.fixture(scope="module")
def task(run: Path) -> dict[str, Any]:
    return summarise_run(run)["models"]["cued"]["tasks"]["addition"]


def _answered(run: Path, arm: str) -> int:
    """Tokens of an arm's answers, from its rows."""
    rows = read_rows(run / "cells" / "cued" / arm / "0" / "rows" / "addition.jsonl")
    return sum(row.tokens for row in rows if row.sample == 0)


def test_what_an_arm_spent_is_its_records_and_rows_added_up(run, task):
    spent = {arm: figures["budget"]["spent"] for arm, figures in task["arms"].items()}
    for name, told in CELLS.items():
        arm = name.removeprefix("cued/").removesuffix("/0")
        train, tuning = told.record.get("train", {}), told.record.get("tuning", {})
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
    cells = {**CELLS, "cued/grpo/0": _told(34, 20, train=_trained(100, 60_000, 40_000), tuning=tuning)}
    spec = make(tmp_path, SPEC, cells)
    for cell in list_cells(spec):
        status = read_cell_status(cell, tmp_path)
        write_json(cell.folder_in(tmp_path) / "status.json", {**status, "model": {"parameters": PARAMETERS}})
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
        told = [("base", figures["vs_base"]), ("sft", figures["vs_sft"])]
        told += [(entry["arm"], entry) for entry in figures["vs_sft_at_budget"].values() if entry]
        for other, difference in told:
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
    make(tmp_path, {**SPEC, "budgets": {}}, {name: told for name, told in CELLS.items() if name not in points})
    assert read_run_spec(tmp_path)[0].budgets == {}
    text = json.dumps(summarise_run(tmp_path))
    assert not any(key in text for key in ("budget_curves", "vs_sft_at_budget", '"spent"'))
