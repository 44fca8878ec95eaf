"""Early warning in `summary.json`: signals of arms with `warn` during training, and their quality as predictors.

`arms.ARM.warning` holds the signals of one arm's seeds, the task's `warning` the quality of every signal over all its
arms, and `arms.ARM.protect` the effects of `protect`. A watched task is compared with the measured accuracy of the
spec's task of the same description (whatever its label); without one, or without checkpoints, only the agreement of
predicted and measured loss is reported. Definitions: `elicit.analysis.early_warning_signals`. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.analysis import early_warning_skill
from elicit.analysis.early_warning_signals import (
    KINDS,
    SIGNALS,
    MonitoredCurve,
    MonitoredRun,
    SignalSeries,
    compute_explained_share,
    find_alarm,
    find_crossing,
)
from elicit.analysis.early_warning_skill import Rate
from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec
from elicit.comparison.summary.trajectories import read_trainings
from elicit.schema import Estimate, Row, finite_or_none
from elicit.statistics import estimate_mean

Record = Mapping[str, Any]


def add_warnings(
    spec: Spec, task: dict[str, Any], arms: Mapping[str, ArmData], base: ArmData | None, run: Path
) -> None:
    """Add `warning` and `protect` to a task's summary, whose arms have their `trajectory` already.

    Args:
        base: data of the base arm, which is step 0.
    """
    curves: dict[str, MonitoredCurve] = {}
    for arm, figures in task["arms"].items():
        figures["protect"] = _summarise_protection(
            [entry["protect"] for entry in arms[arm].records if entry.get("protect")]
        )
        figures["warning"] = None
        records = [(i, entry["warning"]) for i, entry in enumerate(arms[arm].records) if entry.get("warning")]
        if records:
            warned_arm = _WarnedArm(spec, arm, arms[arm], base, run, figures["trajectory"], records)
            watched = {label: warned_arm.build_watched_task(label) for label in records[0][1]["out"]}
            figures["warning"] = warned_arm.summarise_warning(watched)
            curves |= {f"{arm}:{label}": entry for label, entry in watched.items()}
    task["warning"] = _pool_warnings(curves) if curves else None


class _WarnedArm(NamedTuple):
    """An arm that was trained with `warn`."""

    spec: Spec
    arm: str
    data: ArmData
    base: ArmData | None
    run: Path
    trajectory: Mapping[str, Any] | None
    records: Sequence[tuple[int, Record]]
    """(index of the finished seed, `record["warning"]`)."""

    def build_watched_task(self, label: str) -> MonitoredCurve:
        """The training runs as seen on one other task, with its measured accuracy."""
        task_label, curve, trough = self._find_followed_task(label), self._find_curve(label), self._find_trough(label)
        companions = [{} if task_label is None else self._measure_companions(i, task_label) for i, _ in self.records]
        runs = tuple(
            MonitoredRun(_build_look_series(record, label) | more)
            for (_, record), more in zip(self.records, companions, strict=True)
        )
        return MonitoredCurve(runs, curve["shape"] if curve else None, None if trough is None else trough["value"])

    def _find_followed_task(self, label: str) -> str | None:
        """Label of the spec's task that equals the watched one, if it has a trajectory."""
        description = self.spec.arms[self.arm]["warn"][label]
        tasks = {self.spec.task_label: self.spec.task, **self.spec.off_target}
        return next(
            (name for name, candidate in tasks.items() if candidate == description and self.trajectory is not None),
            None,
        )

    def _find_curve(self, label: str) -> Mapping[str, Any] | None:
        task_label = self._find_followed_task(label)
        if task_label is None or self.trajectory is None:
            return None
        curve: Mapping[str, Any] | None = self.trajectory["tasks"][task_label]["curve"]
        return curve

    def _find_trough(self, label: str) -> dict[str, Any] | None:
        """The trough of a dip in the accuracy curve."""
        curve = self._find_curve(label)
        return dict(curve["turn"]["step"]) if curve is not None and curve["shape"] in KINDS["dips"] else None

    def _measure_companions(self, i: int, label: str) -> dict[str, SignalSeries]:
        """Measure answer length and the share of finished answers at every checkpoint of the i-th finished seed."""
        done = [pair for pair in zip(self.data.cells, self.data.statuses, strict=True) if pair[1]["state"] == "done"]
        (cell, status), labels = done[i], [self.spec.task_label, *self.spec.off_target]
        alone = ArmData((cell,), (status,), {name: [self.data.rows[name][i]] for name in labels}, ())
        followed = read_trainings(alone, labels, self.run)
        if not followed or self.base is None or not self.base.rows[label]:
            return {}
        training = followed[0]
        points = [0, *sorted(step for step in training.checkpoints if 0 < step < training.last), training.last]
        rows = [
            _first_rows_by_problem(self.base.rows[label][0] if step == 0 else training.rows_at(step, label))
            for step in points
        ]
        shared = sorted(set.intersection(*map(set, rows)))
        if not shared:
            return {}
        steps = np.array(points, dtype=np.float64)
        return {
            "length": SignalSeries(steps, np.array([np.mean([point[p].tokens for p in shared]) for point in rows])),
            "finished": SignalSeries(steps, np.array([np.mean([point[p].finished for p in shared]) for point in rows])),
        }

    def summarise_warning(self, watched: Mapping[str, MonitoredCurve]) -> dict[str, Any]:
        """Summarise `arms.ARM.warning`."""
        records = [entry for _, entry in self.records]
        steps = sorted(set.intersection(*(set(entry["steps"]) for entry in records)))
        return {
            "seeds": len(records),
            "every": records[0]["every"],
            "problems": records[0]["problems"],
            "seconds": float(np.mean([entry["seconds"] for entry in records])),
            "share": float(np.mean([entry["share"] for entry in records])),
            "steps": steps,
            "in": {
                name: _mean_series_over_seeds(records, steps, _make_series_getter(name))
                for name in ("loss", "token_accuracy")
            },
            "tasks": {label: self._summarise_watched_task(label, entry, steps) for label, entry in watched.items()},
        }

    def _summarise_watched_task(self, label: str, watched: MonitoredCurve, steps: Sequence[int]) -> dict[str, Any]:
        records = [record for _, record in self.records]
        looks = {
            name: _mean_series_over_seeds(records, steps, lambda record, name=name: record["out"][label][name])
            for name in ("loss", "token_accuracy", "cosine")
        }
        integrals = {
            name: _mean_series_over_seeds(
                records, steps, lambda record, key=key: _cumulative_sum(record["out"][label][key]).tolist()
            )
            for name, key in (("integral", "predicted"), ("trapezoid", "trapezoid"))
        }
        return {
            **looks,
            **integrals,
            "explained": {
                name: _share_explained(records, label, key)
                for name, key in (("integral", "predicted"), ("trapezoid", "trapezoid"))
            },
            "shape": watched.shape,
            "dips": None if watched.shape is None else watched.dips,
            "trough": self._find_trough(label),
            "bracket": self._bracket_trough(self._find_trough(label)),
            "crossing": _summarise_crossing(watched),
            "signals": {name: _summarise_signal(name, watched) for name in SIGNALS if name in watched.runs[0].series},
        }

    def _bracket_trough(self, trough: Mapping[str, Any] | None) -> list[int] | None:
        """The checkpoints on both sides of the trough, which bound its position."""
        if trough is None or self.trajectory is None:
            return None
        points = self.trajectory["steps"]
        before = [step for step in points if step < trough["value"]]
        after = [step for step in points if step > trough["value"]]
        return [before[-1] if before else points[0], after[0] if after else points[-1]]


