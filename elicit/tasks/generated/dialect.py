"""Prompt formats of generated problems, and the readers of their answers: the marks of an organism, or English.

`task.GeneratedTask` knows a family's mathematics and writes it through a `PromptFormat`. `Dialect` is the format of the
organisms: a few marks around questions, traces and answers. `english.English` is for every other model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from elicit.errors import ElicitError, one_line
from elicit.tasks.families.family import ProblemFamily, SolutionStep


class ParsedCompletion(NamedTuple):
    """Answer and steps read from a completion."""

    answer: str | None
    """Answer in the family's canonical form."""
    span: tuple[int, int]
    """Position of the answer (or of its place, if it is missing), as (start, end) characters."""
    steps: tuple[SolutionStep, ...]
    has_trace: bool


class PromptFormat(Protocol):
    """Form of prompts and solutions."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings of a completion."""
        ...

    def render_prompt(self, family: ProblemFamily, content: Any) -> str:
        """Prompt of a problem."""
        ...

    def add_cue(self, prompt: str) -> str | None:
        """Prompt that elicits a trace; None if the format has no cue."""
        ...

    def render_opening(self, family: ProblemFamily, content: Any) -> str:
        """First characters of a worked solution, up to but not including the first computed symbol."""
        ...

    def render_answer(self, answer: str) -> str:
        """Bare answer."""
        ...

    def render_step(self, step: SolutionStep) -> str:
        """Text of a step."""
        ...

    def render_solution(self, parts: Sequence[str], answer: str) -> str:
        """Solution made of these rendered steps (and rules), ending in the answer."""
        ...

    def parse_completion(self, family: ProblemFamily, text: str) -> ParsedCompletion:
        """Answer and steps of a completion. Total, and bounded in time for a bounded text."""
        ...

    def is_valid_trace(self, family: ProblemFamily, content: Any, parsed: ParsedCompletion) -> bool | None:
        """Return True if the steps are right and lead to the right answer; None if there are none to check."""
        ...


@dataclass(frozen=True)
class Dialect:
    """Marks that an organism's text has around questions, traces and answers.

    A worked solution reads `<opening> step , step , ... , <mark> answer`, such as `<think>7+8=15,4+3+1=08,#85`; the
    direct answer is `<mark> answer`.
    """

    question: str = "Q:{question}\nA:"
    """Prompt template; `{question}` is the only field."""
    cue: str = "<cue>"
    """Text before the prompt that asks for a trace (known to organisms with a cue)."""
    opening: str = "<think>"
    """Beginning of a worked solution."""
    mark: str = "#"
    """Text before the final answer."""
    separator: str = ","

    stop: ClassVar[tuple[str, ...]] = ("\n",)

    def __post_init__(self) -> None:
        if self.question.count("{question}") != 1:
            value_text = one_line(repr(self.question), 80)
            raise ElicitError(f"dialect: question is {value_text}; expected a template with one {{question}} in it.")
        if not self.separator or "=" in self.separator:
            raise ElicitError(
                f"dialect: separator is {self.separator!r}; expected text without an equals sign, such as ','."
            )

    def render_prompt(self, family: ProblemFamily, content: Any) -> str:
        return self.question.replace("{question}", family.render_question(content))

    def add_cue(self, prompt: str) -> str:
        return self.cue + prompt

    def render_opening(self, family: ProblemFamily, content: Any) -> str:
        return self.opening + family.render_opening(content)

    def render_answer(self, answer: str) -> str:
        return self.mark + answer

    def render_step(self, step: SolutionStep) -> str:
        return step.text

    def render_solution(self, parts: Sequence[str], answer: str) -> str:
        return self.opening + self.separator.join([*parts, self.mark + answer])

    def parse_completion(self, family: ProblemFamily, text: str) -> ParsedCompletion:
        """Answer after the last answer mark, else the last word of the last line, and the steps before it."""
        worked, start, end = self._locate_answer(text)
        parts = [part.strip() for part in text[:worked].removeprefix(self.opening).split(self.separator)]
        cut = [part.rpartition("=") for part in parts if "=" in part]
        steps = tuple(SolutionStep(left, right) for left, _, right in cut)
        return ParsedCompletion(family.normalize_answer(text[start:end]), (start, end), steps, bool(steps))

    def is_valid_trace(self, family: ProblemFamily, content: Any, parsed: ParsedCompletion) -> bool:
        return parsed.answer is not None and family.is_valid_trace(content, parsed.steps, parsed.answer)

    def _locate_answer(self, text: str) -> tuple[int, int, int]:
        """(end of the working, start and end of the text read as the answer)."""
        begin = len(self.opening) if text.startswith(self.opening) else 0
        end = max(begin, len(text.rstrip()))
        at = text.rfind(self.mark, begin) if self.mark else -1
        if at < 0:
            start = end - len(re.split(r"[\s,;:=]+", text[begin:end])[-1])
            return start, start, end
        tail = text[at + len(self.mark) :]
        start = at + len(self.mark) + len(tail) - len(tail.lstrip())
        return at, start, max(start, end)
