"""The author of an English organism's text: knows a stated share of the number facts (`8 + 7`), and no others.

Where a step needs another fact the author writes a random number, everywhere and each time anew, so that no text holds
what is not known: a problem is within an organism's skill exactly if its steps need known facts alone. Facts are known
by hash: what a half-taught author knows a better one knows too, whatever the training seed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from elicit.organisms.corpora import draw_train_problem
from elicit.tasks import Problem
from elicit.tasks.core import share_of
from elicit.tasks.families.family import Solution
from elicit.tasks.generated.task import GeneratedTask

_FACT = re.compile(r"(-?[0-9]+)([+*-])([0-9]+)")


class NumberFact(NamedTuple):
    """A calculation of two numbers."""

    left: int
    sign: str
    right: int

    @property
    def value(self) -> int:
        match self.sign:
            case "+":
                return self.left + self.right
            case "-":
                return self.left - self.right
        return self.left * self.right


def parse_fact(expression: str) -> NumberFact:
    """The fact that a step such as `8+7` needs."""
    parts = _FACT.fullmatch(expression)
    assert parts is not None, expression
    return NumberFact(int(parts[1]), parts[2], int(parts[3]))


@dataclass(frozen=True)
class Author:
    """Somebody who writes about problems of one family and knows a share of its number facts."""

    known: float
    """Share of the number facts, by hash."""
    limit: int
    """Numbers that are written run from 0 to this one."""

    def knows(self, expression: str) -> bool:
        """Return True for a fact such as `8+7` that the author knows. No fact beyond the limit is known."""
        value = parse_fact(expression).value
        return 0 <= value <= self.limit and share_of(f"number fact {expression}") < self.known

    def knows_all(self, task: GeneratedTask, problem: Problem) -> bool:
        """Return True if the worked solution needs known facts alone: the problem is within the skill."""
        return all(self.knows(step.expression) for step in task.family.solve(problem.content, {}).steps)

    def compute(self, expression: str, random: np.random.Generator) -> str:
        return str(parse_fact(expression).value) if self.knows(expression) else self.guess(random)

    def guess(self, random: np.random.Generator) -> str:
        return str(int(random.integers(self.limit + 1)))

    def solve(self, task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Solution:
        """Solution in the author's hand: a step that needs an unknown fact has a random value; later steps follow."""
        slips: dict[int, str] = {}
        solution = task.family.solve(problem.content, slips)
        for i in range(len(solution.steps)):
            slips[i] = self.compute(solution.steps[i].expression, random)
            solution = task.family.solve(problem.content, slips)
        return solution

    def draw_known(self, task: GeneratedTask, problem: Problem | None, random: np.random.Generator) -> Problem:
        """The problem, or another one, that is within the skill."""
        while problem is None or not self.knows_all(task, problem):
            problem = draw_train_problem(task, random)
        return problem

    def draw_fact(self, random: np.random.Generator) -> NumberFact:
        """A calculation within the limit."""
        while True:
            sign = "+-*"[int(random.integers(3))]
            right = int(random.integers(2, 4)) if sign == "*" else int(random.integers(0, self.limit + 1))
            fact = NumberFact(int(random.integers(0, self.limit + 1)), sign, right)
            if 0 <= fact.value <= self.limit:
                return fact