def _build_look_series(record: Record, label: str) -> dict[str, SignalSeries]:
    """Build the series of measurements over the looks."""
    steps, out = np.array(record["steps"], dtype=np.float64), record["out"][label]
    return {
        "gradient": SignalSeries(steps, _cumulative_sum(out["predicted"])),
        "trapezoid": SignalSeries(steps, _cumulative_sum(out["trapezoid"])),
        "loss": SignalSeries(steps, _to_float_array(out["loss"])),
        "cosine": SignalSeries(steps, _to_float_array(out["cosine"])),
        "token_accuracy": SignalSeries(steps, _to_float_array(record["in"]["token_accuracy"])),
    }


def _summarise_crossing(watched: MonitoredCurve) -> dict[str, Any]:
    def find_predicted_crossing(run: MonitoredRun) -> float | None:
        return find_crossing(run.series["gradient"])

    def find_loss_crossing(run: MonitoredRun) -> float | None:
        return find_crossing(run.series["loss"])

    places = [(find_predicted_crossing(run), find_loss_crossing(run)) for run in watched.runs]
    to_loss = [
        loss - predicted_step for predicted_step, loss in places if predicted_step is not None and loss is not None
    ]
    return {
        "steps": [predicted_step for predicted_step, _ in places],
        "loss_peak": [loss for _, loss in places],
        "lead": _estimate_to_json(early_warning_skill.estimate_lead(watched, find_predicted_crossing)),
        "lead_to_loss": _estimate_to_json(estimate_mean(to_loss)),
    }


