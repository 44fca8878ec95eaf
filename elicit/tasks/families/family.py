"""A family of problems: what a program can draw, solve, spoil and check. `generated` makes it a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

#: What an answer looks like: a whole number, an expression, or a word.
AnswerType = Literal["number", "expression", "word"]


class SolutionStep(NamedTuple):
    """One line of working: `expression=value`."""

    expression: str
    value: str

    @property
    def text(self) -> str:
        return f"{self.expression}={self.value}"


class Solution(NamedTuple):
    steps: tuple[SolutionStep, ...]
    answer: str


class ProblemFamily(Protocol):
    """The mathematics of one kind of problem. Contents are plain hashable data."""

    answer_type: ClassVar[AnswerType]

    @property
    def name(self) -> str: ...
    @property
    def answer_space(self) -> int | None: ...
    def sample_content(self, random: np.random.Generator) -> Any:
        """Content of one random problem."""
        ...

    def canonical_key(self, content: Any) -> str:
        """Canonical text of a content: symmetric forms share it, parameters and rules do not enter it."""
        ...

    def render_question(self, content: Any) -> str:
        """In the short notation of organisms."""
        ...

    def render_english(self, content: Any) -> str:
        """As one would ask a person, with the form of the answer where that is not plain."""
        ...

    def solve(self, content: Any, slips: Mapping[int, str]) -> Solution:
        """Work the problem; `slips[i]` replaces the value of step i (0-based) and what follows is computed from it."""
        ...

    def sample_wrong_value(self, content: Any, step: int, random: np.random.Generator) -> str:
        """A wrong but well-formed value for one step."""
        ...

    def guess_answer(self, random: np.random.Generator, content: Any) -> str:
        """A well-formed answer that knows nothing of the problem but its shape."""
        ...

    def normalize_answer(self, text: str) -> str | None:
        """The canonical form of an answer as written, None if it is not an answer. Total."""
        ...

    def is_correct(self, content: Any, answer: str) -> bool:
        """Whether a canonical answer solves the problem. Total, and never evaluates `answer` as code."""
        ...

    def is_valid_trace(self, content: Any, steps: Sequence[SolutionStep], answer: str) -> bool:
        """Whether these steps are all right and lead to `answer`, which is right. Total; see `as_worked`."""
        ...

    def render_opening(self, content: Any) -> str:
        """What a worked solution starts with before anything is computed or found; see `copied_opening`."""
        ...

    def render_rules(self, content: Any) -> tuple[str, ...]:
        """For every step of the worked solution: `rule STATEMENT: CONDITION: SUBSTITUTION`, in printable ASCII.

        Without `=`, by which the verifier knows a step.
        """
        ...


def matches_worked_steps(family: ProblemFamily, content: Any, steps: Sequence[SolutionStep]) -> bool:
    """`trace_is_valid` where there is one way to work a problem: the steps are the worked ones."""
    return tuple(steps) == family.solve(content, {}).steps


def render_first_expression(family: ProblemFamily, content: Any) -> str:
    """`opening` where the first step's left side is read off the question."""
    return family.solve(content, {}).steps[0].expression + "="
