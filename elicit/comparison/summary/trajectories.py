"""An arm over its training, as it stands in `summary.json`: accuracy and companions at every checkpoint. No torch.

1. A trajectory goes from the base (step 0, the base arm's own rows) over the checkpoints that all finished seeds have
   to the end of training (the cell's own rows). Seeds that ended at different steps meet at the last point, which is
   called by the largest of them.
2. Its problems are the first `trajectory.problems` of every task that were answered at every one of these points by
   every seed, so that points differ by training alone. Estimates are those of the main tables (clustered by problem).
3. Losses, token accuracies, entropies, KL and perplexity are means over seeds of what each cell measured.
4. The curve of accuracy is classified, and stopping at the lowest in-domain loss judged, by `elicit.analysis.curves`;
   both need three points and two problems, and are null otherwise. In domain is the *target* task for all tasks of an
   arm, or, for an arm that is taught something else than its worked solutions, what it is taught (`taught`).

None of this enters any other figure: checkpoints are no arms, and their rows are in no table, test or pass@k.
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
from elicit.comparison.spec.checkpoints import Step
from elicit.comparison.summary import score_tables
from elicit.comparison.summary.entries import mean_kl
from elicit.comparison.summary.trace_coverage import Seen
from elicit.schema import Row, number

_PROBED = ("loss", "token_accuracy", "entropy")
_RATES: dict[str, Callable[[Row], float]] = {
    "accuracy": lambda row: float(row.correct),
    "trace_rate": lambda row: float(row.has_trace),
    "valid_trace_rate": lambda row: float(bool(row.trace_valid)),
    "finished_rate": lambda row: float(row.finished),
    "answered_rate": lambda row: float(row.answer is not None),
}


class Seed(NamedTuple):
    """One finished training."""

    found: Mapping[int, Step]
    last: int
    """The step it ended at."""
    own: Mapping[str, list[Row]]
    """Task label -> what the finished policy answered."""

    def at(self, step: int, label: str) -> list[Row]:
        """Rows of a checkpoint; those of the finished policy from its last step on."""
        return self.own[label] if step >= self.last else self.found[step].rows[label]

    def metrics(self, step: int) -> Mapping[str, Any]:
        return self.found[min(step, self.last)].metrics


def trajectory(
    spec: Spec, arm: str, data: ArmData, base: ArmData | None, run: Path, tested: int, traces: Mapping[str, Seen]
) -> dict[str, Any] | None:
    """The figures of one arm; None for an arm that was not followed, or without a finished base.

    Args:
        base: of the arm that is step 0.
        tested: test problems of every task.
        traces: what is seen of every task's traces.
    """
    labels = [spec.task_label, *spec.off_target]
    followed = trainings(data, labels, run) if checkpoints.asked(spec.arms[arm]) else []
    if not followed or base is None or not base.rows[spec.task_label]:
        return None
    points = points_of(followed)
    starts = {label: base.rows[label][0] for label in labels}
    taught = _taught(followed, points)
    losses = _probe(followed, points, spec.task_label, "loss") if taught is None else taught["loss"]
    return {
        "steps": points,
        "ends": [one.last for one in followed],
        "seeds": len(followed),
        "tasks": {
            label: _hidden(
                _task(followed, points, label, starts[label], spec.along.among(tested), losses), traces[label]
            )
            for label in labels
        },
        "taught": taught,
        **_aside(followed, points),
    }


def trainings(data: ArmData, labels: Sequence[str], run: Path) -> list[Seed]:
    """Trainings that were followed to their end."""
    done = [cell for cell, status in zip(data.cells, data.statuses, strict=True) if status["state"] == "done"]
    seeds = []
    for i, cell in enumerate(done):
        found = checkpoints.read(cell.folder(run), labels)
        last = next((step for step, one in found.items() if one.metrics["last"]), None)
        if last is not None and 0 in found:
            seeds.append(Seed(found, last, {label: data.rows[label][i] for label in labels}))
    return seeds


def points_of(followed: Sequence[Seed]) -> list[int]:
    """The base's step 0, the checkpoints that every training has, and where the longest ended."""
    shared = set.intersection(*({step for step in one.found if 0 < step < one.last} for one in followed))
    return [0, *sorted(shared), max(one.last for one in followed)]


def correctness(
    followed: Sequence[Seed], points: Sequence[int], label: str, start: Sequence[Row], among: int
) -> tuple[list[str], Float[np.ndarray, "seeds steps problems"]]:
    """(ids, right or wrong) of the problems of a task that were answered at every point by every seed.

    Args:
        start: the base's rows of that task.
        among: how many of its problems, the first ones, are looked at.
    """
    order = score_tables.ids([start])[:among]
    right = _table(_rows(followed, points, label, start), order, _RATES["accuracy"])
    kept = ~np.isnan(right).any(axis=(0, 1))
    return [problem for problem, keep in zip(order, kept, strict=True) if keep], right[:, :, kept]


