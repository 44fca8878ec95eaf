"""Checkpoints of trained arms: their options in a spec and their place in a run directory. Imports no torch.

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
from elicit.errors import ElicitError, unknown_name_error
from elicit.method import Method
from elicit.schema import Row

METRICS_FILE = "metrics.json"


class Trajectory(BaseModel):
    """The checked field `trajectory` of a spec."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    problems: int | None = Field(default=None, ge=1, le=1_000_000)
    """Test problems of every task, at every checkpoint: the first N; None takes all."""
    probe: int = Field(default=32, ge=0, le=100_000)
    """Select problems of every task whose worked solutions the loss is measured on; 0 for none."""

    def limit_problems(self, tested: int) -> int:
        """Number of a task's test problems that are answered."""
        return tested if self.problems is None else min(self.problems, tested)


class CheckpointResult(NamedTuple):
    """Results of one cell at one training step."""

    metrics: Mapping[str, Any]
    rows: Mapping[str, list[Row]]
    """Task label -> rows. Empty lists at step 0 and the last step, which have no rows of their own."""


def checkpoint_steps(options: Mapping[str, Any]) -> tuple[int, ...]:
    """The checkpoints that an arm's options name, in order."""
    return tuple(sorted(set(options.get("checkpoints") or ())))


def checkpoint_folder(cell: Path, step: int) -> Path:
    """Folder for a cell's results at one step."""
    return cell / "steps" / f"{step:06d}"


def list_checkpoint_folders(cell: Path) -> dict[int, Path]:
    """List the steps for which a cell has a folder, in order."""
    paths = [path for path in (cell / "steps").glob("*") if path.name.isdigit()]
    return {int(path.name): path for path in sorted(paths, key=lambda path: int(path.name))}


def read_checkpoints(cell: Path, labels: Sequence[str]) -> dict[int, CheckpointResult]:
    """Read the finished steps of a cell: those with metrics, which are written last."""
    return {
        step: CheckpointResult(
            read_file(path / METRICS_FILE, StepMetrics),
            {label: runs.read_rows(path / "rows" / f"{label}.jsonl") for label in labels},
        )
        for step, path in list_checkpoint_folders(cell).items()
        if (path / METRICS_FILE).exists()
    }


def check_trajectory_fields(value: Any, where: str) -> None:
    """Raise ElicitError for an unknown field of `trajectory`."""
    for field in value if isinstance(value, Mapping) else ():
        if field not in Trajectory.model_fields:
            raise unknown_name_error("field of trajectory", field, Trajectory.model_fields, where=where)


def check_trajectory(
    trajectory: Trajectory | None, arms: Mapping[str, Mapping[str, Any]], test: int, where: str
) -> None:
    """Raise ElicitError for a `trajectory` without any arm that has checkpoints, or with more problems than tested."""
    if trajectory is None:
        return
    if not any(map(checkpoint_steps, arms.values())):
        raise ElicitError(
            f"{where}: trajectory: none of the arms has checkpoints. Type for an arm: "
            "sft: {method: sft, checkpoints: [10, 20]}"
        )
    if trajectory.problems is not None and trajectory.problems > test:
        raise ElicitError(f"{where}: trajectory: problems is {trajectory.problems}, but only {test} are tested (test).")


def check_base_arm(arms: Mapping[str, Mapping[str, Any]], methods: Mapping[str, Method], where: str) -> None:
    """Raise ElicitError for arms with checkpoints but without the base arm, which is their step 0."""
    checkpoint_arms = [arm for arm, options in arms.items() if checkpoint_steps(options)]
    if checkpoint_arms and not any(method.traits.untouched for method in methods.values()):
        raise ElicitError(
            f"{where}: arm {checkpoint_arms[0]!r} has checkpoints, and step 0 of a trajectory is the base's. "
            "Add an arm: base: {method: base}"
        )


def reduces_trajectory(old: Any, new: Any) -> bool:
    """True if `new` asks for less than `old`; both as in a spec. A value that was absent may be added."""
    if old is None:
        return False
    before, after = (Trajectory.model_validate(value or {}) for value in (old, new))
    fewer = after.problems is not None and (before.problems is None or after.problems < before.problems)
    return fewer or after.probe < before.probe
