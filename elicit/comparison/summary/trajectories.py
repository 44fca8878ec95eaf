"""Trajectories in `summary.json`: an arm's accuracy and other measures at every training checkpoint. No torch.

1. A trajectory goes from the base (step 0, the base arm's own rows) over the checkpoints that all finished seeds have
   to the end of training (the cell's own rows). Seeds that ended at different steps share the last point, which is
   named by the largest of them.
2. Its problems are the first `trajectory.problems` of every task that every seed answered at every one of these points,
   so that points differ by training alone. Estimates are those of the main tables (clustered by problem).
3. Losses, token accuracies, entropies, KL and perplexity are means over seeds of each cell's measurements.
4. The curve of accuracy is classified, and stopping at the lowest in-domain loss judged, by `elicit.analysis.curves`;
   both need three points and two problems, and are null otherwise. In domain means the *target* task for all tasks of
   an arm, or the training data itself (`taught`) for an arm that is trained on something other than worked solutions.

None of this enters any other figure: checkpoints are not arms, and their rows are not in any table, test or pass@k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.spec.checkpoints import CheckpointResult
from elicit.comparison.summary import score_tables
from elicit.comparison.summary.entries import mean_kl
from elicit.comparison.summary.trace_coverage import TraceCoverage
from elicit.schema import Row, finite_or_none

_PROBED = ("loss", "token_accuracy", "entropy")
_RATES: dict[str, Callable[[Row], float]] = {
    "accuracy": lambda row: float(row.correct),
    "trace_rate": lambda row: float(row.has_trace),
    "valid_trace_rate": lambda row: float(bool(row.trace_valid)),
    "finished_rate": lambda row: float(row.finished),
    "answered_rate": lambda row: float(row.answer is not None),
}


class FinishedTraining(NamedTuple):
    """A finished training run of one seed."""

    checkpoints: Mapping[int, CheckpointResult]
    last: int
    """Its last step."""
    final_rows: Mapping[str, list[Row]]
    """Task label -> rows of the finished policy."""

    def rows_at(self, step: int, label: str) -> list[Row]:
        """Rows of a checkpoint; those of the finished policy from its last step on."""
        return self.final_rows[label] if step >= self.last else self.checkpoints[step].rows[label]

    def metrics_at(self, step: int) -> Mapping[str, Any]:
        return self.checkpoints[min(step, self.last)].metrics


def summarise_trajectory(
    spec: Spec,
    arm: str,
    data: ArmData,
    base: ArmData | None,
    run: Path,
    tested: int,
    traces: Mapping[str, TraceCoverage],
) -> dict[str, Any] | None:
    """Summarise one arm's trajectory; None for an arm without checkpoints, or without a finished base.

    Args:
        base: data of the base arm, which is step 0.
        tested: number of test problems per task.
        traces: trace coverage of every task.
    """
    labels = [spec.task_label, *spec.off_target]
    followed = read_trainings(data, labels, run) if checkpoints.checkpoint_steps(spec.arms[arm]) else []
    if not followed or base is None or not base.rows[spec.task_label]:
        return None
    points = list_common_points(followed)
    starts = {label: base.rows[label][0] for label in labels}
    taught = _summarise_taught_losses(followed, points)
    losses = _mean_probe_metric(followed, points, spec.task_label, "loss") if taught is None else taught["loss"]
    return {
        "steps": points,
        "ends": [training.last for training in followed],
        "seeds": len(followed),
        "tasks": {
            label: _blank_unseen_rates(
                _summarise_task_trajectory(
                    followed, points, label, starts[label], spec.trajectory_or_default.limit_problems(tested), losses
                ),
                traces[label],
            )
            for label in labels
        },
        "taught": taught,
        **_summarise_side_effects(followed, points),
    }


def read_trainings(data: ArmData, labels: Sequence[str], run: Path) -> list[FinishedTraining]:
    """Read the finished trainings that have checkpoints."""
    done = [cell for cell, status in zip(data.cells, data.statuses, strict=True) if status["state"] == "done"]
    seeds = []
    for i, cell in enumerate(done):
        by_step = checkpoints.read_checkpoints(cell.folder_in(run), labels)
        last = next((step for step, checkpoint in by_step.items() if checkpoint.metrics["last"]), None)
        if last is not None and 0 in by_step:
            seeds.append(FinishedTraining(by_step, last, {label: data.rows[label][i] for label in labels}))
    return seeds


def list_common_points(followed: Sequence[FinishedTraining]) -> list[int]:
    """List the base's step 0, the checkpoints that every training has, and the last step of the longest."""
    shared = set.intersection(
        *({step for step in training.checkpoints if 0 < step < training.last} for training in followed)
    )
    return [0, *sorted(shared), max(training.last for training in followed)]


def tabulate_correctness(
    followed: Sequence[FinishedTraining], points: Sequence[int], label: str, start: Sequence[Row], among: int
) -> tuple[list[str], Float[np.ndarray, "seeds steps problems"]]:
    """Tabulate correctness for the problems of a task that every seed answered at every point: (ids, table).

    Args:
        start: the base's rows of that task.
        among: number of its problems, the first ones, to consider.
    """
    order = score_tables.list_problem_ids([start])[:among]
    right = _tabulate_points(_rows_by_point(followed, points, label, start), order, _RATES["accuracy"])
    complete = ~np.isnan(right).any(axis=(0, 1))
    return [problem for problem, keep in zip(order, complete, strict=True) if keep], right[:, :, complete]


