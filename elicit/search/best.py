"""Best of n: the sample that the task's verifier accepts, or the most probable one under the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.search.core import Query, SearchResult, read_answers, sample_and_choose, sample_completions, to_result

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.sampling import Completion, Decoding, Forward
    from elicit.tasks import Task


@dataclass(frozen=True)
class VerifiedBestOfN:
    """Answer with the first of `n` samples that the verifier accepts, else the first. Its accuracy is pass@n."""

    n: int

    kind: ClassVar[str] = "verified"
    verifier: ClassVar[bool] = True

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Forward
    ) -> list[SearchResult]:
        results = []
        for query, completions in zip(
            queries, sample_completions(model, queries, decoding, forward, self.n), strict=True
        ):
            right = [task.verify(query.problem, query.opening + completion.text).correct for completion in completions]
            results.append(
                to_result(query, completions, right.index(True) if any(right) else 0, {"right": sum(right) / self.n})
            )
        return results


@dataclass(frozen=True)
class LikeliestBestOfN:
    """Answer with the one of `n` samples with the highest mean log-probability per token, the first among equals.

    The mean is over the completion's tokens, including its end, under the untempered distribution. Completions without
    an answer are excluded, unless none has one.
    """

    n: int

    kind: ClassVar[str] = "likeliest"
    verifier: ClassVar[bool] = False

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Forward
    ) -> list[SearchResult]:
        def find_likeliest(query: Query, completions: Sequence[Completion]) -> int:
            answered = [i for i, answer in enumerate(read_answers(query, completions, task)) if answer is not None]
            candidates = answered or range(len(completions))
            return max(candidates, key=lambda i: sum(completions[i].logprobs) / len(completions[i].logprobs))

        return sample_and_choose(model, queries, decoding, forward, self.n, find_likeliest)
