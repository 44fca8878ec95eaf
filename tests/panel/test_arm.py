"""A panel's setting as a spec: it runs as it stands, and its arm is the edit that the panel showed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import elicit
import saes
from elicit.comparison.spec import read_spec
from elicit.errors import ElicitError
from elicit.methods.catalog import configure_method
from elicit.panel import SteeringPanel


@pytest.fixture(scope="module")
def panel():
    return SteeringPanel(elicit.load("cued"), saes.load("cued/L1"), elicit.tasks.get("addition"), feature=5, n=2)


@pytest.mark.parametrize(
    "changes", [{"strength": 2.0}, {"strength": 1.5, "positions": "first:2"}, {"mode": "ablate", "strength": 1.0}]
)
def test_the_arm_is_the_panels_edit(panel, changes, tmp_path: Path):
    panel.set(mode="add", positions="first", strength=1.0)
    panel.set(**changes)
    text = panel.to_spec(tmp_path / "arm.yaml")
    spec = read_spec(tmp_path / "arm.yaml")
    assert spec.arms.keys() == yaml.safe_load(text)["arms"].keys()
    assert "feature_5/random_vector" in spec.arms
    options = dict(yaml.safe_load(text)["arms"]["feature_5"])
    policy = configure_method(options.pop("method"), options).fit(panel.model, panel.task, seed=0, needs={})
    (edit,) = policy.steering
    shown = panel.steering
    assert (edit.layer, edit.mode, edit.positions, edit.strength) == (1, shown.mode, shown.positions, shown.strength)
    assert edit.direction.equal(shown.direction)
    assert edit.absolute == pytest.approx(shown.absolute, rel=0.05)


def test_what_cannot_be_an_arm_is_refused(panel, tmp_path: Path):
    panel.set(mode="add", positions="first", strength=0.0)
    with pytest.raises(ElicitError, match=r"panel\.set\(strength=2\)"):
        panel.to_spec()
    panel.set(mode="clamp", strength=1.0)
    with pytest.raises(ElicitError, match="Set mode=add"):
        panel.to_spec()
    panel.set(mode="add", strength=1.0)
    (tmp_path / "there.yaml").write_text("mine")
    with pytest.raises(ElicitError, match="is there already"):
        panel.to_spec(tmp_path / "there.yaml")
    assert (tmp_path / "there.yaml").read_text() == "mine"
