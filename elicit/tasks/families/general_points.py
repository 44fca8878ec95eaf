"""`general_points`: make 24 from four cards, each used once, under one of two rules for the face cards (2501.17161).

    Q:JQK=10:2,J,A,4>24      ...      Q:JQK=11,12,13:2,J,A,4>24

Training under one rule and testing under the other (with `require_face`) distinguishes a learned procedure from
remembered combinations. Differences from the paper: cards are text only, the trace has no line that translates cards to
numbers, and only hands with a solution in whole numbers are drawn (the verifier accepts fractions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from elicit.errors import ElicitError, unknown_name_error
from elicit.tasks.families import arithmetic, expression_search
from elicit.tasks.families.family import AnswerType, Solution, SolutionStep

Faces = Literal["ten", "rank"]
#: Ranks 1 (ace) to 13 (king) in the order dealt, and the rule.
Content = tuple[tuple[int, ...], Faces]
TARGET = 24
#: The rules as written in a question.
RULES: dict[str, str] = {"ten": "JQK=10", "rank": "JQK=11,12,13"}
_LETTERS = {1: "A", 11: "J", 12: "Q", 13: "K"}


@dataclass(frozen=True)
class GeneralPoints:
    """Parameters of the family."""

    faces: Faces = "ten"
    """Value of jack, queen and king: `ten`, 10 each; `rank`, 11, 12 and 13."""
    require_face: bool = False
    """Only hands with a jack, queen or king, whose value depends on the rule."""

    answer_type: ClassVar[AnswerType] = "expression"

    def __post_init__(self) -> None:
        if self.faces not in get_args(Faces):
            raise unknown_name_error("rule 'faces' of task 'general_points'", self.faces, get_args(Faces))
        if not isinstance(self.require_face, bool):
            raise ElicitError(f"task 'general_points': require_face is {self.require_face!r}; expected true or false.")

    @property
    def name(self) -> str:
        return "general_points"

    @property
    def answer_space(self) -> None:
        return None

    def sample_content(self, random: np.random.Generator) -> Content:
        """Four cards of a pack of 52 that can make 24 under the rule."""
        while True:
            cards = tuple(int(card) % 13 + 1 for card in random.choice(52, size=4, replace=False))
            if self.require_face and max(cards) <= 10:
                continue
            content: Content = (cards, self.faces)
            if expression_search.plan_moves(card_values(content), TARGET, True) is not None:
                return content

    def canonical_key(self, content: Content) -> str:
        """Sorted cards alone: a hand belongs to one split under both rules."""
        return ",".join(map(str, sorted(content[0])))

    def render_question(self, content: Content) -> str:
        cards, faces = content
        return f"{RULES[faces]}:" + ",".join(render_card(card) for card in cards) + f">{TARGET}"

    def render_english(self, content: Content) -> str:
        cards, faces = content
        *others, last = (render_card(card) for card in cards)
        rule = "J, Q and K count 10" if faces == "ten" else "J counts 11, Q 12 and K 13"
        return (
            f"The cards are {', '.join(others)} and {last}. A counts 1; {rule}. Use each card exactly once, with + - * "
            f"/ and brackets, to make {TARGET}. Which expression of numbers does it?"
        )

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        return expression_search.build_solution(card_values(content), TARGET, slips, use_all=True)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        solution = self.solve(content, {})
        return expression_search.choose_wrong_value(solution, step, card_values(content), TARGET, True, random)

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        return expression_search.sample_expression(card_values(content), random)

    def normalize_answer(self, text: str) -> str | None:
        return arithmetic.normalize_expression(text)

    def is_correct(self, content: Content, answer: str) -> bool:
        return arithmetic.makes_target(answer, card_values(content), TARGET, use_all=True)

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return arithmetic.is_trace_to_target(answer, TARGET, steps)

    def render_opening(self, content: Content) -> str:
        """Empty text: the choice of the first two cards is part of the solution."""
        return ""

    def render_rules(self, content: Content) -> tuple[str, ...]:
        return expression_search.describe_rules(card_values(content), TARGET, use_all=True)


def render_card(card: int) -> str:
    """Face of a card: A, 2 to 10, J, Q, K."""
    return _LETTERS.get(card, str(card))


def card_values(content: Content) -> tuple[int, ...]:
    """Values of the cards under the rule, sorted."""
    cards, faces = content
    return tuple(sorted(min(card, 10) if faces == "ten" else card for card in cards))
