"""Majority vote over canonical answers (self-consistency, 2203.11171)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit import statistics
from elicit.search.core import Ask, Found, chosen, read

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.sampling import Completion, Decoding, Forward
    from elicit.tasks import Task


@dataclass(frozen=True)
class Majority:
    """`n` samples; the most frequent canonical answer wins, the first seen among equals.

    Completions without an answer do not vote, unless none has one.
    """

    n: int

    kind: ClassVar[str] = "majority"
    verifier: ClassVar[bool] = False

    def find(
        self, model: BaseModel, asks: Sequence[Ask], decoding: Decoding, task: Task, forward: Forward
    ) -> list[Found]:
        def elected(ask: Ask, completions: Sequence[Completion]) -> int:
            answers = read(ask, completions, task)
            winner = statistics.majority(answers)
            return 0 if winner is None else answers.index(winner)

        return chosen(model, asks, decoding, forward, self.n, elected)
