"""Majority vote over canonical answers (self-consistency, 2203.11171)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit import statistics
from elicit.search.core import Ask, Found, found, sampled

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
        drawn = sampled(model, asks, decoding, forward, self.n)
        return [found(ask, one, self._winner(ask, one, task)) for ask, one in zip(asks, drawn, strict=True)]

    def _winner(self, ask: Ask, completions: Sequence[Completion], task: Task) -> int:
        read = [task.verify(ask.problem, ask.opening + completion.text).answer for completion in completions]
        elected = statistics.majority(read)
        return 0 if elected is None else read.index(elected)
