"""The arm that others are compared with may have any name: `reference:` in a spec."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from elicit.comparison.spec import check_form, check_spec
from elicit.comparison.summary.summarise import summarise_run
from elicit.errors import ElicitError
from elicit.report.data.summary_view import read_panels
from tests.support.comparisons import SPEC, reference


def _spec(**fields: Any) -> dict[str, Any]:
    data = copy.deepcopy(SPEC)
    data["arms"] = {"tuned" if name == "sft" else name: arm for name, arm in data["arms"].items()}
    return {**data, **fields}


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """The shared run, its arm `sft` under another name."""
    run = tmp_path / "run"
    shutil.copytree(reference(), run)
    for folder in (run / "cells").glob("*/sft"):
        folder.rename(folder.with_name("tuned"))
    return run


def test_differences_are_those_to_the_arm_that_the_spec_names(renamed: Path) -> None:
    before = summarise_run(reference())["models"]["cued"]["tasks"]["addition"]["arms"]
    spec = yaml.safe_load((renamed / "spec.yaml").read_text())
    arms = _spec()["arms"]
    (renamed / "spec.yaml").write_text(yaml.safe_dump({**spec, "arms": arms}, sort_keys=False))
    without = summarise_run(renamed)["models"]["cued"]["tasks"]["addition"]
    assert all(entry["vs_sft"] is None for entry in without["arms"].values())

    (renamed / "spec.yaml").write_text(yaml.safe_dump({**spec, "arms": arms, "reference": "tuned"}, sort_keys=False))
    summary = json.loads(json.dumps(summarise_run(renamed)))
    task = summary["models"]["cued"]["tasks"]["addition"]
    assert task["arms"]["mean_steering"]["vs_sft"] == json.loads(json.dumps(before["mean_steering"]["vs_sft"]))
    assert task["arms"]["mean_steering"]["vs_sft"]["difference"] is not None
    assert task["arms"]["tuned"]["vs_sft"] is None
    (panel,) = read_panels(summary)
    assert {arm.name: arm.role for arm in panel.arms}["tuned"] == "reference"


@pytest.mark.parametrize(
    ("name", "message"),
    [("sft", "reference: unknown arm 'sft'"), ("mean_steering", "'mean_steering' is not supervised fine-tuning")],
)
def test_the_reference_is_an_arm_of_fine_tuning(name: str, message: str) -> None:
    with pytest.raises(ElicitError) as error:
        check_spec(_spec(reference=name))
    assert message in str(error.value)


def test_a_control_of_another_method_is_refused_in_a_spec_and_read_in_a_run() -> None:
    data = _spec()
    data["arms"]["mean_steering/random"] = {"method": "grpo_random_reward"}
    with pytest.raises(ElicitError, match="'mean_steering' is an arm of another method"):
        check_spec(data)
    assert "mean_steering/random" in check_form(data).arms, "a run that was made before can be read"


def test_a_spec_without_one_is_as_it_was() -> None:
    assert "reference" not in check_spec(SPEC).to_dict()
    assert check_spec(_spec(reference="tuned")).to_dict()["reference"] == "tuned"
