"""`countdown`: make a target from three or four numbers, each used at most once.

    Q:3,5,7>26      7*3=21,21+5=26,#7*3+5

Unlike in the other families, a problem has many right answers: any expression that makes the target from the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elicit.errors import ElicitError
from elicit.tasks.families import arithmetic, expression_search
from elicit.tasks.families.family import AnswerType, Solution, SolutionStep
from elicit.tasks.families.parameters import length_range

#: The numbers as written, then the target.
Content = tuple[tuple[int, ...], int]
_TRIES = 20_000


@dataclass(frozen=True)
class Countdown:
    """Parameters of the family."""

    numbers: tuple[int, int] = (3, 4)
    """Fewest and most numbers given."""
    bounds: tuple[int, int] = (1, 20)
    """Smallest and largest number given."""
    target: tuple[int, int] = (10, 99)
    """Smallest and largest target."""

    answer_type: ClassVar[AnswerType] = "expression"

    def __post_init__(self) -> None:
        for field, low, high in (("numbers", 3, 5), ("bounds", 1, 100), ("target", 1, 1000)):
            object.__setattr__(self, field, length_range("countdown", field, getattr(self, field), low, high))

    @property
    def name(self) -> str:
        return "countdown"

    @property
    def answer_space(self) -> None:
        return None

    def sample_content(self, random: np.random.Generator) -> Content:
        """Random content that has a solution: numbers are combined at random until one is left, the target.

        Raises:
            ElicitError: no such target falls within the bounds.
        """
        for _ in range(_TRIES):
            count = int(random.integers(self.numbers[0], self.numbers[1] + 1))
            numbers = random.integers(self.bounds[0], self.bounds[1] + 1, size=count).tolist()
            target = _combine_numbers(list(numbers), random)
            if self.target[0] <= target <= self.target[1] and target not in numbers:
                return tuple(numbers), target
        raise ElicitError(
            f"task 'countdown': no target from {self.target[0]} to {self.target[1]} was found for {self.numbers[0]} to "
            f"{self.numbers[1]} numbers from {self.bounds[0]} to {self.bounds[1]}. Widen target or bounds."
        )

    def canonical_key(self, content: Content) -> str:
        """Key without the order of the numbers."""
        return self.render_question((tuple(sorted(content[0])), content[1]))

    def render_question(self, content: Content) -> str:
        return ",".join(map(str, content[0])) + f">{content[1]}"

    def render_english(self, content: Content) -> str:
        *others, last = map(str, content[0])
        return (
            f"Use {', '.join(others)} and {last}, each at most once, with + - * / and brackets, to make {content[1]}. "
            "Which expression does it?"
        )

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        numbers, target = content
        return expression_search.build_solution(tuple(sorted(numbers)), target, slips, use_all=False)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        numbers, target = content
        solution = self.solve(content, {})
        return expression_search.choose_wrong_value(solution, step, tuple(sorted(numbers)), target, False, random)

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        return expression_search.sample_expression(content[0], random)

    def normalize_answer(self, text: str) -> str | None:
        return arithmetic.normalize_expression(text)

    def is_correct(self, content: Content, answer: str) -> bool:
        return arithmetic.makes_target(answer, *content, use_all=False)

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return arithmetic.is_trace_to_target(answer, content[1], steps)

    def render_opening(self, content: Content) -> str:
        """Empty text: the choice of the first two numbers is part of the solution."""
        return ""

    def render_rules(self, content: Content) -> tuple[str, ...]:
        return expression_search.describe_rules(tuple(sorted(content[0])), content[1], use_all=False)


def _combine_numbers(numbers: list[int], random: np.random.Generator) -> int:
    """Target: two random numbers become their sum, difference, product or (if whole) quotient, until one is left."""
    while len(numbers) > 1:
        a, b = (numbers.pop(int(random.integers(len(numbers)))) for _ in range(2))
        a, b = max(a, b), min(a, b)
        results = [a + b, a - b, a * b] + ([a // b] if b and a % b == 0 else [])
        numbers.append(results[int(random.integers(len(results)))])
    return numbers[0]
