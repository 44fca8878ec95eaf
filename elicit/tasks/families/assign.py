"""`assign`: variables assigned from each other modulo 10, in shuffled order.

Q:c=b+2;a=3;b=a+4;c      a=3,b=3+4=7,c=7+2=9,#9
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elicit.tasks.families.family import Kind, Solution, Step, as_worked, copied_opening
from elicit.tasks.families.parameters import length_range, whole_number

#: Names in order of dependence, the first one's value, what is added at each further one, and the order of writing.
Content = tuple[tuple[str, ...], int, tuple[int, ...], tuple[int, ...]]
_NAMES = "abcdefghij"
_MODULUS = 10


@dataclass(frozen=True)
class Assign:
    """Parameters of the family."""

    steps: tuple[int, int] = (2, 3)
    """Fewest and most additions between the first variable and the one asked for."""

    kind: ClassVar[Kind] = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", length_range("assign", "steps", self.steps, 1, len(_NAMES) - 1))

    @property
    def name(self) -> str:
        return "assign"

    @property
    def answer_space(self) -> int:
        return _MODULUS

    def draw(self, random: np.random.Generator) -> Content:
        count = int(random.integers(self.steps[0], self.steps[1] + 1))
        names = random.permutation(list(_NAMES))[: count + 1].tolist()
        addends = random.integers(1, _MODULUS, size=count).tolist()
        order = random.permutation(count + 1).tolist()
        return tuple(names), int(random.integers(_MODULUS)), tuple(addends), tuple(order)

    def key(self, content: Content) -> str:
        """Neither names nor the order of writing matter: the same arithmetic belongs to one split."""
        return f"{content[1]}+" + "+".join(map(str, content[2]))

    def question(self, content: Content) -> str:
        names, first, addends, order = content
        lines = [f"{names[0]}={first}"]
        lines += [f"{names[i + 1]}={names[i]}+{addend}" for i, addend in enumerate(addends)]
        return ";".join(lines[i] for i in order) + f";{names[-1]}"

    def english(self, content: Content) -> str:
        *lines, wanted = self.question(content).split(";")
        told = ", ".join(line.replace("=", " = ").replace("+", " + ") for line in lines)
        return f"Modulo {_MODULUS}, {told}. What is {wanted}?"

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        names, first, addends, _ = content
        value = slips.get(0, str(first))
        steps = [Step(names[0], value)]
        for i, addend in enumerate(addends, start=1):
            expression = f"{names[i]}={value}+{addend}"
            value = slips.get(i, str((int(value) + addend) % _MODULUS))
            steps.append(Step(expression, value))
        return Solution(tuple(steps), value)

    def slip(self, content: Content, step: int, random: np.random.Generator) -> str:
        right = int(self.solve(content, {}).steps[step].value)
        return str((right + int(random.integers(1, _MODULUS))) % _MODULUS)

    def guess(self, random: np.random.Generator, content: Content) -> str:
        return str(int(random.integers(_MODULUS)))

    def canonical(self, text: str) -> str | None:
        return whole_number(text)

    def is_right(self, content: Content, answer: str) -> bool:
        return answer == self.solve(content, {}).answer

    def trace_is_valid(self, content: Content, steps: Sequence[Step], answer: str) -> bool:
        return as_worked(self, content, steps)

    def opening(self, content: Content) -> str:
        return copied_opening(self, content)

    def rules(self, content: Content) -> tuple[str, ...]:
        names, value, addends, _ = content
        stated = [f"rule a given name is its number: {names[0]} is given: {value}"]
        for name, addend in zip(names, addends, strict=False):
            exact = value + addend
            condition = f"{exact}>9 so last digit" if exact > 9 else f"{exact}<10 stays"
            stated.append(f"rule {name} then add: {condition}: {value} and {addend}")
            value = exact % _MODULUS
        return tuple(stated)
