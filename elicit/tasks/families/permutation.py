"""`permutation`: positions swapped, one pair after another, in a short list of letters.

    Q:abcd:12,34,13      12=bacd,34=badc,13=dabc,#dabc

In the question and in the steps `12` swaps the letters in places 1 and 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from elicit.tasks.families.family import (
    AnswerType,
    Solution,
    SolutionStep,
    matches_worked_steps,
    render_first_expression,
)
from elicit.tasks.families.parameters import length_range, whole_parameter

#: Number of letters, then the swaps as 0-based pairs of places.
Content = tuple[int, tuple[tuple[int, int], ...]]
_LETTERS = "abcdefgh"


@dataclass(frozen=True)
class Permutation:
    """Parameters of the family."""

    steps: tuple[int, int] = (2, 5)
    """Fewest and most swaps."""
    letters: int = 4
    """Length of the list."""

    answer_type: ClassVar[AnswerType] = "word"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", length_range("permutation", "steps", self.steps, 1, 40))
        whole_parameter("permutation", "letters", self.letters, 3, len(_LETTERS))

    @property
    def name(self) -> str:
        return "permutation"

    @property
    def answer_space(self) -> int:
        return math.factorial(self.letters)

    def sample_content(self, random: np.random.Generator) -> Content:
        pairs = list(combinations(range(self.letters), 2))
        count = int(random.integers(self.steps[0], self.steps[1] + 1))
        swaps: list[tuple[int, int]] = []
        while len(swaps) < count:
            pair = pairs[int(random.integers(len(pairs)))]
            if not swaps or pair != swaps[-1]:  # the same swap twice in a row would change nothing
                swaps.append(pair)
        return self.letters, tuple(swaps)

    def canonical_key(self, content: Content) -> str:
        return self.render_question(content)

    def render_question(self, content: Content) -> str:
        letters, swaps = content
        return f"{_LETTERS[:letters]}:" + ",".join(f"{a + 1}{b + 1}" for a, b in swaps)

    def render_english(self, content: Content) -> str:
        count, swaps = content
        letters = _LETTERS[:count]
        swaps_text = ", then ".join(f"places {a + 1} and {b + 1}" for a, b in swaps)
        return f"In the word {letters}, swap the letters in {swaps_text}. What is the word now?"

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        letters, swaps = content
        state = _LETTERS[:letters]
        steps = []
        for i, (a, b) in enumerate(swaps):
            order = list(state)
            order[a], order[b] = order[b], order[a]
            state = slips.get(i, "".join(order))
            steps.append(SolutionStep(f"{a + 1}{b + 1}", state))
        return Solution(tuple(steps), state)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        right = self.solve(content, {}).steps[step].value
        return next(guess for guess in iter(lambda: self.guess_answer(random, content), "") if guess != right)

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        return "".join(random.permutation(list(_LETTERS[: content[0]])).tolist())

    def normalize_answer(self, text: str) -> str | None:
        return text if 0 < len(text) <= len(_LETTERS) and set(text) <= set(_LETTERS) else None

    def is_correct(self, content: Content, answer: str) -> bool:
        return answer == self.solve(content, {}).answer

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return matches_worked_steps(self, content, steps)

    def render_opening(self, content: Content) -> str:
        return render_first_expression(self, content)

    def render_rules(self, content: Content) -> tuple[str, ...]:
        letters, swaps = content
        states = [_LETTERS[:letters], *(step.value for step in self.solve(content, {}).steps)]
        return tuple(
            f"rule places {a + 1} and {b + 1} trade: in {state}: {state[a]} and {state[b]}"
            for (a, b), state in zip(swaps, states, strict=False)
        )