def _rows(followed: Sequence[Seed], points: Sequence[int], label: str, start: Sequence[Row]) -> list[list[list[Row]]]:
    return [[list(start) if step == 0 else one.at(step, label) for step in points] for one in followed]


def _task(
    followed: Sequence[Seed],
    points: Sequence[int],
    label: str,
    start: Sequence[Row],
    among: int,
    losses: Sequence[float | None],
) -> dict[str, Any]:
    order, right = correctness(followed, points, label, start, among)
    rows = _rows(followed, points, label, start)
    found: dict[str, Any] = {"n": len(order)}
    for name, value in _RATES.items():
        found[name] = [score_tables.level(part) for part in _points(_table(rows, order, value))]
    found["tokens"] = [score_tables.mean(part) for part in _points(_table(rows, order, lambda row: float(row.tokens)))]
    for name in _PROBED:
        found[name] = _probe(followed, points, label, name)
    return {**found, **_shape(right, points, losses)}


def _hidden(figures: dict[str, Any], traces: Seen) -> dict[str, Any]:
    """Null in the place of rates that nothing could raise above 0."""
    for name, known in (("trace_rate", traces.form), ("valid_trace_rate", traces.steps)):
        figures[name] = figures[name] if known else [None] * len(figures[name])
    return figures


def _table(
    rows: Sequence[Sequence[Sequence[Row]]], order: Sequence[str], value: Callable[[Row], float]
) -> Float[np.ndarray, "seeds steps problems"]:
    """A quantity of every seed, point and problem; NaN where there is no row."""
    known = [[{row.problem: value(row) for row in point if row.sample == 0} for point in seed] for seed in rows]
    table = [[[point.get(problem, math.nan) for problem in order] for point in seed] for seed in known]
    return np.array(table).reshape(len(rows), len(rows[0]), len(order))


def _points(table: Float[np.ndarray, "seeds steps problems"]) -> list[np.ndarray | None]:
    """Seeds by problems, of every point. The base is one policy, however many seeds start from it."""
    if not table.shape[2]:
        return [None] * table.shape[1]
    return [table[: 1 if k == 0 else None, k] for k in range(table.shape[1])]


def _shape(
    right: Float[np.ndarray, "seeds steps problems"], points: Sequence[int], losses: Sequence[float | None]
) -> dict[str, Any]:
    """`curve` and `stopping`."""
    if right.shape[1] < 3 or right.shape[2] < 2:
        return {"curve": None, "stopping": None}
    from elicit.analysis.curves import classify, stopped_by_loss

    found = classify(right, points)
    turn = None if found.turn is None else {name: one.to_json() for name, one in found.turn._asdict().items()}
    curve = {
        "shape": found.shape,
        "probabilities": found.probabilities,
        "flat_p": number(found.flat_p),
        "misfit_p": number(found.misfit_p),
        "turn": turn,
        "danger": {"steps": list(found.danger.steps), "probability": list(found.danger.probability)},
        "end_minus_start": found.end_minus_start.to_json(),
        "note": found.note,
    }
    if all(loss is None for loss in losses):
        return {"curve": curve, "stopping": None}
    stopped = stopped_by_loss(right, points, np.array([math.nan if loss is None else loss for loss in losses]))
    stopping = {"step": stopped.step, "to_best": stopped.to_best.to_json(), "to_end": stopped.to_end.to_json()}
    return {"curve": curve, "stopping": stopping}


def _probe(followed: Sequence[Seed], points: Sequence[int], label: str, name: str) -> list[float | None]:
    """Mean over seeds at every point."""
    return [_mean([_probed(one.metrics(step), label, name) for one in followed]) for step in points]


def _taught(followed: Sequence[Seed], points: Sequence[int]) -> dict[str, list[float | None]] | None:
    """Loss and token accuracy on held-out solutions such as the arm is trained on; None where the target's tell it."""
    found: list[list[Mapping[str, Any]]] = [
        [one.metrics(step).get("taught") or {} for one in followed] for step in points
    ]
    if not all(one.get("n") for point in found for one in point):
        return None
    return {name: [_mean([one[name] for one in point]) for point in found] for name in ("loss", "token_accuracy")}


def _probed(metrics: Mapping[str, Any], label: str, name: str) -> float | None:
    """None for a task that was added since."""
    found: float | None = metrics["tasks"].get(label, {}).get(name)
    return found


def _aside(followed: Sequence[Seed], points: Sequence[int]) -> dict[str, Any]:
    """KL and perplexity, means over seeds. `kl` is KL(arm || base) along the arm's own answers, `kl_ways` all four."""
    ways = [mean_kl([one.metrics(step) for one in followed]) for step in points]
    return {
        "kl": [None if one is None else one["task"]["arm_base"] for one in ways],
        "kl_ways": ways,
        "neutral_perplexity": [_mean([one.metrics(step)["neutral_perplexity"] for one in followed]) for step in points],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
