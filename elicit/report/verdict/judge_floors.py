"""Facts about floors: what costs next to nothing, and whether an arm beats it."""

from __future__ import annotations

from elicit.report.data.summary_view import Arm, ModelPanel
from elicit.report.verdict.arm_facts import Floor, FloorComparison
from elicit.report.verdict.judge_samples import find_corrected_side


def describe_floor(floor: Arm) -> Floor:
    """A floor by its name, its method's words and its accuracy."""
    return Floor(floor.name, floor.traits.floor, floor.accuracy)


def judge_floors(panel: ModelPanel, arm: Arm) -> tuple[FloorComparison, ...]:
    """The difference of an arm to each floor that was measured."""
    differences = [(floor, arm.read_difference("vs_floors", floor.name)) for floor in panel.floors]
    return tuple(
        FloorComparison(find_corrected_side(difference), describe_floor(floor), difference.estimate)
        for floor, difference in differences
        if difference.estimate.bounded
    )
