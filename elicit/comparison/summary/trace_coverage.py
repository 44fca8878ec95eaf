"""What can be told of the traces on a task: a rate that nothing could raise above 0 is null. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from elicit.comparison.reader import ArmData
from elicit.tasks.catalog import is_generated


class TraceCoverage(NamedTuple):
    """Which rates of a task mean something."""

    form: bool
    """Whether worked steps are seen."""
    steps: bool
    """Whether steps are checked."""


def detect_trace_coverage(task: str, label: str, arms: Mapping[str, ArmData]) -> TraceCoverage:
    """What the rows of all arms show of a task's traces.

    A task whose problems a program draws reads and checks every step. Of others only the form is looked at (an
    equation, several sentences): where no answer of any arm has it, the form may just be one that is not known.

    Args:
        task: the task's name in its description.
        label: its label, which rows are found under.
    """
    if is_generated(task):
        return TraceCoverage(True, True)
    rows = [row for data in arms.values() for seed in data.rows[label] for row in seed]
    return TraceCoverage(any(row.has_trace for row in rows), any(row.trace_valid is not None for row in rows))
