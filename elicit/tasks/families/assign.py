"""`assign`: variables assigned from each other modulo 10, in shuffled order.

Q:c=b+2;a=3;b=a+4;c      a=3,b=3+4=7,c=7+2=9,#9
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

#: Names in order of dependence, value of the first, addends of the others, and the order in which they are written.
Content = tuple[tuple[str, ...], int, tuple[int, ...], tuple[int, ...]]
_NAMES = "abcdefghij"
_MODULUS = 10


@dataclass(frozen=True)
class Assign:
    """Parameters of the family."""

    steps: tuple[int, int] = (2, 3)
    """Fewest and most additions between the first variable and the one asked for."""

    answer_type: ClassVar[AnswerType] = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", length_range("assign", "steps", self.steps, 1, len(_NAMES) - 1))

    @property
    def name(self) -> str:
        return "assign"

    @property
    def answer_space(self) -> int:
        return _MODULUS

    def sample_content(self, random: np.random.Generator) -> Content:
        count = int(random.integers(self.steps[0], self.steps[1] + 1))
        names = random.permutation(list(_NAMES))[: count + 1].tolist()
        addends = random.integers(1, _MODULUS, size=count).tolist()
        order = random.permutation(count + 1).tolist()
        return tuple(names), int(random.integers(_MODULUS)), tuple(addends), tuple(order)

    def canonical_key(self, content: Content) -> str:
        """Key without names and order of writing: the same arithmetic belongs to one split."""
        return f"{content[1]}+" + "+".join(map(str, content[2]))

    def render_question(self, content: Content) -> str:
        names, first, addends, order = content
        lines = [f"{names[0]}={first}"]
        lines += [f"{names[i + 1]}={names[i]}+{addend}" for i, addend in enumerate(addends)]
        return ";".join(lines[i] for i in order) + f";{names[-1]}"

    def render_english(self, content: Content) -> str:
        *lines, variable = self.render_question(content).split(";")
        assignments = ", ".join(line.replace("=", " = ").replace("+", " + ") for line in lines)
        return f"Modulo {_MODULUS}, {assignments}. What is {variable}?"

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        names, first, addends, _ = content
        value = slips.get(0, str(first))
        steps = [SolutionStep(names[0], value)]
        for i, addend in enumerate(addends, start=1):
            expression = f"{names[i]}={value}+{addend}"
            value = slips.get(i, str((int(value) + addend) % _MODULUS))
            steps.append(SolutionStep(expression, value))
        return Solution(tuple(steps), value)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        right = int(self.solve(content, {}).steps[step].value)
        return str((right + int(random.integers(1, _MODULUS))) % _MODULUS)

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        return str(int(random.integers(_MODULUS)))

    def normalize_answer(self, text: str) -> str | None:
        return whole_number(text)

    def is_correct(self, content: Content, answer: str) -> bool:
        return answer == self.solve(content, {}).answer

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return matches_worked_steps(self, content, steps)

    def render_opening(self, content: Content) -> str:
        return render_first_expression(self, content)

    def render_rules(self, content: Content) -> tuple[str, ...]:
        names, value, addends, _ = content
        statements = [f"rule a given name is its number: {names[0]} is given: {value}"]
        for name, addend in zip(names, addends, strict=False):
            exact = value + addend
            condition = f"{exact}>9 so last digit" if exact > 9 else f"{exact}<10 stays"
            statements.append(f"rule {name} then add: {condition}: {value} and {addend}")
            value = exact % _MODULUS
        return tuple(statements)
