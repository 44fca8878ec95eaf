"""Models of one spec may have a task and arms of their own; everything else stays one comparison."""

from __future__ import annotations

import json

import pytest
import yaml

from elicit.comparison.spec import check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.errors import ElicitError
from tests.support.comparisons import elicit, with_arms, write_spec

TWO = {
    "models": ["cued", "serial"],
    "task": "addition",
    "arms": {
        **with_arms("base", "self_consistency"),
        "mean_steering": {"method": "mean_steering", "layers": [1], "strengths": [1.0], "train_problems": 8,
                          "select_problems": 8},
        "mean_steering/random_vector": {"method": "random_vector"},
    },
    "panels": {"serial": {"task": "mod_chain", "off_target": ["assign"], "arms": ["base", "mean_steering"], "test": 6}},
    "seeds": 2,
    "test": 10,
    "kl_problems": 2,
}  # fmt: skip


def _with_panel(**changes: object) -> dict[str, object]:
    return {**TWO, "panels": {"serial": {**TWO["panels"]["serial"], **changes}}}  # type: ignore[index]


def test_each_model_has_its_own_cells():
    found = [(cell.model, cell.arm) for cell in list_cells(check_spec(TWO))]
    assert {arm for model, arm in found if model == "serial"} == {"base", "mean_steering"}
    assert found.count(("cued", "mean_steering/random_vector")) == 2
    assert not any(arm.endswith("random_vector") for model, arm in found if model == "serial")


def test_a_model_alone_is_the_spec_that_one_would_have_written():
    alone = check_spec(
        {
            "models": ["serial"],
            "task": "mod_chain",
            "off_target": ["assign"],
            "arms": {arm: TWO["arms"][arm] for arm in ("base", "mean_steering")},  # type: ignore[index]
            "seeds": 2,
            "test": 6,
            "kl_problems": 2,
        }
    )
    assert check_spec(TWO).for_model("serial").to_dict() == alone.to_dict()
    of_two = {cell.name: cell.fingerprint for cell in list_cells(check_spec(TWO)) if cell.model == "serial"}
    assert of_two == {cell.name: cell.fingerprint for cell in list_cells(alone)}


def test_the_command_line_runs_verifies_and_reports_each_model_on_its_own_task(tmp_path):
    run = tmp_path / "run"
    done = elicit("run", write_spec(tmp_path, TWO), "--out", run, "--workers", "1")
    assert done.code == 0, done.err
    models = json.loads((run / "summary.json").read_text())["models"]
    assert {model: list(entry["tasks"]) for model, entry in models.items()} == {
        "cued": ["addition"],
        "serial": ["mod_chain"],
    }
    serial = models["serial"]["tasks"]["mod_chain"]
    assert serial["n"] == 6
    assert set(serial["arms"]) == {"base", "mean_steering"}
    assert serial["arms"]["mean_steering"]["steering"][0].startswith("add mean(continuations)@1")
    assert set(serial["arms"]["base"]["off_target"]) == {"assign"}
    assert elicit("verify", run).code == 0
    archive = tmp_path / "archive"
    assert elicit("archive", run, archive).code == 0
    assert elicit("verify", archive).code == 0
    page = (run / "report.html").read_text()
    assert "mod_chain" in page
    wider = _with_panel(arms=["base", "mean_steering", "self_consistency"])
    assert elicit("run", write_spec(tmp_path, wider), "--out", run, "--workers", "1").code == 0
    again = json.loads((run / "summary.json").read_text())["models"]["serial"]["tasks"]["mod_chain"]
    assert again["arms"]["self_consistency"]["n"] == 6
    other = elicit("run", write_spec(tmp_path, _with_panel(task="permutation")), "--out", run)
    assert other.code == 2
    assert "panels.serial was" in other.err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"panels": {"seral": {}}}, "panels: unknown model 'seral'. Did you mean 'serial'?"),
        ({"panels": {"serial": {"arms": ["bass"]}}}, "panels.serial: unknown arm 'bass'. Did you mean 'base'?"),
        ({"panels": {"serial": {"arms": ["mean_steering/random_vector"]}}}, "needs another arm: unknown arm"),
        ({"panels": {"serial": {"task": "mod_chian"}}}, "mod_chain"),
        ({"panels": {"serial": {"test": 0}}}, "panels.serial.test"),
        ({"panels": {"serial": {"color": 1}}}, "color"),
        ({"panels": {"serial": {"task": "assign", "off_target": ["assign"]}}}, "it cannot be off target too"),
    ],
)
def test_what_is_wrong_with_a_panel_is_said(changes, said):
    with pytest.raises(ElicitError) as caught:
        check_spec({**TWO, **changes}, where="spec.yaml")
    assert said in str(caught.value)
    assert str(caught.value).count("spec.yaml") == 1


def test_the_resolved_spec_reads_back_as_itself():
    spec = check_spec(TWO)
    assert check_spec(yaml.safe_load(yaml.safe_dump(spec.to_dict()))).to_dict() == spec.to_dict()
