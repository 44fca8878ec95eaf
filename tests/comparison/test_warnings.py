"""Early warning in a summary: against the cells' own records and rows, and against the trajectory measured apart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elicit import runs
from elicit.analysis.early_warning_signals import compute_explained_share
from elicit.comparison.reader import read_arms, read_run_spec
from elicit.comparison.summary import early_warning
from elicit.comparison.summary.summarise import summarise_run
from tests.support.trajectories import END, PROBE, PROBLEMS, STEPS, whole

POINTS = [0, *STEPS, END]


@pytest.fixture(scope="module")
def task() -> dict[str, Any]:
    found: dict[str, Any] = summarise_run(whole())["models"]["cued"]["tasks"]["addition"]
    return found


def _records() -> list[dict[str, Any]]:
    return [runs.read_run_json(whole() / f"cells/cued/sft/{seed}/status.json")["record"]["warning"] for seed in (0, 1)]


def _until(watched: dict[str, Any]) -> float:
    """The last step whose numbers count as a warning."""
    return float("inf") if watched["trough"] is None else float(watched["trough"]["value"])


def test_the_watch_and_the_trajectory_measure_the_same_losses(task: dict[str, Any]) -> None:
    """Two programs: TRL's head on the model in training, and our scorer on its checkpoints afterwards."""
    found, measured = task["arms"]["sft"]["warning"], task["arms"]["sft"]["trajectory"]
    assert found["steps"] == list(range(0, END + 1, 2))
    assert (found["seeds"], found["every"], found["problems"]) == (2, 2, {"in": PROBE, "far": PROBE})
    at = [found["steps"].index(step) for step in POINTS]
    for mine, label in ((found["in"], "addition"), (found["tasks"]["far"], "chains")):
        for name in ("loss", "token_accuracy"):
            wanted = measured["tasks"][label][name]
            assert [mine[name][i] for i in at] == pytest.approx(wanted, rel=2e-3, abs=1e-4)
    assert task["arms"]["base"]["warning"] is None


def test_sums_over_seeds_are_those_of_the_records(task: dict[str, Any]) -> None:
    records, found = _records(), task["arms"]["sft"]["warning"]
    far = found["tasks"]["far"]
    for name, key in (("integral", "predicted"), ("trapezoid", "trapezoid")):
        sums = np.mean([[0, *np.cumsum(one["out"]["far"][key])] for one in records], axis=0)
        assert far[name] == pytest.approx(sums.tolist())
        changes = np.concatenate([np.diff(one["out"]["far"]["loss"]) for one in records])
        predicted = np.concatenate([one["out"]["far"][key] for one in records])
        assert far["explained"][name] == pytest.approx(compute_explained_share(changes, predicted))
    assert far["explained"]["trapezoid"] > 0.9, "two steps at a time are small enough for that"
    losses = [np.array(one["out"]["far"]["loss"]) for one in records]
    seen = np.array(found["steps"]) <= _until(far)
    rises = [max((some - np.minimum.accumulate(some))[seen]) for some in losses]
    assert far["signals"]["loss"]["strength"] == pytest.approx(rises)
    assert found["share"] == pytest.approx(np.mean([one["share"] for one in records]))


def test_free_signals_are_those_of_the_rows(task: dict[str, Any]) -> None:
    """Of the task that is watched, found by its description: the spec calls it otherwise."""
    watched = task["arms"]["sft"]["warning"]["tasks"]["far"]
    signals = watched["signals"]
    seen = [step <= _until(watched) for step in POINTS]
    for seed in (0, 1):
        cell = whole() / f"cells/cued/sft/{seed}"
        places = [whole() / "cells/cued/base/0", *(cell / f"steps/{step:06d}" for step in STEPS), cell]
        tokens, ended = [], []
        chosen = [row.problem for row in runs.read_rows(places[1] / "rows/chains.jsonl")]
        assert len(chosen) == PROBLEMS
        for place in places:
            rows = [row for row in runs.read_rows(place / "rows/chains.jsonl") if row.problem in chosen]
            tokens.append(np.mean([row.tokens for row in rows]))
            ended.append(np.mean([row.finished for row in rows]))
        growth = [now / min(tokens[: k + 1]) - 1 for k, now in enumerate(tokens)]
        assert signals["length"]["strength"][seed] == pytest.approx(max(np.array(growth)[seen]))
        places_over = [step for step, value in zip(POINTS, growth, strict=True) if value >= 0.2]
        assert signals["length"]["alarm"][seed] == (places_over[0] if places_over else None)
        fall = [max(ended[: k + 1]) - now for k, now in enumerate(ended)]
        assert signals["finished"]["strength"][seed] == pytest.approx(max(np.array(fall)[seen]))


def test_a_dip_is_led_and_other_shapes_are_counted_apart(task: dict[str, Any], tmp_path: Path) -> None:
    """The same records beside accuracies of a given shape."""
    spec, _ = read_run_spec(whole())
    arms = read_arms(spec, whole(), "cued")
    turn = {name: {"value": value, "n": 9, "ci": None} for name, value in (("size", 0.2), ("step", 8), ("undone", 0.1))}

    def with_shape(shape: str) -> dict[str, Any]:
        given = copy.deepcopy(task)
        curve = given["arms"]["sft"]["trajectory"]["tasks"]["chains"]["curve"]
        curve |= {"shape": shape, "turn": turn if shape in ("dip-recover", "peak-decline") else None}
        early_warning.add_warnings(spec, given, arms, arms["base"], whole())
        return given

    dip = with_shape("dip-recover")
    mine = dip["arms"]["sft"]["warning"]["tasks"]["far"]
    assert (mine["trough"]["value"], mine["bracket"], mine["dips"]) == (8, [4, 12], True)
    alarms = mine["signals"]["token_accuracy"]["alarm"]
    assert None not in alarms, "sixteen demonstrations are learnt by heart"
    assert mine["signals"]["token_accuracy"]["lead"]["value"] == pytest.approx(8 - np.mean(alarms))
    pooled = dip["warning"]
    assert (pooled["dips"], pooled["calm"], pooled["declines"]) == (["sft:far"], [], [])
    verdict = pooled["signals"]["token_accuracy"]
    assert verdict["hits"]["value"] == np.mean([step <= 8 for step in alarms])
    assert verdict["false"] == {"value": None, "n": 0, "ci": None, "curves": {"value": None, "n": 0, "ci": None}}
    flat = with_shape("flat")
    assert flat["arms"]["sft"]["warning"]["tasks"]["far"]["trough"] is None
    assert flat["warning"]["signals"]["token_accuracy"]["false"]["value"] == 1
    assert flat["warning"]["calm"] == ["sft:far"]
    decline = with_shape("peak-decline")
    assert decline["arms"]["sft"]["warning"]["tasks"]["far"]["trough"] is None, "a peak is no trough"
    assert decline["warning"]["signals"]["token_accuracy"]["declines"]["value"] == 1
    assert decline["warning"]["signals"]["token_accuracy"]["false"]["n"] == 0
