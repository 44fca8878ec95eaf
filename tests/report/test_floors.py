"""Floors: what a run knows of them, and what the verdict makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from elicit import runs
from elicit.comparison.reader import read_run_spec
from elicit.comparison.summary.summarise import summarise_run
from elicit.comparison.verify import verify_run
from elicit.report.data.summary_view import read_panels
from elicit.report.verdict.caution_facts import MissingFloor
from elicit.report.verdict.kinds import Comparison
from tests.report.support import ARMS, RECORDS, arm, make_run, says, summary, versus
from tests.report.verdict_support import find_arm, judge_model

FLOORS = {"forbid_first": {"method": "forbid_first"}, "best_prompt": {"method": "best_prompt"}}
LEVELS = {"forbid_first": 0.9, "best_prompt": 0.3}


def floors() -> dict[str, dict[str, object]]:
    return {name: arm(level, method=name, gap_recovered=None, gap_ci=None) for name, level in LEVELS.items()}


def against(accuracy: float) -> dict[str, object]:
    return {"vs_floors": {name: versus(accuracy - level) for name, level in LEVELS.items()}}


def test_floors_stand_with_the_base_and_make_no_mechanism() -> None:
    data = summary(mean_steering=arm(0.92, **against(0.92)), **floors())
    (panel,) = read_panels(data)
    roles = {one.name: (one.role, one.family.key) for one in panel.arms}
    assert roles["forbid_first"] == roles["best_prompt"] == ("floor", "frame")
    verdict = judge_model(data)
    assert [floor.name for floor in verdict.floors] == list(LEVELS)
    assert {mechanism.level.arm for mechanism in verdict.opening.mechanisms} == {"mean_steering", "sft"}


def test_a_floor_that_is_not_beaten_is_named() -> None:
    data = summary(mean_steering=arm(0.92, **against(0.92)), cot=arm(0.25, method="cot_decoding", **against(0.25)))
    data["models"]["m"]["tasks"]["addition"]["arms"] |= floors()
    verdict = judge_model(data)
    kinds = {c.floor.name: c.kind for c in find_arm(verdict, "mean_steering").floors}
    assert kinds == {"forbid_first": Comparison.EQUAL, "best_prompt": Comparison.MORE}
    assert [c.floor.label for c in find_arm(verdict, "mean_steering").unbeaten] == [
        "forbidding the likeliest first token"
    ]
    assert {c.floor.name for c in find_arm(verdict, "cot").unbeaten} == set(LEVELS)


@pytest.mark.parametrize("there", [(), ("forbid_first",), ("forbid_first", "best_prompt")])
def test_missing_floors_are_said_where_something_gains(there: tuple[str, ...]) -> None:
    known = {name: entry for name, entry in floors().items() if name in there}
    missing = tuple(name for name in ("best_prompt", "forbid_first") if name not in there)
    gains = judge_model(summary(mean_steering=arm(0.9), **known)).cautions
    assert [caution.methods for caution in gains if isinstance(caution, MissingFloor)] == ([missing] if missing else [])
    none = judge_model(summary(sft=0.05, mean_steering=arm(0.05), **known)).cautions
    assert not any(isinstance(caution, MissingFloor) for caution in none)


def test_every_arm_of_a_run_is_paired_with_the_floors(tmp_path: Path) -> None:
    records = {**RECORDS, "best_prompt": {"ceiling": None}}
    right = {"forbid_first": 9, "mean_steering": 9, "sft": 6}

    def answers(cell, problem, index):  # type: ignore[no-untyped-def]
        return f"#{problem.answer}" if index % 10 < right.get(cell.arm, 0) else says(cell, problem, 9)

    make_run(tmp_path, arms={**ARMS, **FLOORS}, records=records, completion=answers)
    (model,) = summarise_run(tmp_path)["models"].values()
    (task,) = model["tasks"].values()
    assert [ceiling["arm"] for ceiling in task["ceilings"] if ceiling["kind"] != "base_pass@k"] == ["cue_prompt"]
    differences = {
        name: {floor: versus["difference"] for floor, versus in entry["vs_floors"].items()}
        for name, entry in task["arms"].items()
        if "vs_floors" in entry
    }
    assert differences["mean_steering"] == pytest.approx({"forbid_first": 0.0, "best_prompt": 0.9})
    assert differences["sft"] == pytest.approx({"forbid_first": -0.3, "best_prompt": 0.6})
    assert differences.keys().isdisjoint(["base", *FLOORS])
    assert read_run_spec(tmp_path)[0].arms.keys() >= FLOORS.keys()


@pytest.mark.parametrize(("ceiling", "share"), [(None, 1 / 3), ("best prompt", None)])
def test_a_floor_alone_has_a_share_of_the_gap_and_a_ceiling_has_none(
    ceiling: str | None, share: float | None, tmp_path: Path
) -> None:
    """The best prompt of an organism, whose cue is left out, and that of another model."""

    def answers(cell, problem, index):  # type: ignore[no-untyped-def]
        return f"#{problem.answer}" if cell.arm == "best_prompt" and index % 10 < 3 else says(cell, problem, index)

    records = {**RECORDS, "best_prompt": {"ceiling": ceiling}}
    make_run(tmp_path, arms={**ARMS, **FLOORS}, records=records, completion=answers)
    (panel,) = read_panels(summarise_run(tmp_path))
    arms = {one.name: one for one in panel.arms}
    assert arms["best_prompt"].role == ("floor" if ceiling is None else "ceiling")
    assert arms["best_prompt"].gap.value == (None if share is None else pytest.approx(share))
    assert (arms["cue_prompt"].role, arms["cue_prompt"].gap.value) == ("ceiling", None)


def test_a_summary_from_before_there_were_floors_verifies_and_a_changed_one_does_not(tmp_path: Path) -> None:
    make_run(tmp_path, arms={**ARMS, **FLOORS}, records={**RECORDS, "best_prompt": {"ceiling": None}})
    path = tmp_path / "summary.json"
    printed = runs.read_run_json(path)
    arms = printed["models"]["cued"]["tasks"]["addition"]["arms"]
    kept = {name: entry.pop("vs_floors", None) for name, entry in arms.items()}
    runs.write_json(path, printed)
    assert verify_run(tmp_path).differences == []
    arms["sft"]["vs_floors"] = kept["sft"]
    runs.write_json(path, printed)
    assert any("vs_floors" in line for line in verify_run(tmp_path).differences)  # other arms have none of theirs
    arms["sft"]["vs_floors"]["forbid_first"]["difference"] += 0.01
    arms |= {name: {**entry, "vs_floors": kept[name]} for name, entry in arms.items() if kept[name] and name != "sft"}
    runs.write_json(path, printed)
    (line,) = verify_run(tmp_path).differences
    assert "sft.vs_floors.forbid_first.difference" in line
