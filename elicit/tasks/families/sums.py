"""`sums`: several whole numbers added, or added and subtracted, from left to right.

    Q:23+58+17      23+58=81,81+17=98,#98

Real base models can mostly do it step by step but mostly cannot give the result at once: a latent gap that does not
come from an organism's training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elicit.errors import ElicitError, one_line
from elicit.tasks.families.family import (
    AnswerType,
    Solution,
    SolutionStep,
    matches_worked_steps,
    render_first_expression,
)
from elicit.tasks.families.parameters import length_range, whole_number

#: First number, then (sign, number) pairs.
Content = tuple[int, tuple[tuple[str, int], ...]]


@dataclass(frozen=True)
class Sums:
    """Parameters of the family."""

    terms: tuple[int, int] = (3, 4)
    """Fewest and most terms."""
    digits: tuple[int, int] = (2, 2)
    """Fewest and most digits of each number."""
    signs: str = "+"
    """Signs that occur: `+`, `-` or `+-`."""

    answer_type: ClassVar[AnswerType] = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", length_range("sums", "terms", self.terms, 2, 20))
        object.__setattr__(self, "digits", length_range("sums", "digits", self.digits, 1, 9))
        if self.signs not in ("+", "-", "+-"):
            raise ElicitError(f"task 'sums': signs is {one_line(repr(self.signs), 40)}; expected +, - or +-.")

    @property
    def name(self) -> str:
        return "sums"

    @property
    def answer_space(self) -> int:
        highest = (10 ** self.digits[1] - 1) * self.terms[1]
        return int(highest) + 1 if self.signs == "+" else 2 * int(highest) + 1

    def sample_content(self, random: np.random.Generator) -> Content:
        count = int(random.integers(self.terms[0], self.terms[1] + 1))
        lengths = random.integers(self.digits[0], self.digits[1] + 1, size=count).tolist()
        numbers = [int(random.integers(10 ** (length - 1), 10**length)) for length in lengths]
        signs = [self.signs[i] for i in random.integers(0, len(self.signs), size=count - 1).tolist()]
        return numbers[0], tuple(zip(signs, numbers[1:], strict=True))

    def canonical_key(self, content: Content) -> str:
        """Key without the order of the terms: equal sums in another order belong to one split."""
        first, rest = content
        return " ".join(sorted(f"{sign}{number}" for sign, number in (("+", first), *rest)))

    def render_question(self, content: Content) -> str:
        first, rest = content
        return str(first) + "".join(f"{sign}{number}" for sign, number in rest)

    def render_english(self, content: Content) -> str:
        first, rest = content
        return f"What is {first}" + "".join(f" {sign} {number}" for sign, number in rest) + "?"

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        value, steps = str(content[0]), []
        for i, (sign, number) in enumerate(content[1]):
            exact = int(value) + number if sign == "+" else int(value) - number
            expression = f"{value}{sign}{number}"
            value = slips.get(i, str(exact))
            steps.append(SolutionStep(expression, value))
        return Solution(tuple(steps), value)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        """Value off by one, by ten, or by a lost carry, as people and models get it wrong."""
        right = int(self.solve(content, {}).steps[step].value)
        return str(right + int(random.choice([-10, -2, -1, 1, 2, 10])))

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        return self.solve(self.sample_content(random), {}).answer

    def normalize_answer(self, text: str) -> str | None:
        return whole_number(text)

    def is_correct(self, content: Content, answer: str) -> bool:
        return answer == self.solve(content, {}).answer

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return matches_worked_steps(self, content, steps)

    def render_opening(self, content: Content) -> str:
        return render_first_expression(self, content)

    def render_rules(self, content: Content) -> tuple[str, ...]:
        names = {"+": "add", "-": "subtract"}
        left = [int(content[0]), *(int(step.value) for step in self.solve(content, {}).steps)]
        pairs = zip(left, content[1], strict=False)
        return tuple(
            f"rule work from left to right: the next sign is {sign}: {names[sign]} {b} and {a}"
            for a, (sign, b) in pairs
        )
