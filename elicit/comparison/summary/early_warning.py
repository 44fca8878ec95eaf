"""Early warning as it stands in `summary.json`: what arms with `warn` saw while they trained, and what it was worth.

`arms.ARM.warning` holds what the seeds of one arm saw, `warning` beside `arms` what every signal was worth over all
arms of the task, and `arms.ARM.protect` what `protect` did. A task that is watched is held against the measured
accuracy of the spec's task of the same description (whatever its label); without one, or without checkpoints, only the
agreement of predicted and measured loss is told. Definitions: `elicit.analysis.early_warning_signals`. Imports no
torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.analysis import early_warning_skill
from elicit.analysis.early_warning_signals import KINDS, SIGNALS, Run, Series, Watched, alarm, crossing, explained
from elicit.analysis.early_warning_skill import Rate
from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec
from elicit.comparison.summary.trajectories import trainings
from elicit.schema import Estimate, Row, number
from elicit.statistics import mean

Record = Mapping[str, Any]


def add_warnings(
    spec: Spec, task: dict[str, Any], arms: Mapping[str, ArmData], base: ArmData | None, run: Path
) -> None:
    """Put `warning` and `protect` into a task's summary, whose arms have their `trajectory` already.

    Args:
        base: of the arm that is step 0.
    """
    curves: dict[str, Watched] = {}
    for arm, figures in task["arms"].items():
        figures["protect"] = _protected([one["protect"] for one in arms[arm].records if one.get("protect")])
        figures["warning"] = None
        records = [(i, one["warning"]) for i, one in enumerate(arms[arm].records) if one.get("warning")]
        if records:
            seen = _Arm(spec, arm, arms[arm], base, run, figures["trajectory"], records)
            watched = {label: seen.watched(label) for label in records[0][1]["out"]}
            figures["warning"] = seen.told(watched)
            curves |= {f"{arm}:{label}": one for label, one in watched.items()}
    task["warning"] = _pooled(curves) if curves else None


class _Arm(NamedTuple):
    """One arm that was watched while it trained."""

    spec: Spec
    arm: str
    data: ArmData
    base: ArmData | None
    run: Path
    trajectory: Mapping[str, Any] | None
    records: Sequence[tuple[int, Record]]
    """(which finished seed, `record["warning"]`)."""

    def watched(self, label: str) -> Watched:
        """The runs on one other task, and what became of it."""
        place, curve, trough = self._place(label), self._curve(label), self._trough(label)
        beside = [{} if place is None else self._companions(i, place) for i, _ in self.records]
        runs = tuple(Run(_gradients(one, label) | more) for (_, one), more in zip(self.records, beside, strict=True))
        return Watched(runs, curve["shape"] if curve else None, None if trough is None else trough["value"])

    def _place(self, label: str) -> str | None:
        """The spec's task that is the one watched, if that was followed."""
        description = self.spec.arms[self.arm]["warn"][label]
        tasks = {self.spec.task_label: self.spec.task, **self.spec.off_target}
        return next((name for name, one in tasks.items() if one == description and self.trajectory is not None), None)

    def _curve(self, label: str) -> Mapping[str, Any] | None:
        place = self._place(label)
        if place is None or self.trajectory is None:
            return None
        curve: Mapping[str, Any] | None = self.trajectory["tasks"][place]["curve"]
        return curve

    def _trough(self, label: str) -> dict[str, Any] | None:
        """The step of a dip's trough."""
        curve = self._curve(label)
        return dict(curve["turn"]["step"]) if curve is not None and curve["shape"] in KINDS["dips"] else None

    def _companions(self, i: int, label: str) -> dict[str, Series]:
        """Length of answers and share of finished ones at every checkpoint of the i-th finished seed."""
        done = [pair for pair in zip(self.data.cells, self.data.statuses, strict=True) if pair[1]["state"] == "done"]
        (cell, status), labels = done[i], [self.spec.task_label, *self.spec.off_target]
        alone = ArmData((cell,), (status,), {name: [self.data.rows[name][i]] for name in labels}, ())
        followed = trainings(alone, labels, self.run)
        if not followed or self.base is None or not self.base.rows[label]:
            return {}
        one = followed[0]
        points = [0, *sorted(step for step in one.found if 0 < step < one.last), one.last]
        rows = [_answers(self.base.rows[label][0] if step == 0 else one.at(step, label)) for step in points]
        shared = sorted(set.intersection(*map(set, rows)))
        if not shared:
            return {}
        steps = np.array(points, dtype=np.float64)
        return {
            "length": Series(steps, np.array([np.mean([point[p].tokens for p in shared]) for point in rows])),
            "finished": Series(steps, np.array([np.mean([point[p].finished for p in shared]) for point in rows])),
        }

    def told(self, watched: Mapping[str, Watched]) -> dict[str, Any]:
        """`arms.ARM.warning`."""
        records = [one for _, one in self.records]
        steps = sorted(set.intersection(*(set(one["steps"]) for one in records)))
        return {
            "seeds": len(records),
            "every": records[0]["every"],
            "problems": records[0]["problems"],
            "seconds": float(np.mean([one["seconds"] for one in records])),
            "share": float(np.mean([one["share"] for one in records])),
            "steps": steps,
            "in": {name: _over_seeds(records, steps, _of_in(name)) for name in ("loss", "token_accuracy")},
            "tasks": {label: self._task(label, one, steps) for label, one in watched.items()},
        }

    def _task(self, label: str, watched: Watched, steps: Sequence[int]) -> dict[str, Any]:
        records = [one for _, one in self.records]
        looks = {
            name: _over_seeds(records, steps, lambda one, name=name: one["out"][label][name])
            for name in ("loss", "token_accuracy", "cosine")
        }
        integrals = {
            name: _over_seeds(records, steps, lambda one, key=key: _integral(one["out"][label][key]).tolist())
            for name, key in (("integral", "predicted"), ("trapezoid", "trapezoid"))
        }
        return {
            **looks,
            **integrals,
            "explained": {
                name: _explained(records, label, key)
                for name, key in (("integral", "predicted"), ("trapezoid", "trapezoid"))
            },
            "shape": watched.shape,
            "dips": None if watched.shape is None else watched.dips,
            "trough": self._trough(label),
            "bracket": self._bracket(self._trough(label)),
            "crossing": _crossing(watched),
            "signals": {name: _signal(name, watched) for name in SIGNALS if name in watched.runs[0].series},
        }

    def _bracket(self, trough: Mapping[str, Any] | None) -> list[int] | None:
        """The checkpoints beside the trough, which are as near as it is known."""
        if trough is None or self.trajectory is None:
            return None
        points = self.trajectory["steps"]
        before = [step for step in points if step < trough["value"]]
        after = [step for step in points if step > trough["value"]]
        return [before[-1] if before else points[0], after[0] if after else points[-1]]


