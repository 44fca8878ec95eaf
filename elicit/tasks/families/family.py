"""The family interface: problems that a program can draw, solve, spoil and check. `generated` makes tasks of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

#: Form of the answers: a whole number, an expression, or a word.
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
        """Question in the short notation of organisms."""
        ...

    def render_english(self, content: Any) -> str:
        """Question as one would ask a person, with the form of the answer where it is not obvious."""
        ...

    def solve(self, content: Any, slips: Mapping[int, str]) -> Solution:
        """Worked solution; `slips[i]` replaces the value of step i (0-based), and later steps are computed from it."""
        ...

    def sample_wrong_value(self, content: Any, step: int, random: np.random.Generator) -> str:
        """A wrong but well-formed value for one step."""
        ...

    def guess_answer(self, random: np.random.Generator, content: Any) -> str:
        """Well-formed random answer that uses only the shape of the problem."""
        ...

    def normalize_answer(self, text: str) -> str | None:
        """Canonical form of a written answer, None if it is not an answer. Total."""
        ...

    def is_correct(self, content: Any, answer: str) -> bool:
        """Return True if a canonical answer solves the problem. Total; never evaluates `answer` as code."""
        ...

    def is_valid_trace(self, content: Any, steps: Sequence[SolutionStep], answer: str) -> bool:
        """Return True if all steps are right and lead to a right `answer`. Total; see `matches_worked_steps`."""
        ...

    def render_opening(self, content: Any) -> str:
        """Beginning of a worked solution, before anything is computed or found; see `render_first_expression`."""
        ...

    def render_rules(self, content: Any) -> tuple[str, ...]:
        """For every step of the worked solution: `rule STATEMENT: CONDITION: SUBSTITUTION`, in printable ASCII.

        It must not contain `=`, by which the verifier recognises a step.
        """
        ...


def matches_worked_steps(family: ProblemFamily, content: Any, steps: Sequence[SolutionStep]) -> bool:
    """`is_valid_trace` for problems with only one way to work them: the steps are the worked ones."""
    return tuple(steps) == family.solve(content, {}).steps


def render_first_expression(family: ProblemFamily, content: Any) -> str:
    """`render_opening` for families where the first step's left side is copied from the question."""
    return family.solve(content, {}).steps[0].expression + "="
