"""What arms gain on the target task and lose in refusing, where a spec has a refusal task off target. Imports no torch.

off_target:
  refusal: {task: refusal, of: addition}
  twin: {task: refusal, of: addition, marked: false}     # optional: over-refusal

In the summary, `asymmetry` of an arm is null or {refusal label: what `elicit.analysis.asymmetry` finds, with the label
of the unmarked twin}. Steps are those of the arm's checkpoints and its end; an arm without checkpoints has one, an arm
that was not trained the step 0. At its end an arm is judged on all test problems, on the way on those that were asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elicit.analysis.asymmetry import Answers, asymmetry
from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.summary import score_tables
from elicit.comparison.summary.trajectories import trainings
from elicit.method import Method
from elicit.schema import Row
from elicit.tasks.catalog import REFUSAL

#: Rows by task label and seed.
Rows = Mapping[str, Sequence[Sequence[Row]]]


def asymmetries(
    spec: Spec, methods: Mapping[str, Method], arms: Mapping[str, ArmData], base: str | None, run: Path
) -> dict[str, dict[str, Any] | None]:
    """Arm -> its `asymmetry`; null for the base itself, and where the arm or the base has no rows."""
    pairs = _twins(spec)
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(arms)
    if base is None or not pairs:
        return found
    for arm, data in arms.items():
        if spec.arms[arm]["method"] == "base":
            continue
        points = _points(spec, arm, data, run)
        drawn = {
            label: one
            for label, twin in pairs.items()
            if (one := _asymmetry(spec, label, twin, arms[base].rows, points, methods[arm].traits.trained)) is not None
        }
        found[arm] = drawn or None
    return found


def _twins(spec: Spec) -> dict[str, str | None]:
    """Refusal task -> its unmarked twin, by label."""
    asked = {label: dict(one) for label, one in spec.off_target.items() if one.get("task") == REFUSAL}
    twins = {label: one for label, one in asked.items() if one.get("marked", True) is False}
    found: dict[str, str | None] = {}
    for label, one in asked.items():
        if label not in twins:
            own = {**one, "marked": False}
            found[label] = next((other for other, two in twins.items() if two == own), None)
    return found


def _points(spec: Spec, arm: str, data: ArmData, run: Path) -> dict[int, Rows]:
    """Step -> what the arm answered then, the end last."""
    labels = [spec.task_label, *spec.off_target]
    end = max((int((record.get("train") or {}).get("steps") or 0) for record in data.records), default=0)
    found: dict[int, Rows] = {}
    followed = trainings(data, labels, run) if checkpoints.asked(spec.arms[arm]) else []
    if followed:
        end = max(one.last for one in followed)
        shared = set.intersection(*({step for step in one.found if 0 < step < one.last} for one in followed))
        for step in sorted(shared):
            found[step] = {label: [one.at(step, label) for one in followed] for label in labels}
    return {**found, end: data.rows}


def _asymmetry(
    spec: Spec, label: str, twin: str | None, base: Rows, points: Mapping[int, Rows], trained: bool
) -> dict[str, Any] | None:
    target = spec.task_label
    reasoning, refusal = (_answers(one, base, points) for one in (target, label))
    over = None if twin is None else _answers(twin, base, points)
    if reasoning is None or refusal is None:
        return None
    shared = score_tables.ids(base[target]) == score_tables.ids(base[label])
    found = asymmetry(list(points), reasoning, refusal, twin=over, shared=shared, trained=trained)
    return {"twin": twin if over is not None else None, **found.to_json()}


def _answers(label: str, base: Rows, points: Mapping[int, Rows]) -> Answers | None:
    """Right or not, in the base's order of problems; None as soon as a point has no rows."""
    order = score_tables.ids(base[label])
    start = score_tables.scores(base[label], order)
    arm: list[np.ndarray] = []
    for rows in points.values():
        table = score_tables.scores(rows[label], order)
        if table is None:
            return None
        arm.append(table)
    return None if start is None else Answers(start, tuple(arm))
