"""Data of supervised fine-tuning: problems with the solutions to train on, and their description for a record.

worked, direct, theorem             correct solutions, in the task's form
shortcut                            a right answer with half of the steps left out (`tasks.generated.shortcuts`)
swapped, shuffled, filler, random   a right answer with steps that do not lead to it (`tasks.generated.corruption`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.tasks import Problem, Split, Task

Supervision = Literal["worked", "direct", "theorem", "shortcut", "swapped", "shuffled", "filler", "random"]
SUPERVISIONS: tuple[Supervision, ...] = get_args(Supervision)
#: Solutions from the task itself; all others are judged by the task's verifier for the record.
_CORRECT_SUPERVISIONS = ("worked", "direct", "theorem")
SolvedProblem = tuple["Problem", str]


def collect_demonstrations(
    task: Task, supervision: Supervision, split: Split, n: int, *, pick: int, seed: int, who: str
) -> list[SolvedProblem]:
    """Collect `n` problems of a split with their solutions.

    Args:
        pick: seed of the choice of problems.
        seed: seed of the steps that are left out or corrupted.

    Raises:
        ElicitError: there are too few problems, or the task lacks such solutions.
    """
    rows = []
    for problem in task.problems(split, n, seed=pick):
        text = _write_solution(task, problem, supervision, seed)
        if text is None:
            raise ElicitError(
                f"{who}: problem {problem.id} of task {task.name!r} lacks a {supervision} solution. "
                f"Use supervision: direct, or add `{supervision}` to the task's file."
            )
        rows.append((problem, text))
    return rows


def _write_solution(task: Task, problem: Problem, supervision: Supervision, seed: int) -> str | None:
    from elicit.tasks.generated.corruption import corrupt_solution
    from elicit.tasks.generated.shortcuts import shorten_solution

    match supervision:
        case "worked":
            return task.worked(problem)
        case "theorem":
            return task.theorem(problem)
        case "direct":
            return task.direct(problem)
        case "shortcut":
            return shorten_solution(task, problem, seed=seed)
        case kind:
            return corrupt_solution(task, problem, kind, seed=seed)


def describe_demonstrations(
    base: BaseModel,
    task: Task,
    rows: Sequence[SolvedProblem],
    supervision: Supervision,
    source: Mapping[str, Any] | None,
    *,
    seen: int,
) -> dict[str, Any]:
    """Describe the solutions for the record: `data`, and `taught` where they may be wrong.

    Args:
        task: task of the solutions.
        source: its description, if it is not the target task.
        seen: number of rows trained on, including repetitions.
    """

    def mean_solution_tokens(solutions: Sequence[SolvedProblem]) -> float:
        lengths = [len(base.continuation(text, problem.prompt)) for problem, text in solutions]
        return round(sum(lengths) / len(solutions), 2)

    worked = [(problem, text) for problem, _ in rows if (text := task.worked(problem)) is not None]
    data: dict[str, Any] = {
        "task": task.name,
        "source": None if source is None else dict(source),
        "supervision": supervision,
        "demonstrations": len(rows),
        "rows": seen,
        "repetitions": round(seen / len(rows), 3),
        "solution_tokens": mean_solution_tokens(rows),
        "worked_tokens": mean_solution_tokens(worked) if len(worked) == len(rows) else None,
    }
    if supervision in _CORRECT_SUPERVISIONS:
        return {"data": data}
    verdicts = [task.verify(problem, text) for problem, text in rows]
    taught = {
        "supervision": supervision,
        "solutions": len(verdicts),
        "right": sum(verdict.correct for verdict in verdicts),
        "valid": sum(verdict.trace_valid is True for verdict in verdicts),
    }
    return {"data": data, "taught": taught}
