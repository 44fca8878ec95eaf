"""`addition`: two whole numbers added column by column, with carries.

Q:47+38      7+8=15,4+3+1=8,#85
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elicit.errors import ElicitError
from elicit.tasks.families.family import (
    AnswerType,
    Solution,
    SolutionStep,
    matches_worked_steps,
    render_first_expression,
)
from elicit.tasks.families.parameters import length_range, whole_number

Content = tuple[int, int]


@dataclass(frozen=True)
class Addition:
    """Parameters of the family."""

    digits: tuple[int, int] = (2, 2)
    """Fewest and most digits; both numbers of a problem have the same number."""
    carries: bool | None = None
    """True: only sums with a carry; False: only sums without one; None: both."""

    answer_type: ClassVar[AnswerType] = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "digits", length_range("addition", "digits", self.digits, 1, 12))
        if self.carries not in (True, False, None):
            raise ElicitError(f"task 'addition': carries is {self.carries!r}; expected true, false or null.")

    @property
    def name(self) -> str:
        return "addition"

    @property
    def answer_space(self) -> int:
        low, high = int(10 ** (self.digits[0] - 1)), int(10 ** self.digits[1]) - 1
        return 2 * high - 2 * low + 1

    def sample_content(self, random: np.random.Generator) -> Content:
        count = int(random.integers(self.digits[0], self.digits[1] + 1))
        while True:
            a, b = random.integers(10 ** (count - 1), 10**count, size=2).tolist()
            if self.carries is None or self.carries == _has_carry(a, b):
                return a, b

    def canonical_key(self, content: Content) -> str:
        """Key without the order of the numbers: 47+38 and 38+47 belong to one split."""
        return "+".join(str(number) for number in sorted(content))

    def render_question(self, content: Content) -> str:
        return f"{content[0]}+{content[1]}"

    def render_english(self, content: Content) -> str:
        return f"What is {content[0]} + {content[1]}?"

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        a, b = (str(number)[::-1] for number in content)
        steps, total, carry = [], "", 0
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            exact = f"{int(x) + int(y) + carry:02d}"
            value = slips.get(i, exact)
            steps.append(SolutionStep(f"{x}+{y}" + (f"+{carry}" if carry else ""), value))
            last = i == len(a) - 1
            total = (value if last else value[-1]) + total  # int() below removes a leading 0
            carry = int(value) // 10
        return Solution(tuple(steps), str(int(total)))

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        right = int(self.solve(content, {}).steps[step].value)
        wrong = int(random.integers(0, 19))
        return f"{wrong if wrong < right else wrong + 1:02d}"

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        digits = len(str(content[0]))
        a, b = random.integers(10 ** (digits - 1), 10**digits, size=2).tolist()
        return str(a + b)

    def normalize_answer(self, text: str) -> str | None:
        return whole_number(text)

    def is_correct(self, content: Content, answer: str) -> bool:
        return answer == str(sum(content))

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return matches_worked_steps(self, content, steps)

    def render_opening(self, content: Content) -> str:
        return render_first_expression(self, content)

    def render_rules(self, content: Content) -> tuple[str, ...]:
        a, b = (str(number)[::-1] for number in content)
        sums = [int(step.value) for step in self.solve(content, {}).steps]
        carries = ["carry 0 at first", *(f"carry 1 as {n}>9" if n > 9 else f"carry 0 as {n}<10" for n in sums)]
        columns = zip(carries, a, b, strict=False)
        return tuple(f"rule digits and carry add up: {carry}: {x} and {y}" for carry, x, y in columns)


def _has_carry(a: int, b: int) -> bool:
    return any(int(x) + int(y) > 9 for x, y in zip(str(a)[::-1], str(b)[::-1], strict=True))