def _rows_by_point(
    followed: Sequence[FinishedTraining], points: Sequence[int], label: str, start: Sequence[Row]
) -> list[list[list[Row]]]:
    return [[list(start) if step == 0 else training.rows_at(step, label) for step in points] for training in followed]


def _summarise_task_trajectory(
    followed: Sequence[FinishedTraining],
    points: Sequence[int],
    label: str,
    start: Sequence[Row],
    among: int,
    losses: Sequence[float | None],
) -> dict[str, Any]:
    order, right = tabulate_correctness(followed, points, label, start, among)
    rows = _rows_by_point(followed, points, label, start)
    figures: dict[str, Any] = {"n": len(order)}
    for name, value in _RATES.items():
        figures[name] = [
            score_tables.estimate_share(part) for part in _split_points(_tabulate_points(rows, order, value))
        ]
    figures["tokens"] = [
        score_tables.estimate_problem_mean(part)
        for part in _split_points(_tabulate_points(rows, order, lambda row: float(row.tokens)))
    ]
    for name in _PROBED:
        figures[name] = _mean_probe_metric(followed, points, label, name)
    return {**figures, **_classify_curve(right, points, losses)}


def _blank_unseen_rates(figures: dict[str, Any], traces: TraceCoverage) -> dict[str, Any]:
    """Replace rates that could never exceed 0 by null."""
    for name, known in (("trace_rate", traces.form), ("valid_trace_rate", traces.steps)):
        figures[name] = figures[name] if known else [None] * len(figures[name])
    return figures


def _tabulate_points(
    rows: Sequence[Sequence[Sequence[Row]]], order: Sequence[str], value: Callable[[Row], float]
) -> Float[np.ndarray, "seeds steps problems"]:
    """Tabulate a quantity by seed, point and problem; NaN where there is no row."""
    known = [[{row.problem: value(row) for row in point if row.sample == 0} for point in seed] for seed in rows]
    table = [[[point.get(problem, math.nan) for problem in order] for point in seed] for seed in known]
    return np.array(table).reshape(len(rows), len(rows[0]), len(order))


def _split_points(table: Float[np.ndarray, "seeds steps problems"]) -> list[np.ndarray | None]:
    """Split a table into (seeds, problems) for every point. The base is one policy for all seeds."""
    if not table.shape[2]:
        return [None] * table.shape[1]
    return [table[: 1 if k == 0 else None, k] for k in range(table.shape[1])]


def _classify_curve(
    right: Float[np.ndarray, "seeds steps problems"], points: Sequence[int], losses: Sequence[float | None]
) -> dict[str, Any]:
    """Compute `curve` and `stopping`."""
    if right.shape[1] < 3 or right.shape[2] < 2:
        return {"curve": None, "stopping": None}
    from elicit.analysis.curves import classify_curve, measure_stopping_cost

    classification = classify_curve(right, points)
    turn = (
        None
        if classification.turn is None
        else {name: estimate.to_json() for name, estimate in classification.turn._asdict().items()}
    )
    curve = {
        "shape": classification.shape,
        "probabilities": classification.probabilities,
        "flat_p": finite_or_none(classification.flat_p),
        "misfit_p": finite_or_none(classification.misfit_p),
        "turn": turn,
        "danger": {"steps": list(classification.danger.steps), "probability": list(classification.danger.probability)},
        "end_minus_start": classification.end_minus_start.to_json(),
        "note": classification.note,
    }
    if all(loss is None for loss in losses):
        return {"curve": curve, "stopping": None}
    stopped = measure_stopping_cost(right, points, np.array([math.nan if loss is None else loss for loss in losses]))
    stopping = {"step": stopped.step, "to_best": stopped.to_best.to_json(), "to_end": stopped.to_end.to_json()}
    return {"curve": curve, "stopping": stopping}


def _mean_probe_metric(
    followed: Sequence[FinishedTraining], points: Sequence[int], label: str, name: str
) -> list[float | None]:
    """Mean of a probe metric over seeds, at every point."""
    return [
        _mean_over_seeds([_read_probe_metric(training.metrics_at(step), label, name) for training in followed])
        for step in points
    ]


def _summarise_taught_losses(
    followed: Sequence[FinishedTraining], points: Sequence[int]
) -> dict[str, list[float | None]] | None:
    """Loss and token accuracy on held-out training data of the arm; None where these are the target's solutions."""
    metrics_by_point: list[list[Mapping[str, Any]]] = [
        [entry.metrics_at(step).get("taught") or {} for entry in followed] for step in points
    ]
    if not all(entry.get("n") for point in metrics_by_point for entry in point):
        return None
    return {
        name: [_mean_over_seeds([entry[name] for entry in point]) for point in metrics_by_point]
        for name in ("loss", "token_accuracy")
    }


def _read_probe_metric(metrics: Mapping[str, Any], label: str, name: str) -> float | None:
    """Read one probe metric; None for a task that was added later."""
    value: float | None = metrics["tasks"].get(label, {}).get(name)
    return value


def _summarise_side_effects(followed: Sequence[FinishedTraining], points: Sequence[int]) -> dict[str, Any]:
    """KL and perplexity, means over seeds. `kl` is KL(arm || base) along the arm's answers, `kl_ways` all four."""
    ways = [mean_kl([entry.metrics_at(step) for entry in followed]) for step in points]
    return {
        "kl": [None if entry is None else entry["task"]["arm_base"] for entry in ways],
        "kl_ways": ways,
        "neutral_perplexity": [
            _mean_over_seeds([entry.metrics_at(step)["neutral_perplexity"] for entry in followed]) for step in points
        ],
    }


def _mean_over_seeds(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
