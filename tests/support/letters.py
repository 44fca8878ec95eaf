"""A task that an untrained model solves half of the time: so pilots keep problems, votes are split and choices differ.

An answer is read by its last character alone, whose code is even or odd, and is right if the sum of the letters is too.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from elicit.tasks.families.family import AnswerType, Solution, SolutionStep, matches_worked_steps

#: By whether it is even (t, the 116th character) or odd (g, the 103rd).
ANSWERS: Final = ("cat", "dog")


@dataclass(frozen=True)
class Letters:
    """Is the sum of a word's letters even (cat) or odd (dog)?"""

    shortest: int = 2
    longest: int = 5

    name: str = "letters"
    answer_space: int = 2

    answer_type: ClassVar[AnswerType] = "word"

    def sample_content(self, random: np.random.Generator) -> str:
        size = int(random.integers(self.shortest, self.longest + 1))
        return "".join(string.ascii_lowercase[int(i)] for i in random.integers(0, 26, size))

    def canonical_key(self, content: str) -> str:
        return content

    def render_question(self, content: str) -> str:
        return content

    def render_english(self, content: str) -> str:
        return f"Is {content} cat or dog?"

    def solve(self, content: str, slips: Mapping[int, str]) -> Solution:
        steps, total = [], 0
        for i, letter in enumerate(content):
            total = ANSWERS.index(slips.get(i, ANSWERS[(total + ord(letter)) % 2]))
            steps.append(SolutionStep(f"+{letter}", ANSWERS[total]))
        return Solution(tuple(steps), ANSWERS[total])

    def sample_wrong_value(self, content: str, step: int, random: np.random.Generator) -> str:
        return ANSWERS[1 - ANSWERS.index(self.solve(content, {}).steps[step].value)]

    def guess_answer(self, random: np.random.Generator, content: str) -> str:
        return ANSWERS[int(random.integers(2))]

    def normalize_answer(self, text: str) -> str | None:
        return ANSWERS[ord(text[-1]) % 2] if text else None

    def is_correct(self, content: str, answer: str) -> bool:
        return answer == self.solve(content, {}).answer

    def is_valid_trace(self, content: str, steps: Sequence[SolutionStep], answer: str) -> bool:
        return matches_worked_steps(self, content, steps)

    def render_opening(self, content: str) -> str:
        return f"+{content[0]}="

    def render_rules(self, content: Any) -> tuple[str, ...]:
        return tuple(f"rule even and odd: at {i}: {letter}," for i, letter in enumerate(content))