def _gradients(record: Record, label: str) -> dict[str, Series]:
    """What was seen at every look."""
    steps, out = np.array(record["steps"], dtype=np.float64), record["out"][label]
    return {
        "gradient": Series(steps, _integral(out["predicted"])),
        "trapezoid": Series(steps, _integral(out["trapezoid"])),
        "loss": Series(steps, _floats(out["loss"])),
        "cosine": Series(steps, _floats(out["cosine"])),
        "token_accuracy": Series(steps, _floats(record["in"]["token_accuracy"])),
    }


def _crossing(watched: Watched) -> dict[str, Any]:
    def predicted(run: Run) -> float | None:
        return crossing(run.series["gradient"])

    def measured(run: Run) -> float | None:
        return crossing(run.series["loss"])

    places = [(predicted(run), measured(run)) for run in watched.runs]
    to_loss = [loss - mine for mine, loss in places if mine is not None and loss is not None]
    return {
        "steps": [mine for mine, _ in places],
        "loss_peak": [loss for _, loss in places],
        "lead": _known(early_warning_skill.lead_of(watched, predicted)),
        "lead_to_loss": _known(mean(to_loss)),
    }


def _signal(name: str, watched: Watched) -> dict[str, Any]:
    runs = [run for run in watched.runs if name in run.series]
    found = [alarm(name, run, until=watched.trough if watched.dips else None) for run in runs]
    return {
        "threshold": SIGNALS[name].threshold,
        "unit": SIGNALS[name].unit,
        "alarm": [one.step for one in found],
        "strength": [number(one.strength) for one in found],
        "lead": _known(
            early_warning_skill.lead_of(watched._replace(runs=tuple(runs)), lambda run: alarm(name, run).step)
        ),
    }


def _pooled(curves: Mapping[str, Watched]) -> dict[str, Any]:
    """`warning` of a task."""
    watched = list(curves.values())
    crossed = early_warning_skill.crossings(watched)
    return {
        **{kind: [name for name, one in curves.items() if one.kind == kind] for kind in ("dips", "calm", "declines")},
        "crossing": {
            "found": _rate(crossed.found),
            "false": _rate(crossed.false),
            "lead": _known(crossed.lead),
        },
        "signals": {name: _verdict(name, watched) for name in SIGNALS},
    }


def _verdict(name: str, watched: Sequence[Watched]) -> dict[str, Any]:
    found = early_warning_skill.verdict(name, watched)
    return {
        "threshold": SIGNALS[name].threshold,
        "unit": SIGNALS[name].unit,
        "hits": _rate(found.hits),
        "false": _rate(found.false),
        "declines": _rate(found.declines),
        "late": found.late,
        "lead": _known(found.lead),
        "auc": _known(found.auc),
        "sweep": [
            {"threshold": one.threshold, "hits": number(one.hits), "false": number(one.false)} for one in found.sweep
        ],
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return rate.runs.to_json() | {"curves": rate.curves.to_json()}


def _known(found: Estimate) -> dict[str, Any] | None:
    return found.to_json() if found.n else None


def _protected(records: Sequence[Record]) -> dict[str, Any] | None:
    """What `protect` did: means over seeds."""
    if not records:
        return None
    means = {name: float(np.mean([one[name] for one in records])) for name in ("conflicts", "seconds", "share")}
    return {"problems": records[0]["problems"], "steps": [one["steps"] for one in records], **means}


def _answers(rows: Sequence[Row]) -> dict[str, Row]:
    return {row.problem: row for row in rows if row.sample == 0}


def _of_in(name: str) -> Any:
    return lambda one: one["in"][name]


def _integral(changes: Sequence[float | None]) -> Float[np.ndarray, " looks"]:
    """Running sum from 0; NaN from the first unknown change on."""
    return np.concatenate([[0.0], np.cumsum(_floats(changes))])


def _floats(values: Sequence[float | None]) -> Float[np.ndarray, " n"]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _over_seeds(records: Sequence[Record], steps: Sequence[int], values: Any) -> list[float | None]:
    """Mean over seeds at the looks that all have."""
    found = []
    for one in records:
        by_step = dict(zip(one["steps"], values(one), strict=True))
        found.append(_floats([by_step[step] for step in steps]))
    return [number(float(value)) for value in np.mean(found, axis=0)]


def _explained(records: Sequence[Record], label: str, key: str) -> float | None:
    """Over the intervals of all seeds together."""
    changes = np.concatenate([np.diff(_floats(one["out"][label]["loss"])) for one in records])
    predicted = np.concatenate([_floats(one["out"][label][key]) for one in records])
    return number(explained(changes, predicted))
