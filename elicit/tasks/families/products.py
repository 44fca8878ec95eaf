"""`products`: a product, and a number added to it or subtracted from it.

Q:23*4+17      23*4=92,92+17=109,#109
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elicit.tasks.families.family import (
    AnswerType,
    Solution,
    SolutionStep,
    matches_worked_steps,
    render_first_expression,
)
from elicit.tasks.families.parameters import length_range, whole_number

#: Two factors, the sign after them, and the last number.
Content = tuple[int, int, str, int]


@dataclass(frozen=True)
class Products:
    """Parameters of the family."""

    left: tuple[int, int] = (2, 2)
    """Fewest and most digits of the first factor."""
    right: tuple[int, int] = (1, 1)
    """Fewest and most digits of the second factor, which is at least 2."""
    last: tuple[int, int] = (2, 2)
    """Fewest and most digits of the number that is added or subtracted."""

    answer_type: ClassVar[AnswerType] = "number"

    def __post_init__(self) -> None:
        for name in ("left", "right", "last"):
            object.__setattr__(self, name, length_range("products", name, getattr(self, name), 1, 6))

    @property
    def name(self) -> str:
        return "products"

    @property
    def answer_space(self) -> int:
        product, last = 10 ** (self.left[1] + self.right[1]), 10 ** self.last[1]
        return int(product + 2 * last)

    def sample_content(self, random: np.random.Generator) -> Content:
        a, b, c = (_sample_number(random, length) for length in (self.left, self.right, self.last))
        return a, max(b, 2), "+-"[int(random.integers(2))], c

    def canonical_key(self, content: Content) -> str:
        a, b, sign, c = content
        return f"{min(a, b)}*{max(a, b)}{sign}{c}"

    def render_question(self, content: Content) -> str:
        return "{}*{}{}{}".format(*content)

    def render_english(self, content: Content) -> str:
        return "What is {} * {} {} {}?".format(*content)

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        a, b, sign, c = content
        product = slips.get(0, str(a * b))
        total = slips.get(1, str(int(product) + c if sign == "+" else int(product) - c))
        return Solution((SolutionStep(f"{a}*{b}", product), SolutionStep(f"{product}{sign}{c}", total)), total)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
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
        a, b, sign, c = content
        name = "add" if sign == "+" else "subtract"
        return (
            f"rule products come before sums: the first sign is *: {a} times {b}",
            f"rule the rest from left to right: the next sign is {sign}: {name} {c} and {a * b}",
        )


def _sample_number(random: np.random.Generator, digits: tuple[int, int]) -> int:
    length = int(random.integers(digits[0], digits[1] + 1))
    return int(random.integers(10 ** (length - 1), 10**length))