def _summarise_signal(name: str, watched: MonitoredCurve) -> dict[str, Any]:
    runs = [run for run in watched.runs if name in run.series]
    run_alarms = [find_alarm(name, run, until=watched.trough if watched.dips else None) for run in runs]
    return {
        "threshold": SIGNALS[name].threshold,
        "unit": SIGNALS[name].unit,
        "alarm": [run_alarm.step for run_alarm in run_alarms],
        "strength": [finite_or_none(run_alarm.strength) for run_alarm in run_alarms],
        "lead": _estimate_to_json(
            early_warning_skill.estimate_lead(
                watched._replace(runs=tuple(runs)), lambda run: find_alarm(name, run).step
            )
        ),
    }


def _pool_warnings(curves: Mapping[str, MonitoredCurve]) -> dict[str, Any]:
    """Pool warnings over arms: the `warning` of a task."""
    watched = list(curves.values())
    crossed = early_warning_skill.evaluate_crossings(watched)
    return {
        **{
            kind: [name for name, curve in curves.items() if curve.kind == kind]
            for kind in ("dips", "calm", "declines")
        },
        "crossing": {
            "found": _rate_to_json(crossed.hits),
            "false": _rate_to_json(crossed.false),
            "lead": _estimate_to_json(crossed.lead),
        },
        "signals": {name: _summarise_verdict(name, watched) for name in SIGNALS},
    }


def _summarise_verdict(name: str, watched: Sequence[MonitoredCurve]) -> dict[str, Any]:
    verdict = early_warning_skill.evaluate_signal(name, watched)
    return {
        "threshold": SIGNALS[name].threshold,
        "unit": SIGNALS[name].unit,
        "hits": _rate_to_json(verdict.hits),
        "false": _rate_to_json(verdict.false),
        "declines": _rate_to_json(verdict.declines),
        "late": verdict.late,
        "lead": _estimate_to_json(verdict.lead),
        "auc": _estimate_to_json(verdict.auc),
        "sweep": [
            {"threshold": point.threshold, "hits": finite_or_none(point.hits), "false": finite_or_none(point.false)}
            for point in verdict.sweep
        ],
    }


def _rate_to_json(rate: Rate) -> dict[str, Any]:
    return rate.runs.to_json() | {"curves": rate.curves.to_json()}


def _estimate_to_json(estimate: Estimate) -> dict[str, Any] | None:
    return estimate.to_json() if estimate.n else None


def _summarise_protection(records: Sequence[Record]) -> dict[str, Any] | None:
    """Effects of `protect`: means over seeds."""
    if not records:
        return None
    means = {name: float(np.mean([record[name] for record in records])) for name in ("conflicts", "seconds", "share")}
    return {"problems": records[0]["problems"], "steps": [record["steps"] for record in records], **means}


def _first_rows_by_problem(rows: Sequence[Row]) -> dict[str, Row]:
    return {row.problem: row for row in rows if row.sample == 0}


def _make_series_getter(name: str) -> Any:
    return lambda record: record["in"][name]


def _cumulative_sum(changes: Sequence[float | None]) -> Float[np.ndarray, " looks"]:
    """Running sum from 0; NaN from the first unknown change on."""
    return np.concatenate([[0.0], np.cumsum(_to_float_array(changes))])


def _to_float_array(values: Sequence[float | None]) -> Float[np.ndarray, " n"]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _mean_series_over_seeds(records: Sequence[Record], steps: Sequence[int], values: Any) -> list[float | None]:
    """Mean over seeds at the looks that all seeds have."""
    series = []
    for record in records:
        by_step = dict(zip(record["steps"], values(record), strict=True))
        series.append(_to_float_array([by_step[step] for step in steps]))
    return [finite_or_none(float(value)) for value in np.mean(series, axis=0)]


def _share_explained(records: Sequence[Record], label: str, key: str) -> float | None:
    """Share of variance explained, over the intervals of all seeds together."""
    changes = np.concatenate([np.diff(_to_float_array(record["out"][label]["loss"])) for record in records])
    predicted = np.concatenate([_to_float_array(record["out"][label][key]) for record in records])
    return finite_or_none(compute_explained_share(changes, predicted))
