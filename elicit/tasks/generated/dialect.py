"""How a generated problem is put into words, and how its answers are read: the marks of an organism, or English.

`generated.GeneratedTask` knows a family's mathematics and speaks through a `Speech`. `Dialect`, here, is that of the
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
    """What is found in a completion."""

    answer: str | None
    """In the family's canonical form."""
    span: tuple[int, int]
    """Where it stands (or would), as (start, end) characters."""
    steps: tuple[SolutionStep, ...]
    has_trace: bool


class PromptFormat(Protocol):
    """The form of prompts and solutions."""

    @property
    def stop(self) -> tuple[str, ...]:
        """What ends a completion."""
        ...

    def render_prompt(self, family: ProblemFamily, content: Any) -> str:
        """The prompt."""
        ...

    def add_cue(self, prompt: str) -> str | None:
        """The prompt that brings a trace, where the task's own words have such a form."""
        ...

    def render_opening(self, family: ProblemFamily, content: Any) -> str:
        """The first characters of a worked solution, up to and without the first computed symbol."""
        ...

    def render_answer(self, answer: str) -> str:
        """The bare answer."""
        ...

    def render_step(self, step: SolutionStep) -> str:
        """A step, written."""
        ...

    def render_solution(self, parts: Sequence[str], answer: str) -> str:
        """A solution of these written steps (and rules) that ends in the answer."""
        ...

    def parse_completion(self, family: ProblemFamily, text: str) -> ParsedCompletion:
        """What a completion says. Total, and bounded in time for a bounded text."""
        ...

    def is_valid_trace(self, family: ProblemFamily, content: Any, parsed: ParsedCompletion) -> bool | None:
        """Whether the steps of a right answer are right and lead to it; None where there are none to check."""
        ...


@dataclass(frozen=True)
class Dialect:
    """The marks an organism's text uses around questions, traces and answers.

    A worked solution reads `<opening> step , step , ... , <mark> answer`, such as `<think>7+8=15,4+3+1=08,#85`; the
    direct answer is `<mark> answer`.
    """

    question: str = "Q:{question}\nA:"
    """Prompt template; `{question}` is the only field."""
    cue: str = "<cue>"
    """Put before the prompt, it asks for a trace (organisms that have a cue know it)."""
    opening: str = "<think>"
    """How a worked solution opens."""
    mark: str = "#"
    """Stands before the final answer."""
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
        """The answer is what follows the last answer mark, else the last line's last word."""
        worked, start, end = self._locate_answer(text)
        parts = [part.strip() for part in text[:worked].removeprefix(self.opening).split(self.separator)]
        cut = [part.rpartition("=") for part in parts if "=" in part]
        steps = tuple(SolutionStep(left, right) for left, _, right in cut)
        return ParsedCompletion(family.normalize_answer(text[start:end]), (start, end), steps, bool(steps))

    def is_valid_trace(self, family: ProblemFamily, content: Any, parsed: ParsedCompletion) -> bool:
        return parsed.answer is not None and family.is_valid_trace(content, parsed.steps, parsed.answer)

    def _locate_answer(self, text: str) -> tuple[int, int, int]:
        """(end of the working, start and end of what is read as the answer)."""
        begin = len(self.opening) if text.startswith(self.opening) else 0
        end = max(begin, len(text.rstrip()))
        at = text.rfind(self.mark, begin) if self.mark else -1
        if at < 0:
            start = end - len(re.split(r"[\s,;:=]+", text[begin:end])[-1])
            return start, start, end
        tail = text[at + len(self.mark) :]
        start = at + len(self.mark) + len(tail) - len(tail.lstrip())
        return at, start, max(start, end)
