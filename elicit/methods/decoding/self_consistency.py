"""`self_consistency` (2203.11171): sample several answers, return the most frequent canonical one.

    answer = argmax_a #{i : a_i = a} over n samples

1. The model samples n completions; the task's verifier reads each one's canonical answer.
2. The most frequent answer wins, the first seen among equals; its first completion is returned.

Deviation: completions without an answer do not vote. If none has one, the first completion is returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit import statistics
from elicit.errors import ElicitError
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding
from elicit.search.core import read_answers, sample_and_choose

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Completion, Decoding, Source
    from elicit.search import Query, SearchResult
    from elicit.tasks import Task


@dataclass(frozen=True)
class SelfConsistency(Method):
    """Majority vote over the base model's samples."""

    n: int = 16
    """Samples per problem."""
    temperature: float = 1.0
    top_p: float | None = None

    traits: ClassVar[Traits] = Traits(seeded=True, family="decoding")

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ElicitError(f"self_consistency: n is {self.n}; a vote needs at least 2 samples.")
        if self.temperature <= 0:
            raise ElicitError("self_consistency: temperature must be above 0, or all samples are the same.")

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(self.n, lengths.plain, 1, lengths.prompt, 256))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit.policy import Policy

        decoding = task_decoding(task, temperature=self.temperature, top_p=self.top_p)
        return Policy(base, decoding, search=MajorityVote(self.n))


@dataclass(frozen=True)
class MajorityVote:
    """Answer with the most frequent canonical answer of `n` samples."""

    n: int

    kind: ClassVar[str] = "majority"
    verifier: ClassVar[bool] = False

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[SearchResult]:
        def find_majority(query: Query, completions: Sequence[Completion]) -> int:
            answers = read_answers(query, completions, task)
            winner = statistics.majority_vote(answers)
            return 0 if winner is None else answers.index(winner)

        return sample_and_choose(model, queries, decoding, forward, self.n, find_majority)
