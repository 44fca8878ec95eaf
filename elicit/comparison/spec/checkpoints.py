"""Checkpoints of trained arms: what a spec asks of them, and where that lies in a run directory. Imports no torch.

arms:
  base: {method: base}
  sft: {method: sft, checkpoints: [10, 20, 40]}
trajectory: {problems: 100, probe: 32}

    cells/MODEL/ARM/SEED/steps/000010/rows/TASK.jsonl  metrics.json

Rows of step 0 are the base arm's, rows of the last step the cell's own: for these two there is only `metrics.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from elicit import runs
from elicit.comparison.storage.file_types import StepMetrics
from elicit.comparison.storage.typed_files import read_file
from elicit.errors import ElicitError, unknown
from elicit.schema import Row

METRICS = "metrics.json"


class Trajectory(BaseModel):
    """The checked field `trajectory` of a spec."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    problems: int | None = Field(default=None, ge=1, le=1_000_000)
    """The first so many test problems of every task, at every checkpoint; None takes all."""
    probe: int = Field(default=32, ge=0, le=100_000)
    """Select problems of every task whose worked solutions the loss is measured on; 0 for none."""

    def among(self, tested: int) -> int:
        """How many of a task's test problems are answered."""
        return tested if self.problems is None else min(self.problems, tested)


class Step(NamedTuple):
    """What a cell left of one step of its training."""

    metrics: Mapping[str, Any]
    rows: Mapping[str, list[Row]]
    """Task label -> rows; of step 0 and of the last step, which have none of their own, empty lists."""


def asked(options: Mapping[str, Any]) -> tuple[int, ...]:
    """The checkpoints that an arm's options name, in order."""
    return tuple(sorted(set(options.get("checkpoints") or ())))


def folder_of(cell: Path, step: int) -> Path:
    """Where a cell keeps what it found at a step."""
    return cell / "steps" / f"{step:06d}"


def folders(cell: Path) -> dict[int, Path]:
    """The steps that a cell has anything of, in order."""
    found = [path for path in (cell / "steps").glob("*") if path.name.isdigit()]
    return {int(path.name): path for path in sorted(found, key=lambda path: int(path.name))}


def read(cell: Path, labels: Sequence[str]) -> dict[int, Step]:
    """The finished steps of a cell: those with metrics, which are written last."""
    return {
        step: Step(
            read_file(path / METRICS, StepMetrics),
            {label: runs.read_rows(path / "rows" / f"{label}.jsonl") for label in labels},
        )
        for step, path in folders(cell).items()
        if (path / METRICS).exists()
    }


def check_fields(value: Any, where: str) -> None:
    """Raises ElicitError for a field of `trajectory` that does not exist."""
    for field in value if isinstance(value, Mapping) else ():
        if field not in Trajectory.model_fields:
            raise unknown("field of trajectory", field, Trajectory.model_fields, where=where)


def check(given: Trajectory | None, arms: Mapping[str, Mapping[str, Any]], test: int, where: str) -> None:
    """Raises ElicitError for `trajectory` without an arm that has checkpoints, or of more problems than are tested."""
    if given is None:
        return
    if not any(map(asked, arms.values())):
        raise ElicitError(
            f"{where}: trajectory: no arm has checkpoints. Type for an arm: sft: {{method: sft, checkpoints: [10, 20]}}"
        )
    if given.problems is not None and given.problems > test:
        raise ElicitError(f"{where}: trajectory: problems is {given.problems}, but only {test} are tested (test).")


def check_base(arms: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Raises ElicitError for arms with checkpoints but without the base, which is step 0 of them all."""
    kept = [arm for arm, options in arms.items() if asked(options)]
    if kept and not any(options.get("method") == "base" for options in arms.values()):
        raise ElicitError(
            f"{where}: arm {kept[0]!r} has checkpoints, and step 0 of a trajectory is the base's. "
            "Add an arm: base: {method: base}"
        )


def shrunk(old: Any, new: Any) -> bool:
    """Whether `new` asks for less than `old` said; both as a spec says them. What was not said can be said."""
    if old is None:
        return False
    before, after = (Trajectory.model_validate(one or {}) for one in (old, new))
    fewer = after.problems is not None and (before.problems is None or after.problems < before.problems)
    return fewer or after.probe < before.probe
