"""`stories`: a quantity followed through a short story, one change a sentence.

Inherently serial: every change needs the value before it, and nothing else. Operations keep the value between 0 and
`limit`.

    Q:tom has 4 apples . he buys 3 more . then they double . he loses 5 . how many ?
    4+3=7,7*2=14,14-5=9,#9
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from elicit.tasks.families.family import (
    AnswerType,
    Solution,
    SolutionStep,
    matches_worked_steps,
    render_first_expression,
)
from elicit.tasks.families.parameters import length_range, whole_number, whole_parameter

Operator = Literal["+", "-", "*"]
#: Person, things, quantity at first, then (sentence, number) pairs; the sentence is a key of `SENTENCES`.
Content = tuple[str, str, int, tuple[tuple[str, int], ...]]

#: People and the word for each in later sentences.
PEOPLE = {"tom": "he", "anna": "she", "ben": "he", "mia": "she", "sam": "he", "lucy": "she", "max": "he", "ella": "she"}
THINGS = ("apples", "books", "coins", "cards", "pens", "shells", "stones", "cakes")
#: Sentence -> its operation. A product's number is in its words.
SENTENCES: dict[str, Operator] = {
    "{who} buys {n} more": "+",
    "{who} finds {n} more": "+",
    "{who} gets {n} more": "+",
    "{who} gives {n} away": "-",
    "{who} loses {n}": "-",
    "{who} sells {n}": "-",
    "then they double": "*",
    "then they triple": "*",
}
_FACTORS = {"then they double": 2, "then they triple": 3}


@dataclass(frozen=True)
class Stories:
    """Parameters of the family."""

    steps: tuple[int, int] = (2, 5)
    """Fewest and most changes in a story."""
    limit: int = 20
    """The largest value at any time."""

    answer_type: ClassVar[AnswerType] = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", length_range("stories", "steps", self.steps, 1, 20))
        whole_parameter("stories", "limit", self.limit, 10, 10_000)

    @property
    def name(self) -> str:
        return "stories"

    @property
    def answer_space(self) -> int:
        return self.limit + 1

    def sample_content(self, random: np.random.Generator) -> Content:
        count = int(random.integers(self.steps[0], self.steps[1] + 1))
        person, things = str(random.choice(list(PEOPLE))), str(random.choice(THINGS))
        first = value = int(random.integers(2, min(self.limit, 100) // 2 + 1))
        changes = []
        for _ in range(count):
            sentence, number = self._sample_change(value, random)
            changes.append((sentence, number))
            value = _apply(SENTENCES[sentence], value, number)
        return person, things, first, tuple(changes)

    def _sample_change(self, value: int, random: np.random.Generator) -> tuple[str, int]:
        """A change after which the value is still from 0 to the limit; sentences that allow none are not drawn."""
        numbers = {
            sentence: range(2, min(value, 99) + 1)
            if operator == "-"
            else range(2, min(self.limit - value, 99) + 1)
            if operator == "+"
            else range(_FACTORS[sentence], _FACTORS[sentence] + (0 < value * _FACTORS[sentence] <= self.limit))
            for sentence, operator in SENTENCES.items()
        }
        possible = [sentence for sentence in SENTENCES if len(numbers[sentence])]
        sentence = possible[int(random.integers(len(possible)))]
        return sentence, numbers[sentence][int(random.integers(len(numbers[sentence])))]

    def canonical_key(self, content: Content) -> str:
        """Key without the words: the same numbers about other things belong to one split."""
        _, _, first, changes = content
        return str(first) + "".join(f"{SENTENCES[sentence]}{number}" for sentence, number in changes)

    def render_question(self, content: Content) -> str:
        return " . ".join(_tell(content)) + " . how many ?"

    def render_english(self, content: Content) -> str:
        person, things, _, _ = content
        story = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in _tell(content))
        return f"{story} How many {things} does {person.capitalize()} have now?"

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        _, _, first, changes = content
        value, steps = str(first), []
        for i, (sentence, number) in enumerate(changes):
            operator = SENTENCES[sentence]
            exact = _apply(operator, int(value), number)
            expression = f"{value}{operator}{number}"
            value = slips.get(i, str(exact))
            steps.append(SolutionStep(expression, value))
        return Solution(tuple(steps), value)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        """Another value of the same range, at most 3 away where there is one."""
        right = int(self.solve(content, {}).steps[step].value)
        near = [value for value in range(max(0, right - 3), min(self.limit, right + 3) + 1) if value != right]
        return str(near[int(random.integers(len(near)))])

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        return str(int(random.integers(self.limit + 1)))

    def normalize_answer(self, text: str) -> str | None:
        return whole_number(text)

    def is_correct(self, content: Content, answer: str) -> bool:
        return answer == self.solve(content, {}).answer

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return matches_worked_steps(self, content, steps)

    def render_opening(self, content: Content) -> str:
        return render_first_expression(self, content)

    def render_rules(self, content: Content) -> tuple[str, ...]:
        person, _, first, changes = content
        verbs = {"+": "add", "-": "take away", "*": "multiply"}
        left = [first, *(int(step.value) for step in self.solve(content, {}).steps)]
        return tuple(
            f"rule {verbs[SENTENCES[sentence]]} as the sentence says: "
            f"{sentence.format(who=PEOPLE[person], n=number)}: {value} and {number}"
            for value, (sentence, number) in zip(left, changes, strict=False)
        )


def _apply(operator: Operator, value: int, number: int) -> int:
    return value + number if operator == "+" else value - number if operator == "-" else value * number


def _tell(content: Content) -> list[str]:
    """The sentences of a story, without the question."""
    person, things, first, changes = content
    later = [sentence.format(who=PEOPLE[person], n=number) for sentence, number in changes]
    return [f"{person} has {first} {things}", *later]
