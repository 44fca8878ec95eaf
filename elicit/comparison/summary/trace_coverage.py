"""Coverage of trace checks on a task: a rate that could never exceed 0 is reported as null. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from elicit.comparison.reader import ArmData
from elicit.tasks.catalog import is_generated


class TraceCoverage(NamedTuple):
    """Rates of a task that are meaningful."""

    form: bool
    """True if worked steps can be recognized."""
    steps: bool
    """True if steps are checked."""


def detect_trace_coverage(task: str, label: str, arms: Mapping[str, ArmData]) -> TraceCoverage:
    """Determine from the rows of all arms which trace rates of a task are meaningful.

    A generated task reads and checks every step. For other tasks only the form is recognized (an equation, several
    sentences): where no answer of any arm has it, the answers may be in a form that is not known here.

    Args:
        task: the task's name in its description.
        label: its label in the rows.
    """
    if is_generated(task):
        return TraceCoverage(True, True)
    rows = [row for data in arms.values() for seed in data.rows[label] for row in seed]
    return TraceCoverage(any(row.has_trace for row in rows), any(row.trace_valid is not None for row in rows))
