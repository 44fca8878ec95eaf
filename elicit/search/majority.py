"""Majority vote over canonical answers (self-consistency, 2203.11171)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit import statistics
from elicit.search.core import Query, SearchResult, read_answers, sample_and_choose

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.sampling import Completion, Decoding, Forward
    from elicit.tasks import Task


@dataclass(frozen=True)
class MajorityVote:
    """Answer with the most frequent canonical answer of `n` samples, the first seen among equals.

    Completions without an answer do not vote, unless none has one.
    """

    n: int

    kind: ClassVar[str] = "majority"
    verifier: ClassVar[bool] = False

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Forward
    ) -> list[SearchResult]:
        def find_majority(query: Query, completions: Sequence[Completion]) -> int:
            answers = read_answers(query, completions, task)
            winner = statistics.majority_vote(answers)
            return 0 if winner is None else answers.index(winner)

        return sample_and_choose(model, queries, decoding, forward, self.n, find_majority)
