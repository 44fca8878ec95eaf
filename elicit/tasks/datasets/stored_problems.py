"""Problems of a file or dataset as a run keeps them: enough to judge its completions again where the file is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired

from typing_extensions import TypedDict

from elicit.errors import ElicitError
from elicit.tasks.core import Problem, Split, Task
from elicit.tasks.datasets import formats
from elicit.tasks.datasets.record_task import RecordTask
from elicit.tasks.datasets.records import ProblemRecord
from elicit.tasks.prompts import AskedTask, build_asking


class StoredProblems(TypedDict):
    """The test problems of a task of records, in the order in which they are asked."""

    name: str
    template: str
    stop: list[str]
    max_new_tokens: int
    answer_space: int | None
    problems: list[StoredRecord]
    shown: list[StoredRecord]
    """Train problems that stand solved in front of every prompt."""


class StoredRecord(TypedDict):
    """The fields of a `Record` that its prompt and its verdict depend on; empty ones are left out."""

    id: str
    prompt: str
    answer: str
    group: NotRequired[str]
    cue_prompt: NotRequired[str]
    worked: NotRequired[str]
    choices: NotRequired[list[str]]


@dataclass(frozen=True)
class StoredTask(RecordTask):
    """A task of records of which only the test problems are there."""

    shot_records: tuple[ProblemRecord, ...] = ()
    """Train problems, for prompts that show some."""
    space: int | None = None

    @property
    def answer_space(self) -> int | None:
        return self.space

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first `n` test problems (or those train problems that are shown), in the run's order.

        Raises:
            ElicitError: another split or seed, or more problems than were kept.
        """
        pool = {"test": self.records, "train": self.shot_records}.get(split, ())
        count = len(pool) if n is None else n
        if seed or count > len(pool) or not pool:
            raise ElicitError(
                f"task {self.name!r}: the run kept {len(self.records)} test problems; its file is needed for others."
            )
        return [self._make_problem(record) for record in pool[:count]]


def dump_problems(task: Task, n: int) -> StoredProblems | None:
    """The first `n` test problems as plain data; None for a task whose problems a program draws."""
    inner = task.inner if isinstance(task, AskedTask) else task
    if not isinstance(inner, RecordTask):
        return None
    shots = task.asking.shots if isinstance(task, AskedTask) else 0
    shot_problems = inner.problems("train", shots) if shots else []
    return {
        "name": inner.name,
        "template": inner.template,
        "stop": list(inner.stop),
        "max_new_tokens": inner.max_new_tokens,
        "answer_space": inner.answer_space,
        "problems": [_dump_record(problem.content, ("group", "cue_prompt")) for problem in inner.problems("test", n)],
        "shown": [_dump_record(problem.content, ("worked",)) for problem in shot_problems],
    }


def restore_task(description: Mapping[str, Any], stored: StoredProblems) -> Task:
    """The task that a description names, made of kept problems and not of its file.

    Raises:
        ElicitError: options that the format does not have.
    """
    name = str(description["task"])
    options = {key: description.get(key) for key in ("reading", "grader", "answer_pattern")}
    form = formats.build_format(name, description.get("format", name if name in formats.FORMATS else "text"), **options)
    task = StoredTask(
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


def _dump_record(record: ProblemRecord, more: tuple[str, ...]) -> StoredRecord:
    fields: dict[str, Any] = {"id": record.id, "prompt": record.prompt, "answer": record.answer}
    fields |= {name: value for name in more if (value := getattr(record, name)) is not None}
    if record.choices:
        fields["choices"] = list(record.choices)
    return fields  # type: ignore[return-value]


def _restore_record(stored: StoredRecord) -> ProblemRecord:
    fields: dict[str, Any] = {**stored, "choices": tuple(stored.get("choices", ()))}
    return ProblemRecord(**fields)
