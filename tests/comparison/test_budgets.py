"""Budget curves in a spec: points are arms, expanded once and for all."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from elicit.comparison.reader import read_run_spec
from elicit.comparison.running.corrections import remove_arms
from elicit.comparison.spec import check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.errors import ElicitError
from tests.support.comparisons import elicit, figures, rows, write_spec

SPEC: dict[str, Any] = {
    "models": ["cued", "incapable"],
    "task": "addition",
    "arms": {
        "base": {"method": "base"},
        "sft": {"method": "sft", "demonstrations": 8, "epochs": 2, "checkpoints": [1]},
        "sft/random": {"method": "sft", "demonstrations": 8, "epochs": 2, "supervision": "random"},
        "self_consistency": {"method": "self_consistency", "n": 4},
        "grpo": {"method": "grpo", "steps": 4},
        "grpo/random_reward": {"method": "grpo_random_reward", "steps": 4},
    },
    "budgets": {"sft": {"demonstrations": [2, 16], "epochs": [4]}, "grpo": {"steps": [2]}},
    "panels": {"incapable": {"arms": ["base", "sft", "grpo"]}},
    "test": 10,
}


def _changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SPEC), **fields}


def test_a_value_is_an_arm_behind_its_own_with_that_option_changed():
    spec = check_spec(SPEC)
    assert list(spec.arms) == [
        *("base", "sft", "sft/demonstrations-2", "sft/demonstrations-16", "sft/epochs-4", "sft/random"),
        *("self_consistency", "grpo", "grpo/steps-2", "grpo/random_reward"),
    ]
    assert spec.arms["sft/demonstrations-2"] == {"method": "sft", "demonstrations": 2, "epochs": 2}
    assert spec.arms["sft/epochs-4"] == {"method": "sft", "demonstrations": 8, "epochs": 4}
    assert spec.arms["grpo/steps-2"] == {"method": "grpo", "steps": 2}
    assert spec.arms["sft"] == SPEC["arms"]["sft"]


def test_a_panel_that_names_an_arm_has_its_points():
    assert list(check_spec(SPEC).for_model("incapable").arms) == [
        *("base", "sft", "sft/demonstrations-2", "sft/demonstrations-16", "sft/epochs-4", "grpo", "grpo/steps-2")
    ]


def test_an_expanded_spec_reads_back_as_itself():
    spec = check_spec(SPEC)
    text = yaml.safe_dump(spec.to_dict(), sort_keys=False)
    again = check_spec(yaml.safe_load(text))
    assert again == spec
    assert yaml.safe_dump(again.to_dict(), sort_keys=False) == text
    assert [cell.fingerprint for cell in list_cells(again)] == [cell.fingerprint for cell in list_cells(spec)]


def test_a_spec_without_points_has_the_fields_that_it_had():
    assert "budgets" not in check_spec(_changed(budgets={})).to_dict()


def test_more_points_leave_the_fingerprints_of_all_other_arms():
    before = {cell.name: cell.fingerprint for cell in list_cells(check_spec(_changed(budgets={})))}
    after = {cell.name: cell.fingerprint for cell in list_cells(check_spec(SPEC))}
    assert before.items() < after.items()
    assert len(set(after.values())) == len({name.rpartition("/")[0] for name in after})


def test_a_dropped_point_does_not_come_back():
    spec = remove_arms(check_spec(SPEC), ["sft/demonstrations-16", "sft/epochs-4"], where="spec")
    assert spec.budgets == {"sft": {"demonstrations": [2]}, "grpo": {"steps": [2]}}
    assert [arm for arm in spec.arms if arm.startswith("sft/")] == ["sft/demonstrations-2", "sft/random"]
    whole = remove_arms(check_spec(SPEC), ["sft"], where="spec")
    assert whole.budgets == {"grpo": {"steps": [2]}}
    assert "sft" not in whole.arms


def test_points_of_an_arm_that_searches_search_too():
    arms = {**SPEC["arms"], "sft": {"method": "sft", "search": {"epochs": [1, 2]}}}
    spec = check_spec(_changed(arms=arms, budgets={"sft": {"demonstrations": [2]}}))
    assert spec.arms["sft/demonstrations-2"] == {**arms["sft"], "demonstrations": 2}
    with pytest.raises(ElicitError, match="budgets: sft: epochs"):
        check_spec(_changed(arms=arms, budgets={"sft": {"epochs": [2]}}))


@pytest.mark.parametrize(
    ("budgets", "named"),
    [
        ([4], "budgets"),
        (None, "budgets"),
        ({"sft": 4}, "budgets: sft"),
        ({"sft": {}}, "budgets: sft"),
        ({"sft": {"demonstrations": []}}, "budgets: sft: demonstrations"),
        ({"sft": {"demonstrations": 4}}, "budgets: sft: demonstrations"),
        ({"sft": {"demonstrations": [[4]]}}, "budgets: sft: demonstrations"),
        ({"sft": {"supervision": ["direct"]}}, "budgets: sft: supervision"),
        ({"sft": {"demonstrations": [True]}}, "budgets: sft: demonstrations"),
        ({"sft": {"demonstrations": [4, 4.0]}}, "budgets: sft: demonstrations"),
        ({"sft": {"demonstrations": [8]}}, "budgets: sft: demonstrations: 8"),
        ({"sft": {"batch_size": [8]}}, "budgets: sft: batch_size: 8"),  # the method's own
        ({"sft": {"demonstrations": [-1]}}, "sft/demonstrations--1"),
        ({"sft": {"demonstrations": [0.5]}}, "sft/demonstrations-0.5"),
        ({"sft": {"demos": [4]}}, "option 'demos'"),
        ({"sfd": {"demonstrations": [4]}}, "arm 'sfd'"),
        ({"base": {"n": [4]}}, "option 'n'"),
        ({"grpo/random_reward": {"steps": [8]}}, "arm 'grpo/random_reward' is a control"),
        ({"sft/random": {"epochs": [8]}}, "arm 'sft/random' is a control"),
    ],
)
def test_what_is_wrong_with_a_point_is_one_line(budgets, named):
    with pytest.raises(ElicitError) as error:
        check_spec(_changed(budgets=budgets), where="x.yaml")
    assert str(error.value).startswith("x.yaml: ")
    assert "\n" not in str(error.value)
    assert named in str(error.value)


def test_a_point_may_not_take_the_name_of_another_arm():
    arms = {**SPEC["arms"], "sft/demonstrations-2": {"method": "sft", "demonstrations": 3}}
    with pytest.raises(ElicitError, match="'sft/demonstrations-2'"):
        check_spec(_changed(arms=arms))


#: In this process: workers start by importing torch.
ALONE = ("--workers", "1")


def test_a_finished_run_takes_more_points_without_fitting_anything_again(tmp_path):
    """As a plan too; and a point leaves a run only where it is dropped."""
    arms = {"base": {"method": "base"}, "sft": {"method": "sft", "demonstrations": 4, "epochs": 1}}
    data = {"models": ["cued"], "task": "addition", "arms": arms, "test": 6, "kl_problems": 0}
    run = tmp_path / "run"
    assert elicit("run", write_spec(tmp_path, data), "--out", run, *ALONE).code == 0
    before = {path: path.read_bytes() for path in run.glob("cells/**/status.json")}
    more = {**data, "budgets": {"sft": {"demonstrations": [2]}}}
    plan = elicit("run", write_spec(tmp_path, more), "--out", run, "--plan")
    assert plan.code == 0
    assert "3 (2 finished)" in plan.out
    assert elicit("run", write_spec(tmp_path, more), "--out", run, *ALONE).code == 0
    assert len(before) == 2
    assert all(path.read_bytes() == content for path, content in before.items())
    assert list(rows(run))
    assert "sft/demonstrations-2" in figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]
    assert elicit("verify", run).code == 0
    fewer = elicit("run", write_spec(tmp_path, data), "--out", run, *ALONE)
    assert fewer.code == 2
    assert "--drop sft/demonstrations-2" in fewer.err
    dropped = elicit("run", write_spec(tmp_path, more), "--out", run, *ALONE, "--drop", "sft/demonstrations-2")
    assert dropped.code == 0
    assert list(read_run_spec(run)[0].arms) == ["base", "sft"]
