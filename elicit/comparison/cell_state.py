"""The state of a cell: what it has to cover, and whether what lies on disk covers it. Imports no torch.

Reading a run asks these questions as much as working on it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.spec.cells import Cell
from elicit.comparison.storage import typed_files
from elicit.tasks import AskedTask

if TYPE_CHECKING:
    from elicit.tasks import Problem, Task


def count_test_problems(spec: Spec, limit: int | None) -> int:
    """Test problems of every task."""
    return spec.test if limit is None else min(limit, spec.test)


def load_test_problems(task: Task, spec: Spec, limit: int | None) -> list[Problem]:
    """Load the test problems of a task: the first ones of a seeded sequence, up to the limit.

    Their prompts matter only for a task that is bound to a model.
    """
    prompt_task = task.without_chat_template() if isinstance(task, AskedTask) and not task.bound else task
    return prompt_task.problems("test", count_test_problems(spec, limit))


def read_cell_status(cell: Cell, run: Path) -> dict[str, Any]:
    """The cell's status, `{"state": "pending"}` before it ran."""
    return typed_files.read_status(cell.folder_in(run))


def goal_of(cell: Cell, spec: Spec, limit: int | None) -> dict[str, Any]:
    """Everything a finished cell must have covered. A cell whose status has an equal goal is not run again."""
    spec = spec.for_model(cell.model)
    return {
        "fingerprint": cell.fingerprint,
        "tasks": [spec.task_label, *spec.off_target],
        "test": count_test_problems(spec, limit),
        "samples": _sampling_goal(cell, spec, limit),
        "kl_problems": spec.kl_problems,
        **_checkpoint_goal(cell, spec, limit),
    }


def _sampling_goal(cell: Cell, spec: Spec, limit: int | None) -> Any:
    """The samples that this cell needs, so that more samples for one arm leave the others finished."""
    n, problems = spec.samples.count_for_arm(cell.arm), spec.samples.limit_problems(count_test_problems(spec, limit))
    return n if n == 0 or problems == count_test_problems(spec, limit) else {"n": n, "problems": problems}


def _checkpoint_goal(cell: Cell, spec: Spec, limit: int | None) -> dict[str, Any]:
    """The checkpoint evaluation that this cell needs; empty for arms without checkpoints, which stay finished."""
    if not checkpoints.checkpoint_steps(spec.arms[cell.arm]):
        return {}
    return {
        "trajectory": {
            "problems": spec.trajectory_or_default.limit_problems(count_test_problems(spec, limit)),
            "probe": spec.trajectory_or_default.probe,
        }
    }


def covers_goal(status: Mapping[str, Any], cell: Cell, spec: Spec, limit: int | None) -> bool:
    """True if a cell with this status is done, with everything that the spec asks for."""
    return bool(status["state"] == "done" and status.get("goal") == goal_of(cell, spec, limit))


def is_done(cell: Cell, spec: Spec, run: Path, limit: int | None) -> bool:
    return covers_goal(read_cell_status(cell, run), cell, spec, limit)


def describe_outcome(status: Mapping[str, Any]) -> str:
    """What its status says beside the state: its error, or that it ran here though the spec names another engine."""
    engine = str(status.get("engine", ""))
    return str(status.get("error") or (f"on {engine}" if engine.startswith("transformers") else ""))
