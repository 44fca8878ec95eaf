"""Teaching leak, and what a model was taught: from cards, or from what a cell recorded of its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.summary.contrasts import compute_leak
from elicit.comparison.summary.summarise import summarise_run
from tests.support.rundirs import Told, make, right, wrong

ARMS = {"base": {"method": "base"}, "sft": {"method": "sft"}}


def test_leak_is_what_the_arm_gains_where_there_was_nothing(tmp_path: Path) -> None:
    told = {
        "cued/base/0": Told([wrong()] * 4),
        "cued/sft/0": Told([right()] * 4),
        "incapable/base/0": Told([wrong()] * 4),
        "incapable/sft/0": Told([right(), wrong(), wrong(), wrong()]),
        "mine/base/0": Told([wrong()] * 4),
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text("{}")
    models = {"cued": "cued", "incapable": "incapable", "mine": str(tmp_path / "mine")}
    make(tmp_path / "run", {"models": models, "arms": ARMS, "test": 4}, told)
    summary = summarise_run(tmp_path / "run")["models"]
    assert [summary[model]["capable"] for model in models] == [True, False, None]
    arms = {model: summary[model]["tasks"]["addition"]["arms"] for model in models}
    found = arms["cued"]["sft"]["leak"]
    gained = arms["incapable"]["sft"]["vs_base"]
    # Corrected within the verdict of each model: on `cued` with the gain there, of which the smaller p counts double.
    assert (gained["p"], gained["p_holm"], gained["holm_tests"]) == (1, 1, 1)
    assert found == {"model": "incapable", **gained, "holm_tests": 2}
    beside = arms["cued"]["sft"]["vs_base"]
    assert (beside["p_holm"], beside["holm_tests"]) == (2 * beside["p"], 2)
    assert beside["p"] < 0.5
    assert found["difference"] == 0.25
    assert arms["cued"]["base"]["leak"] is arms["incapable"]["sft"]["leak"] is arms["mine"]["base"]["leak"] is None


def test_the_largest_leak_of_several_counts_and_only_on_the_same_task() -> None:
    def entry(capable: bool | None, difference: float | None, label: str = "addition") -> dict[str, Any]:
        versus = None if difference is None else {"difference": difference}
        return {"capable": capable, "tasks": {label: {"arms": {"sft": {"vs_base": versus}}}}}

    models = {
        "able": entry(True, 0.9),
        "a": entry(False, 0.02),
        "b": entry(False, -0.05),
        "none": entry(False, None),
        "other task": entry(False, 0.8, "mod_chain"),
        "unknown": entry(None, 0.7),
    }
    assert compute_leak(models, "able", "addition", "sft") == {"model": "b", "difference": -0.05}
    assert compute_leak(models, "a", "addition", "sft") is None
    assert compute_leak(models, "unknown", "addition", "sft") is None
    assert compute_leak({"able": models["able"], "a": models["none"]}, "able", "addition", "sft") is None


def test_a_model_that_was_not_taught_the_task_at_hand_is_not_called_capable(tmp_path: Path) -> None:
    make(tmp_path, {"task": "countdown", "arms": ARMS, "test": 2}, {"cued/base/0": Told([wrong()] * 2)})
    assert summarise_run(tmp_path)["models"]["cued"]["capable"] is None


def test_what_a_cell_recorded_counts_where_the_model_is_gone(tmp_path: Path) -> None:
    make(tmp_path, {"models": {"mine": "./gone"}, "arms": ARMS, "test": 2}, {"mine/base/0": Told([wrong()] * 2)})
    (path,) = tmp_path.glob("cells/mine/base/**/status.json")
    state = runs.read_run_json(path)
    for families, capable in ((["addition"], True), (["mod_chain"], None)):
        runs.write_json(path, {**state, "model": {"dialect": None, "families": families, "capable": True}})
        assert summarise_run(tmp_path)["models"]["mine"]["capable"] is capable
