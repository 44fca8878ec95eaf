"""`best_of_n`: draw n samples and answer with one of them.

    likelihood:  argmax_i (1 / T_i) sum_t log p(y_i,t | x, y_i,<t)

1. The model samples n completions.
2. With `verifier` the first one that the task's verifier accepts is the answer, else the first one. The accuracy is
   pass@n; such an arm is excluded from comparisons and flagged in the report.
3. With `likelihood` the answer is the completion with the highest mean log-probability per token, the first among
   equals. The mean is over the completion's tokens, including its end, under the untempered distribution. Completions
   without an answer are excluded, unless none has one.
4. `majority` is `self_consistency` under another name: the same samples and the same vote.

Source: 2107.03374 (pass@k, and the choice by mean log-probability).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding
from elicit.search import load_search, sample_completions, to_result
from elicit.search.core import read_answers, sample_and_choose

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Completion, Decoding, Source
    from elicit.search import Query, SearchResult
    from elicit.tasks import Task

#: Option `by` -> kind of search.
_KINDS = {"verifier": "verified", "likelihood": "likeliest", "majority": "majority"}


@dataclass(frozen=True)
class BestOfN(Method):
    """One of the base model's samples, chosen by a verifier, by likelihood or by vote."""

    n: int = 16
    """Samples per problem."""
    by: Literal["verifier", "likelihood", "majority"] = "verifier"
    """verifier: the first sample it accepts. likelihood: the most probable per token. majority: the most common answer.
    """
    temperature: float = 1.0
    top_p: float | None = None

    #: Of the default; a config that chooses without the verifier is not marked.
    traits: ClassVar[Traits] = Traits(seeded=True, verifier=True, family="decoding")

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ElicitError(f"best_of_n: n is {self.n}; a choice needs at least 2 samples.")
        if self.temperature <= 0:
            raise ElicitError("best_of_n: temperature must be above 0, or all samples are the same.")
        if self.by != "verifier":
            self.change_traits(verifier=False)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(self.n, lengths.plain, 1, lengths.prompt, 256))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit.policy import Policy

        decoding = task_decoding(task, temperature=self.temperature, top_p=self.top_p)
        return Policy(base, decoding, search=load_search({"kind": _KINDS[self.by], "n": self.n}))


@dataclass(frozen=True)
class VerifiedBestOfN:
    """Answer with the first of `n` samples that the verifier accepts, else the first."""

    n: int

    kind: ClassVar[str] = "verified"
    verifier: ClassVar[bool] = True

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
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
    """Answer with the one of `n` samples with the highest mean log-probability per token."""

    n: int

    kind: ClassVar[str] = "likeliest"
    verifier: ClassVar[bool] = False

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[SearchResult]:
        def find_likeliest(query: Query, completions: Sequence[Completion]) -> int:
            answered = [i for i, answer in enumerate(read_answers(query, completions, task)) if answer is not None]
            candidates = answered or range(len(completions))
            return max(candidates, key=lambda i: sum(completions[i].logprobs) / len(completions[i].logprobs))

        return sample_and_choose(model, queries, decoding, forward, self.n, find_likeliest)
