"""Auxiliary tasks of a training: those that are watched (`warn`) or protected (`protect`), and their cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError
from elicit.fitting.other_task import bind_described_task

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.tasks import Problem
    from elicit.training.probes import EarlyWarningCallback
    from elicit.training.projection import GradientProjectionCallback
    from elicit.training.supervised_run import Example

TaskDescription = Mapping[str, Any]
"""`{"task": NAME, **parameters}`"""


def build_warning_callback(
    base: BaseModel,
    solved_problems: Sequence[tuple[Problem, str]],
    others: Mapping[str, TaskDescription],
    *,
    every: int,
    who: str,
) -> EarlyWarningCallback:
    """Build a callback that watches the loss on worked solutions of other tasks, on equally many select problems.

    Args:
        solved_problems: select problems of the trained task, each with its training solution.
        others: label -> description of a task.

    Raises:
        ElicitError: a task cannot be built, or lacks worked solutions or enough select problems.
    """
    from elicit.training.probes import EarlyWarningCallback
    from elicit.training.supervised import example

    inside = [example(base, problem.prompt, solution, who=who) for problem, solution in solved_problems]
    outside = {
        label: _encode_task_rows(base, description, "select", len(solved_problems), 0, f"{who}: warn {label!r}")
        for label, description in others.items()
    }
    return EarlyWarningCallback(inside, outside, every=every)


def build_projection_callback(
    base: BaseModel, other: TaskDescription, *, problems: int, seed: int, who: str
) -> GradientProjectionCallback:
    """Build a callback that projects gradients off that of the worked solutions of another task's train problems.

    Raises:
        ElicitError: as for `build_warning_callback`, for train problems.
    """
    from elicit.training.projection import GradientProjectionCallback

    return GradientProjectionCallback(_encode_task_rows(base, other, "train", problems, seed + 1, f"{who}: protect"))


def add_projection_cost(train: Mapping[str, Any], callback: GradientProjectionCallback) -> dict[str, Any]:
    """Add the passes over the protected task and its labels to the cost of a training (`record["train"]`)."""
    extra_tokens, teacher_tokens, labels = callback.count_cost()
    per_token = train["flops"] / train["tokens"]
    return {
        **train,
        "flops": round(train["flops"] + per_token * extra_tokens),
        "tokens": train["tokens"] + extra_tokens,
        "labels": train["labels"] + labels,
        "teacher_tokens": train["teacher_tokens"] + teacher_tokens,
    }


def _encode_task_rows(
    base: BaseModel, description: TaskDescription, split: Any, n: int, seed: int, where: str
) -> list[Example]:
    from elicit.training.supervised import example

    task = bind_described_task(base, description, where)
    rows = []
    for problem in task.problems(split, n, seed=seed):
        solution = task.worked(problem)
        if solution is None:
            raise ElicitError(
                f"{where}: problem {problem.id} of task {task.name!r} lacks a worked solution, on which the loss would "
                "be measured. Name a task that has them."
            )
        rows.append(example(base, problem.prompt, solution, who=where))
    return rows
