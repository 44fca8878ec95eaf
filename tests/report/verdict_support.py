"""Reads the facts of a verdict for tests."""

from __future__ import annotations

from typing import Any

import pytest

from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.verdict import Verdict, judge_summary
from elicit.report.verdict.arm_facts import ArmFacts
from elicit.report.verdict.facts import FamilyFacts
from elicit.report.verdict.kinds import ControlEffect


def judge_model(data: dict[str, Any]) -> Verdict:
    """The verdict on the only model."""
    (verdict,) = judge_summary(data)
    return verdict


def find_arm(verdict: Verdict, name: str) -> ArmFacts:
    (facts,) = [facts for facts in verdict.arms if facts.arm.name == name]
    return facts


def find_family(verdict: Verdict, key: str) -> FamilyFacts:
    (family,) = [family for family in verdict.families if key in family.families]
    return family


def around(value: float, half: float = 0.04) -> Any:
    """A paired difference as `versus` makes it."""
    return pytest.approx(OptionalEstimate(value, value - half, value + half, 100, True))


def map_effects(facts: ArmFacts) -> dict[str, ControlEffect]:
    """Control -> effect."""
    assert facts.specificity is not None
    return {control.label: control.effect for control in facts.specificity.controls}
