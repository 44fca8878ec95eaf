"""Safety tax: gain on the target task against loss of refusal, in specs with an off-target refusal task. No torch.

off_target:
  refusal: {task: refusal, of: addition}
  twin: {task: refusal, of: addition, marked: false}     # optional: over-refusal

In the summary, `asymmetry` of an arm is null or {refusal label: the result of `elicit.analysis.asymmetry`, with the
label of the unmarked twin}. Steps are the arm's checkpoints and its end; an arm without checkpoints has only its end,
an untrained arm step 0. The end is judged on all test problems, a checkpoint on those that it answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elicit.analysis.asymmetry import Answers, measure_asymmetry
from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.summary import score_tables
from elicit.comparison.summary.trajectories import read_trainings
from elicit.method import Method
from elicit.schema import Row
from elicit.tasks.catalog import REFUSAL

#: Rows by task label and seed.
Rows = Mapping[str, Sequence[Sequence[Row]]]


def compute_asymmetries(
    spec: Spec, methods: Mapping[str, Method], arms: Mapping[str, ArmData], base: str | None, run: Path
) -> dict[str, dict[str, Any] | None]:
    """Arm -> its `asymmetry`; null for the base itself, and where the arm or the base has no rows."""
    pairs = _pair_refusal_tasks(spec)
    by_arm: dict[str, dict[str, Any] | None] = dict.fromkeys(arms)
    if base is None or not pairs:
        return by_arm
    for arm, data in arms.items():
        if methods[arm].traits.untouched:
            continue
        points = _collect_rows_by_step(spec, arm, data, run)
        by_label = {
            label: figures
            for label, twin in pairs.items()
            if (figures := _compute_asymmetry(spec, label, twin, arms[base].rows, points, methods[arm].traits.trained))
            is not None
        }
        by_arm[arm] = by_label or None
    return by_arm


def _pair_refusal_tasks(spec: Spec) -> dict[str, str | None]:
    """Label of each refusal task -> label of its unmarked twin."""
    refusals = {
        label: dict(description) for label, description in spec.off_target.items() if description.get("task") == REFUSAL
    }
    twins = {label: description for label, description in refusals.items() if description.get("marked", True) is False}
    pairs: dict[str, str | None] = {}
    for label, description in refusals.items():
        if label not in twins:
            unmarked = {**description, "marked": False}
            pairs[label] = next((other for other, two in twins.items() if two == unmarked), None)
    return pairs


def _collect_rows_by_step(spec: Spec, arm: str, data: ArmData, run: Path) -> dict[int, Rows]:
    """Collect the arm's rows by step, the end last."""
    labels = [spec.task_label, *spec.off_target]
    end = max((int((record.get("train") or {}).get("steps") or 0) for record in data.records), default=0)
    rows_by_step: dict[int, Rows] = {}
    followed = read_trainings(data, labels, run) if checkpoints.checkpoint_steps(spec.arms[arm]) else []
    if followed:
        end = max(training.last for training in followed)
        shared = set.intersection(
            *({step for step in training.checkpoints if 0 < step < training.last} for training in followed)
        )
        for step in sorted(shared):
            rows_by_step[step] = {label: [training.rows_at(step, label) for training in followed] for label in labels}
    return {**rows_by_step, end: data.rows}


def _compute_asymmetry(
    spec: Spec, label: str, twin: str | None, base: Rows, points: Mapping[int, Rows], trained: bool
) -> dict[str, Any] | None:
    target = spec.task_label
    reasoning, refusal = (_collect_answers(task_label, base, points) for task_label in (target, label))
    over = None if twin is None else _collect_answers(twin, base, points)
    if reasoning is None or refusal is None:
        return None
    shared = score_tables.list_problem_ids(base[target]) == score_tables.list_problem_ids(base[label])
    result = measure_asymmetry(list(points), reasoning, refusal, twin=over, shared=shared, trained=trained)
    return {"twin": twin if over is not None else None, **result.to_json()}


def _collect_answers(label: str, base: Rows, points: Mapping[int, Rows]) -> Answers | None:
    """Correctness of every answer, in the base's order of problems; None if any point lacks rows."""
    order = score_tables.list_problem_ids(base[label])
    start = score_tables.tabulate_scores(base[label], order)
    arm: list[np.ndarray] = []
    for rows in points.values():
        table = score_tables.tabulate_scores(rows[label], order)
        if table is None:
            return None
        arm.append(table)
    return None if start is None else Answers(start, tuple(arm))
