"""`mod_chain`: chains of * and + worked from left to right, each result taken modulo 7.

Inherently serial: no operation can be done before the one to its left. Operands come from a shuffled deck of 1 to 6
(shuffled again when it is empty), so in a chain of up to five operations they all differ, and it is always clear which
operand a step uses.

    Q:3*4+5      3*4=5,5+5=3,#3
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

#: First operand, then (operator, operand) pairs.
Content = tuple[int, tuple[tuple[str, int], ...]]
_MODULUS = 7


@dataclass(frozen=True)
class ModChain:
    """Parameters of the family."""

    steps: tuple[int, int] = (2, 4)
    """Fewest and most operations in a chain."""

    answer_type: ClassVar[AnswerType] = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", length_range("mod_chain", "steps", self.steps, 1, 40))

    @property
    def name(self) -> str:
        return "mod_chain"

    @property
    def answer_space(self) -> int:
        return _MODULUS

    def sample_content(self, random: np.random.Generator) -> Content:
        count = int(random.integers(self.steps[0], self.steps[1] + 1))
        operands: list[int] = []
        while len(operands) <= count:
            operands += (random.permutation(_MODULUS - 1) + 1).tolist()
        operands = operands[: count + 1]
        operators = ["*+"[bit] for bit in random.integers(0, 2, size=count).tolist()]
        return operands[0], tuple(zip(operators, operands[1:], strict=True))

    def canonical_key(self, content: Content) -> str:
        return self.render_question(content)

    def render_question(self, content: Content) -> str:
        first, rest = content
        return str(first) + "".join(f"{operator}{operand}" for operator, operand in rest)

    def render_english(self, content: Content) -> str:
        first, rest = content
        chain = str(first) + "".join(f" {operator} {operand}" for operator, operand in rest)
        return f"Work {chain} from left to right, and take every result modulo {_MODULUS}. What is the last result?"

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        value, rest = str(content[0]), content[1]
        steps = []
        for i, (operator, operand) in enumerate(rest):
            left = int(value)
            exact = left * operand if operator == "*" else left + operand
            expression = f"{value}{operator}{operand}"
            value = slips.get(i, str(exact % _MODULUS))
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
        value, statements = content[0], []
        for operator, operand in content[1]:
            exact = value * operand if operator == "*" else value + operand
            condition = f"{exact}>6 less {exact - exact % _MODULUS}" if exact >= _MODULUS else f"{exact}<7 stays"
            statements.append(f"rule {operator} then mod 7: {condition}: {value} and {operand}")
            value = exact % _MODULUS
        return tuple(statements)
