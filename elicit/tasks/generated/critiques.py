"""Candidate solutions with critiques, written by a program that knows the solution, or by a teacher in a file.

    {"id": "sum-7", "candidate": "2+2=5", "critique": "2+2 is 4, not 5. verdict: wrong"}

A line of such a file names its problem by `id` or by `prompt`; a problem may have any number of lines. `correct` (true
or false: is the candidate right?) is optional. Only lines about train problems are trained on: those about the select
split are for judging critiques, those about the test split are counted and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from elicit.errors import ElicitError, did_you_mean, one_line
from elicit.tasks.core import SPLITS, Noisy, Problem, Split, Task
from elicit.tasks.datasets.records import ProblemRecord
from elicit.tasks.jsonl_fields import (
    BadLine,
    bad_lines_error,
    check_known,
    number_lines,
    parse_fields,
    parse_identifier,
    read_file_bytes,
    require_text,
    resolve_file,
)
from elicit.tasks.sequential import draw_sequentially

#: remark: what is wrong, in words. worked: a line with the right solution in the task's own form, then the remark.
Form = Literal["remark", "worked"]
_FIELDS = ("id", "prompt", "candidate", "critique", "correct")
_EXAMPLE = '{"id": "...", "candidate": "...", "critique": "..."}'
_KIND = "critique file"
#: Draws per candidate before giving up: half of a program's draws are right or skip a step.
_PATIENCE = 50


class CritiquedSolution(NamedTuple):
    """One candidate solution of a problem and its critique."""

    problem: Problem
    candidate: str
    critique: str
    """Critique; it ends in a verdict if a program wrote it."""
    correct: bool | None
    """True if the candidate is right, step by step; None if a file does not say."""


class CritiqueFile(NamedTuple):
    """Lines of a critique file, by the split of their problems."""

    train: list[CritiquedSolution]
    select: list[CritiquedSolution]
    test: int
    """Number of lines about test problems, which are left out."""


def write_critiques(
    task: Task, problems: Sequence[Problem], candidates: int, form: Form = "remark"
) -> list[CritiquedSolution]:
    """Critiques by the task of `candidates` different candidates per problem.

    Raises:
        ElicitError: a problem with too few candidates, or without the worked solution that `form` repeats.
    """
    return [critique for problem in problems for critique in _criticise_problem(task, problem, candidates, form)]


def _criticise_problem(task: Task, problem: Problem, candidates: int, form: Form) -> list[CritiquedSolution]:
    critiques: dict[str, CritiquedSolution] = {}
    seed = 0
    while len(critiques) < candidates and seed < candidates * _PATIENCE:
        noisy = task.noisy(problem, seed)
        if noisy is None:
            break
        if noisy.text not in critiques:
            critiques[noisy.text] = CritiquedSolution(
                problem, noisy.text, _render_critique(task, problem, noisy, form), noisy.correct
            )
        seed += 1
    if len(critiques) < candidates:
        raise ElicitError(
            f"task {task.name!r}, problem {problem.id}: {candidates} different candidate solutions were asked for, but "
            f"it has {len(critiques)}. Ask for fewer candidates, add `noisy` to the task's file, or name a file of "
            "critiques (critiques: FILE)."
        )
    return list(critiques.values())


def _render_critique(task: Task, problem: Problem, noisy: Noisy, form: Form) -> str:
    if form == "remark":
        return noisy.critique
    worked = task.worked(problem)
    if worked is None:
        raise ElicitError(
            f"task {task.name!r}, problem {problem.id}: it has no worked solution to put into the critique. "
            "Use form: remark, or add `worked` to the task's file."
        )
    return f"{worked}\n{noisy.critique}"


def read_critiques(path: str | Path, task: Task) -> CritiqueFile:
    """Critiques of a file, by split.

    Problems are looked up among those that `task.problems(split)` lists (for a generated task the first 200), and among
    those that it listed before there were pools, for files of that time.

    Raises:
        ElicitError: a file that cannot be read, bad lines (the first few are listed by number), or no line about a
            train problem.
    """
    file = resolve_file(path, _KIND, "critiques")
    names = _ProblemIndex(task)
    by_split: dict[Split, list[CritiquedSolution]] = {split: [] for split in SPLITS}
    bad: list[tuple[int, str]] = []
    for line, raw in number_lines(read_file_bytes(file, _KIND)):
        try:
            split, critique = _parse_critique_line(parse_fields(raw), names)
        except BadLine as reason:
            bad.append((line, str(reason)))
            continue
        by_split[split].append(critique)
    if bad:
        raise bad_lines_error(file, _KIND, bad, _EXAMPLE)
    if not by_split["train"]:
        raise ElicitError(
            f"{_KIND} {one_line(repr(str(file)), 200)} has no line about a train problem of task {task.name!r} "
            f"({len(by_split['select'])} about select, {len(by_split['test'])} about test). A line is {_EXAMPLE}"
        )
    return CritiqueFile(by_split["train"], by_split["select"], len(by_split["test"]))


class _ProblemIndex:
    """Problems of a task by id and by prompt."""

    def __init__(self, task: Task) -> None:
        self.ids: dict[str, tuple[Split, Problem]] = {}
        self.prompts: dict[str, tuple[Split, Problem]] = {}
        for split in SPLITS:
            for problem in _list_problems(task, split):
                self.ids[problem.id] = split, problem
                self.prompts[problem.prompt] = split, problem
                if isinstance(problem.content, ProblemRecord):
                    self.prompts[problem.content.prompt] = split, problem  # the file's prompt, without the template


def _list_problems(task: Task, split: Split) -> list[Problem]:
    try:
        return [*draw_sequentially(task).problems(split), *task.problems(split)]
    except ElicitError:
        return []  # a small file may have no problem in a split


def _parse_critique_line(fields: dict[str, Any], names: _ProblemIndex) -> tuple[Split, CritiquedSolution]:
    check_known(fields, _FIELDS, "field")
    identity = parse_identifier(fields, "id")
    if (identity is None) == ("prompt" not in fields):
        raise BadLine("expected 'id' or 'prompt', and not both")
    known = names.ids if identity is not None else names.prompts
    name = identity if identity is not None else require_text(fields, "prompt")
    if name not in known:
        what = "id" if identity is not None else "prompt"
        raise BadLine(f"the task has no problem of {what} {one_line(repr(name), 60)}.{did_you_mean(name, known)}")
    correct = fields.get("correct")
    if correct is not None and not isinstance(correct, bool):
        raise BadLine("'correct' is neither true nor false")
    split, problem = known[name]
    return split, CritiquedSolution(
        problem, require_text(fields, "candidate"), require_text(fields, "critique"), correct
    )
