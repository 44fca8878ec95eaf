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
from elicit.tasks.datasets.records import Record
from elicit.tasks.prompts import AskedTask, asking


class KeptProblems(TypedDict):
    """The test problems of a task of records, in the order in which they are asked."""

    name: str
    template: str
    stop: list[str]
    max_new_tokens: int
    answer_space: int | None
    problems: list[KeptRecord]
    shown: list[KeptRecord]
    """Train problems that stand solved in front of every prompt."""


class KeptRecord(TypedDict):
    """The fields of a `Record` that its prompt and its verdict depend on; empty ones are left out."""

    id: str
    prompt: str
    answer: str
    group: NotRequired[str]
    cue_prompt: NotRequired[str]
    worked: NotRequired[str]
    choices: NotRequired[list[str]]


@dataclass(frozen=True)
class KeptTask(RecordTask):
    """A task of records of which only the test problems are there."""

    shown: tuple[Record, ...] = ()
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
        pool = {"test": self.records, "train": self.shown}.get(split, ())
        wanted = len(pool) if n is None else n
        if seed or wanted > len(pool) or not pool:
            raise ElicitError(
                f"task {self.name!r}: the run kept {len(self.records)} test problems; its file is needed for others."
            )
        return [self._problem(record) for record in pool[:wanted]]


def keep_problems(task: Task, n: int) -> KeptProblems | None:
    """The first `n` test problems as plain data; None for a task whose problems a program draws."""
    inner = task.inner if isinstance(task, AskedTask) else task
    if not isinstance(inner, RecordTask):
        return None
    shots = task.asking.shots if isinstance(task, AskedTask) else 0
    shown = inner.problems("train", shots) if shots else []
    return {
        "name": inner.name,
        "template": inner.template,
        "stop": list(inner.stop),
        "max_new_tokens": inner.max_new_tokens,
        "answer_space": inner.answer_space,
        "problems": [_kept(problem.content, ("group", "cue_prompt")) for problem in inner.problems("test", n)],
        "shown": [_kept(problem.content, ("worked",)) for problem in shown],
    }


def kept_task(description: Mapping[str, Any], kept: KeptProblems) -> Task:
    """The task that a description names, made of kept problems and not of its file.

    Raises:
        ElicitError: options that the format does not have.
    """
    name = str(description["task"])
    options = {key: description.get(key) for key in ("reading", "grader", "answer_pattern")}
    form = formats.build(name, description.get("format", name if name in formats.FORMATS else "text"), **options)
    task = KeptTask(
        name=kept["name"],
        records=tuple(map(_restored, kept["problems"])),
        format=form,
        template=kept["template"],
        stop=tuple(kept["stop"]),
        max_new_tokens=kept["max_new_tokens"],
        description=description,
        shown=tuple(map(_restored, kept["shown"])),
        space=kept["answer_space"],
    )
    prompts = description.get("prompts")
    return task if prompts is None else AskedTask(task, asking(prompts))


def _kept(record: Record, more: tuple[str, ...]) -> KeptRecord:
    fields: dict[str, Any] = {"id": record.id, "prompt": record.prompt, "answer": record.answer}
    fields |= {name: value for name in more if (value := getattr(record, name)) is not None}
    if record.choices:
        fields["choices"] = list(record.choices)
    return fields  # type: ignore[return-value]


def _restored(kept: KeptRecord) -> Record:
    fields: dict[str, Any] = {**kept, "choices": tuple(kept.get("choices", ()))}
    return Record(**fields)
