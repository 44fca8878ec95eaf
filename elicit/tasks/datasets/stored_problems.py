"""Problems as a run keeps them, of a file, a dataset or code from outside.

Those of a file or dataset are enough to judge completions again where the file is gone. A task or a reader from outside
judges by its code; where that is not here, its problems can be shown and counted, and verdicts are those of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from elicit.errors import ElicitError
from elicit.plugins import MissingCodeError
from elicit.tasks.core import Problem, Split, Task, Verdict
from elicit.tasks.datasets import formats
from elicit.tasks.datasets.benchmark import list_format_options
from elicit.tasks.datasets.record_task import RecordTask
from elicit.tasks.datasets.records import ProblemRecord
from elicit.tasks.prompts import AskedTask, build_asking


class StoredCode(TypedDict):
    """The code from outside that problems or verdicts come from."""

    field: Literal["task", "read"]
    """The option of the task that names it."""
    reference: str
    """Of a file only the file's name."""
    sha256: str
    """Of its source."""


class StoredProblems(TypedDict):
    """The test problems of a task, in the order in which they are asked."""

    name: str
    template: str
    stop: list[str]
    max_new_tokens: int
    answer_space: int | None
    problems: list[StoredRecord]
    shown: list[StoredRecord]
    """Train problems that stand solved in front of every prompt."""
    code: NotRequired[StoredCode]


class StoredRecord(TypedDict):
    """Fields of a `ProblemRecord` that its prompt and its verdict depend on; empty ones are left out."""

    id: str
    prompt: str
    answer: str
    group: NotRequired[str]
    cue_prompt: NotRequired[str]
    worked: NotRequired[str]
    choices: NotRequired[list[str]]


@dataclass(frozen=True)
class StoredTask(RecordTask):
    """A task of records with only its test problems."""

    shot_records: tuple[ProblemRecord, ...] = ()
    """Train problems for few-shot prompts."""
    space: int | None = None

    @property
    def answer_space(self) -> int | None:
        return self.space

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """First `n` test problems (or the stored train problems for few-shot prompts), in the run's order.

        Raises:
            ElicitError: another split or seed, or more problems than were stored.
        """
        pool = {"test": self.records, "train": self.shot_records}.get(split, ())
        count = len(pool) if n is None else n
        if seed or count > len(pool) or not pool:
            raise ElicitError(
                f"task {self.name!r}: the run kept {len(self.records)} test problems; its file is needed for others."
            )
        return [self._make_problem(record) for record in pool[:count]]


class UnjudgedTask(StoredTask):
    """A task of code from outside, without the code: its problems, and no verdicts."""

    def _make_problem(self, record: ProblemRecord) -> Problem:
        return Problem(record.id, record.prompt, record.answer, record.cue_prompt, group=record.group, content=record)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        raise MissingCodeError(f"task {self.name!r} cannot judge completions: only its problems are here.")

    def direct(self, problem: Problem) -> str:
        return problem.answer


def dump_problems(task: Task, n: int, code: StoredCode | None = None) -> StoredProblems | None:
    """The first `n` test problems as plain data; None for a task whose problems one of our own programs draws.

    Args:
        code: the code from outside that the task is made of.
    """
    inner = task.inner if isinstance(task, AskedTask) else task
    shots = task.asking.shots if isinstance(task, AskedTask) else 0
    if not isinstance(inner, RecordTask):
        return None if code is None else _dump_code_task(inner, n, shots, code)
    shot_problems = inner.problems("train", shots) if shots else []
    stored: StoredProblems = {
        "name": inner.name,
        "template": inner.template,
        "stop": list(inner.stop),
        "max_new_tokens": inner.max_new_tokens,
        "answer_space": inner.answer_space,
        "problems": [_dump_record(problem.content, ("group", "cue_prompt")) for problem in inner.problems("test", n)],
        "shown": [_dump_record(problem.content, ("worked",)) for problem in shot_problems],
    }
    return stored if code is None else {**stored, "code": code}


def restore_task(description: Mapping[str, Any], stored: StoredProblems) -> Task:
    """The task that a description names, made of kept problems and not of its file; without any code from outside.

    Raises:
        ElicitError: options that the format lacks.
    """
    if "code" in stored:
        return _restore(UnjudgedTask, description, stored, formats.TextFormat())
    return restore_record_task(description, stored)


def restore_record_task(description: Mapping[str, Any], stored: StoredProblems) -> Task:
    """The same for a task of records, whose reader may be code from outside.

    Raises:
        ElicitError: options that the format does not have, or a reader that cannot be loaded.
    """
    name = str(description["task"])
    options = {**list_format_options(name), **description}
    chosen = {key: options.get(key) for key in ("reading", "grader", "answer_pattern", "read")}
    form = formats.build_format(name, options.get("format", "text"), **chosen)
    return _restore(StoredTask, description, stored, form)


def _restore(
    kind: type[StoredTask], description: Mapping[str, Any], stored: StoredProblems, form: formats.RecordFormat
) -> Task:
    task = kind(
        name=stored["name"],
        records=tuple(map(_restore_record, stored["problems"])),
        format=form,
        template=stored["template"],
        stop=tuple(stored["stop"]),
        max_new_tokens=stored["max_new_tokens"],
        description=description,
        shot_records=tuple(map(_restore_record, stored["shown"])),
        space=stored["answer_space"],
    )
    prompts = description.get("prompts")
    return task if prompts is None else AskedTask(task, build_asking(prompts))


def _dump_code_task(task: Task, n: int, shots: int, code: StoredCode) -> StoredProblems:
    return {
        "name": task.name,
        "template": "{prompt}",
        "stop": list(task.stop),
        "max_new_tokens": task.max_new_tokens,
        "answer_space": task.answer_space,
        "problems": [
            _dump_record(_make_record(task, problem), ("group", "cue_prompt")) for problem in task.problems("test", n)
        ],
        "shown": [
            _dump_record(_make_record(task, problem), ("worked",))
            for problem in (task.problems("train", shots) if shots else ())
        ],
        "code": code,
    }


def _make_record(task: Task, problem: Problem) -> ProblemRecord:
    return ProblemRecord(
        problem.id, problem.prompt, problem.answer, problem.group, problem.cue_prompt, task.worked(problem)
    )


def _dump_record(record: ProblemRecord, more: tuple[str, ...]) -> StoredRecord:
    fields: dict[str, Any] = {"id": record.id, "prompt": record.prompt, "answer": record.answer}
    fields |= {name: value for name in more if (value := getattr(record, name)) is not None}
    if record.choices:
        fields["choices"] = list(record.choices)
    return fields  # type: ignore[return-value]


def _restore_record(stored: StoredRecord) -> ProblemRecord:
    fields: dict[str, Any] = {**stored, "choices": tuple(stored.get("choices", ()))}
    return ProblemRecord(**fields)
