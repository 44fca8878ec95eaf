"""Other tasks beside a training: those that are watched (`warn`) or protected (`protect`), and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError
from elicit.fitting.other_task import task_of

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.tasks import Problem
    from elicit.training.probes import Watch
    from elicit.training.projection import Protect
    from elicit.training.supervised_run import Example

Described = Mapping[str, Any]
"""`{"task": NAME, **parameters}`"""


def watch(
    base: BaseModel,
    taught: Sequence[tuple[Problem, str]],
    others: Mapping[str, Described],
    *,
    every: int,
    who: str,
) -> Watch:
    """A watch over the worked solutions of other tasks, on as many select problems of each.

    Args:
        taught: select problems of the task that is trained on, each with what would be taught of it.
        others: label -> description of a task.

    Raises:
        ElicitError: a task that cannot be built, or has no worked solutions or too few select problems.
    """
    from elicit.training.probes import Watch
    from elicit.training.supervised import example

    inside = [example(base, problem.prompt, solution, who=who) for problem, solution in taught]
    outside = {
        label: _rows(base, described, "select", len(taught), 0, f"{who}: warn {label!r}")
        for label, described in others.items()
    }
    return Watch(inside, outside, every=every)


def protect(base: BaseModel, other: Described, *, problems: int, seed: int, who: str) -> Protect:
    """Projection off the gradient on the worked solutions of `problems` train problems of another task.

    Raises:
        ElicitError: as `watch`, for train problems.
    """
    from elicit.training.projection import Protect

    return Protect(_rows(base, other, "train", problems, seed + 1, f"{who}: protect"))


def charged(train: Mapping[str, Any], protected: Protect) -> dict[str, Any]:
    """What a training cost (`record["train"]`), with the passes over the protected task and its labels."""
    passed, written, labels = protected.cost()
    per_token = train["flops"] / train["tokens"]
    return {
        **train,
        "flops": round(train["flops"] + per_token * passed),
        "tokens": train["tokens"] + passed,
        "labels": train["labels"] + labels,
        "teacher_tokens": train["teacher_tokens"] + written,
    }


def _rows(base: BaseModel, described: Described, split: Any, n: int, seed: int, where: str) -> list[Example]:
    from elicit.training.supervised import example

    task = task_of(base, described, where)
    rows = []
    for problem in task.problems(split, n, seed=seed):
        solution = task.worked(problem)
        if solution is None:
            raise ElicitError(
                f"{where}: problem {problem.id} of task {task.name!r} has no worked solution, so there is no loss to "
                "look at. Name a task that has them."
            )
        rows.append(example(base, problem.prompt, solution, who=where))
    return rows
