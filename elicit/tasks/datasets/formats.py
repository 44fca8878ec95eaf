"""Record formats: the meaning of a row's cells, and the reader for completions.

| format   | a row has                                    | completions are read for                           |
|----------|----------------------------------------------|----------------------------------------------------|
| `text`   | `prompt`, `answer`                           | the last number or line, or `answer_pattern`       |
| `gsm8k`  | `prompt`, `answer` ending in `#### 72`       | `#### 72`, a box, "the answer is", the last number |
| `math`   | `prompt`, `answer` or `worked` with a box    | `\\\\boxed{...}`, "the answer is", a formula         |
| `choice` | `prompt`, `choices`, `answer`                | a letter                                           |

`read: my_file.py:MyReader` puts a reader of your own in the place of `text`'s: an `AnswerReader` that is made from the
right answer (see `answers.base`), or the name of one that an installed package offers in the group `elicit.readers`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from elicit.errors import ElicitError, require_extra, unknown_name_error
from elicit.plugins import list_entry_points, load_reference, parse_reference
from elicit.tasks.answers import choice_options, gsm8k, latex
from elicit.tasks.answers import math as math_answers
from elicit.tasks.answers.free_text import TextReader, check_pattern
from elicit.tasks.answers.letters import LetterReader
from elicit.tasks.answers.reader import AnswerReader
from elicit.tasks.datasets.records import FIELDS, ProblemRecord
from elicit.tasks.jsonl_fields import BadLine


class RecordFormat(Protocol):
    """One format with its options."""

    name: ClassVar[str]

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields to which columns may be mapped."""
        ...

    def prepare_fields(self, fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """(fields of a record, texts of the options) from a row's mapped fields. Raises BadLine."""
        ...

    def make_reader(self, record: ProblemRecord) -> AnswerReader: ...
    def add_marker(self, answer: str) -> str:
        """An answer with the format's mark, for readers that need one."""
        ...


@dataclass(frozen=True)
class TextFormat:
    """The last number, the last line, or the match of a pattern."""

    answer_pattern: str | None = None

    name: ClassVar[str] = "text"
    fields: ClassVar[tuple[str, ...]] = FIELDS

    def __post_init__(self) -> None:
        check_pattern(self.answer_pattern)

    def prepare_fields(self, fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        return fields, ()

    def make_reader(self, record: ProblemRecord) -> AnswerReader:
        return TextReader(record.answer, self.answer_pattern)

    def add_marker(self, answer: str) -> str:
        return answer


@dataclass(frozen=True)
class Gsm8kFormat:
    """A number after `####`; see `answers.gsm8k`."""

    reading_mode: str = "flexible"

    name: ClassVar[str] = "gsm8k"
    fields: ClassVar[tuple[str, ...]] = FIELDS

    def prepare_fields(self, fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        answer = fields.get("answer")
        if not isinstance(answer, str) or "####" not in answer:
            return fields, ()
        final, worked = gsm8k.split_answer(answer)
        return {**({"worked": worked} if worked else {}), **fields, "answer": final}, ()

    def make_reader(self, record: ProblemRecord) -> AnswerReader:
        return gsm8k.Gsm8kReader(record.answer, self.reading_mode)

    def add_marker(self, answer: str) -> str:
        return f"#### {answer}"


@dataclass(frozen=True)
class MathFormat:
    """LaTeX in a box; see `answers.math`."""

    reading_mode: str = "flexible"
    grader: str = "math_verify"

    name: ClassVar[str] = "math"
    fields: ClassVar[tuple[str, ...]] = FIELDS

    def __post_init__(self) -> None:
        if self.grader == "math_verify" and importlib.util.find_spec("math_verify") is None:
            require_extra("math_verify", "tasks", "format 'math' (unless grader: text is given)")

    def prepare_fields(self, fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        source = fields.get("answer") or fields.get("worked")
        if isinstance(source, str) and (boxed := latex.find_boxes(source)):
            return {"worked": source, **fields, "answer": latex.strip_markup(source[slice(*boxed[-1])])}, ()
        if "answer" not in fields and "worked" in fields:
            raise BadLine("'worked' has no \\boxed{...} to take the answer from")
        return fields, ()

    def make_reader(self, record: ProblemRecord) -> AnswerReader:
        return math_answers.MathReader(record.answer, self.reading_mode, self.grader)

    def add_marker(self, answer: str) -> str:
        return f"\\boxed{{{answer}}}"


@dataclass(frozen=True)
class ChoiceFormat:
    """A letter; see `answers.letters`."""

    count_from: int | None = None
    """Number of the first option where answers are positions."""

    name: ClassVar[str] = "choice"
    fields: ClassVar[tuple[str, ...]] = (*FIELDS, "choices")

    def prepare_fields(self, fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        for field in ("prompt", "choices", "answer"):
            if field not in fields:
                raise BadLine(f"'{field}' is missing")
        rest = {name: value for name, value in fields.items() if name != "choices"}
        options = choice_options.parse_options(fields["choices"])
        if isinstance(rest["prompt"], str) and rest["prompt"].strip():
            rest["prompt"] = options.render_question(rest["prompt"])
        return {**rest, "answer": choice_options.gold_letter(rest["answer"], options, self.count_from)}, options.texts

    def make_reader(self, record: ProblemRecord) -> AnswerReader:
        return LetterReader(record.answer, record.choices)

    def add_marker(self, answer: str) -> str:
        return f"The answer is {answer}."


@dataclass(frozen=True)
class OutsideFormat:
    """`prompt` and `answer`, read by code from outside."""

    reader: Callable[[str], AnswerReader]

    name: ClassVar[str] = "text"
    fields: ClassVar[tuple[str, ...]] = FIELDS

    def prepare_fields(self, fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        return fields, ()

    def make_reader(self, record: ProblemRecord) -> AnswerReader:
        return self.reader(record.answer)

    def add_marker(self, answer: str) -> str:
        return answer


def find_reader_reference(name: str) -> str | None:
    """The reference that `read: NAME` is or stands for; None for an unknown name."""
    return name if parse_reference(name) is not None else list_entry_points(READERS).get(name)


def load_reader(task: str, name: object) -> type[AnswerReader]:
    """The reader class that `read` names. Raises ElicitError for another value, or code that is something else."""
    reference = find_reader_reference(name) if isinstance(name, str) else None
    if reference is None:
        known = list_entry_points(READERS)
        hint = "Type read: my_file.py:MyReader"
        raise unknown_name_error(f"reader of task {task!r}", name, known, hint=hint)
    kind = load_reference(reference)
    missing = sorted({name for name in vars(AnswerReader) if not name.startswith("_")} - set(dir(kind)))
    if not isinstance(kind, type) or missing:
        what = f"it lacks {', '.join(missing)}" if missing else "it is not a class"
        raise ElicitError(
            f"task {task!r}: {reference} is not an answer reader: {what}. "
            "Type: class MyReader(elicit.tasks.ReaderBase) with parse_answer()"
        )
    return kind


_MODES = {"gsm8k": gsm8k.MODES, "math": math_answers.MODES}
#: The group of entry points for readers.
READERS = "elicit.readers"
FORMATS = ("text", "gsm8k", "math", "choice")
#: Default columns of each format's benchmarks, used where the user maps none.
COLUMNS: Mapping[str, tuple[dict[str, str], ...]] = {
    "text": ({"prompt": "prompt", "answer": "answer"},),
    "gsm8k": ({"prompt": "question", "answer": "answer"}, {"prompt": "prompt", "answer": "answer"}),
    "math": (
        {"prompt": "problem", "answer": "answer", "worked": "solution"},
        {"prompt": "problem", "worked": "solution"},
        {"prompt": "problem", "answer": "answer"},
        {"prompt": "prompt", "answer": "answer"},
    ),
    "choice": (
        {"prompt": "question", "choices": "choices", "answer": "answerKey"},
        {"prompt": "question", "choices": "choices", "answer": "answer"},
        {"prompt": "prompt", "choices": "choices", "answer": "answer"},
    ),
}


def build_format(
    task: str,
    name: object,
    *,
    reading: object,
    grader: object,
    answer_pattern: object,
    count_from: object = None,
    read: object = None,
) -> RecordFormat:
    """A format by name with its options. Raises ElicitError for an unknown name or an option it does not have."""
    if read is not None:
        if name != "text" or answer_pattern is not None:
            raise ElicitError(f"task {task!r}: read is for format: text without answer_pattern; leave these out.")
        return OutsideFormat(load_reader(task, read))
    if not isinstance(name, str) or name not in FORMATS:
        raise unknown_name_error(f"format of task {task!r}", name, FORMATS)
    if answer_pattern is not None and name != "text":
        raise ElicitError(f"task {task!r}: answer_pattern is for format: text; {name} has a reader of its own.")
    if reading is not None and reading not in _MODES.get(name, ()):
        if name not in _MODES:
            raise ElicitError(f"task {task!r}: format {name} is read in one way; leave out reading.")
        raise unknown_name_error(f"reading of task {task!r}", reading, _MODES[name])
    if grader is not None and (name != "math" or grader not in math_answers.GRADERS):
        if name != "math":
            raise ElicitError(f"task {task!r}: grader is for format: math; leave it out.")
        raise unknown_name_error(f"grader of task {task!r}", grader, math_answers.GRADERS)
    if count_from is not None and name != "choice":
        raise ElicitError(f"task {task!r}: count_from is for format: choice; leave it out.")
    if name == "gsm8k":
        return Gsm8kFormat(str(reading or "flexible"))
    if name == "math":
        return MathFormat(str(reading or "flexible"), str(grader or "math_verify"))
    return ChoiceFormat(count_from) if name == "choice" else TextFormat(answer_pattern)  # type: ignore[arg-type]
