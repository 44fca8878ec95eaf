"""`cot_decoding` (2402.10200): branch on the k most probable first tokens, keep the most confident path.

1. The k most probable first tokens open k paths, which share the prompt's cache; each continues greedily.
2. A path's score Delta is the mean of p(x^1) - p(x^2), the probabilities of the two most probable tokens, over the
   tokens of its *answer* only, under the model's distribution at temperature 1. The answer's tokens are those that
   contain a character of it.
3. `max` takes the path with the highest score; `aggregate` sums the scores of paths with the same canonical answer,
   takes the answer with the highest sum and returns its best path. `any` takes a random path with an answer: the effect
   of branching without choosing.

Paths without an answer have no score and cannot win; if no path has one, the greedy path is the answer.

Deviations: the task's verifier reads the answer, and `aggregate` sums over canonical answers. `min_p` leaves out paths
of first tokens that practically never occur, which are noise; the paper has no such limit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from elicit import seeds
from elicit.errors import ElicitError
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding
from elicit.search import to_result

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Completion, Decoding, Source
    from elicit.search import Query, SearchResult
    from elicit.tasks import Task


@dataclass(frozen=True)
class CotDecodingOptions:
    """The options of CoT-decoding: of the method, and of the search in its policy."""

    k: int = 10
    """First tokens to branch on."""
    choose: Literal["max", "aggregate", "any"] = "max"
    """max: the path with the highest score. aggregate: the answer with the highest sum of scores over its paths. any: a
    path with an answer, at random: a control for the choice."""
    min_p: float = 0.0
    """First tokens with less than this fraction of the largest probability are not branched on; the paper's 0 takes all
    k."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ElicitError(f"cot_decoding: k is {self.k}; expected at least 1 first token.")
        if not 0 <= self.min_p <= 1:
            raise ElicitError(f"cot_decoding: min_p is {self.min_p}; expected 0 to 1.")
        if self.choose not in ("max", "aggregate", "any"):
            raise ElicitError(f"cot_decoding: choose is {self.choose!r}; expected 'max', 'aggregate' or 'any'.")


@dataclass(frozen=True)
class CotDecoding(CotDecodingOptions, Method):
    """The base model, answering with the most confident of its greedy paths. Nothing is random."""

    #: Of the default; choosing at random has seeds.
    traits: ClassVar[Traits] = Traits(family="decoding")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.choose == "any":
            self.change_traits(seeded=True)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(self.k, lengths.mixed_answer, 1, lengths.prompt, 256))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for more paths than the model has first tokens."""
        from elicit.policy import Policy

        search = CotDecodingSearch(self.k, self.choose, self.min_p)
        search.check_first_tokens(base)
        return Policy(base, task_decoding(task), search=search)


class CotPath(NamedTuple):
    """One branch; its rank is that of its first token."""

    completion: Completion
    answer: str | None
    score: float | None
    """Mean margin over the answer's tokens; None without an answer."""
    answer_tokens: tuple[int, ...]
    """Indices of the answer's tokens in the completion."""


@dataclass(frozen=True)
class CotDecodingSearch(CotDecodingOptions):
    """Choose among the paths of every question, by the margin of their answers."""

    kind: ClassVar[str] = "cot_decoding"
    verifier: ClassVar[bool] = False

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[SearchResult]:
        results = []
        for query, query_paths in zip(
            queries, self.generate_paths(model, queries, decoding, task, forward), strict=True
        ):
            winner = self.choose_winner(query_paths, seeds.make_generator(*query.identity, "path"))
            answered = sum(path.score is not None for path in query_paths)
            notes = {
                "winning_rank": float(winner),
                "paths": float(len(query_paths)),
                "paths_with_answer": answered / len(query_paths),
            }
            results.append(to_result(query, [path.completion for path in query_paths], winner, notes))
        return results

    def generate_paths(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[list[CotPath]]:
        """Generate the paths of every question, by the rank of the first token; from one to `k` paths each.

        Raises:
            ElicitError: the decoding samples, or `k` exceeds the number of tokens that the model can choose from.
        """
        from elicit.sampling import generate

        if decoding.temperature > 0:
            raise ElicitError(
                f"cot_decoding continues greedily, but temperature is {decoding.temperature:g}. Set it to 0."
            )
        self.check_first_tokens(model)
        ranks = tuple(range(self.k))
        requests = [query.build_request(self.k)._replace(ranks=ranks, floor=self.min_p) for query in queries]
        batches = generate(model.engine, requests, decoding, forward, measure="margin")
        paths_by_query = []
        for query, completions in zip(queries, batches, strict=True):
            least = completions[0].logprobs[0] + (math.log(self.min_p) if self.min_p > 0 else -math.inf)
            paths = [
                score_path(model, query, completion, task)
                for completion in completions
                if completion.logprobs[0] >= least
            ]
            paths_by_query.append(paths)
        return paths_by_query

    def check_first_tokens(self, model: BaseModel) -> None:
        """Raise ElicitError if `model` has fewer tokens to choose from than paths to open."""
        from elicit.loading import rows

        possible = rows.count_rows(model.engine.hf) - len(model.engine.banned_ids)
        if self.k > possible:
            raise ElicitError(
                f"cot_decoding: k is {self.k}, but {model.name} can only choose among {possible} first tokens."
            )

    def choose_winner(self, paths: Sequence[CotPath], random: np.random.Generator) -> int:
        """Rank of the winning path; ties go to the more probable first token. Only `any` uses `random`."""
        scores = {rank: path.score for rank, path in enumerate(paths) if path.score is not None}
        if not scores:
            return 0
        if self.choose == "any":
            return int(random.choice(list(scores)))
        if self.choose == "aggregate":
            sums: defaultdict[str | None, float] = defaultdict(float)
            for rank, score in scores.items():
                sums[paths[rank].answer] += score
            elected = max(sums, key=lambda answer: sums[answer])
            scores = {rank: score for rank, score in scores.items() if paths[rank].answer == elected}
        return max(scores, key=lambda rank: scores[rank])


def score_path(model: BaseModel, query: Query, completion: Completion, task: Task) -> CotPath:
    """Score a completion, whose margins were measured, by its answer."""
    from elicit.search.spans import find_overlapping_tokens, locate_tokens

    text = query.opening + completion.text
    answer, span = task.verify(query.problem, text).answer, task.answer_span(query.problem, text)
    if answer is None or span is None:
        return CotPath(completion, None, None, ())
    start, end = (position - len(query.opening) for position in span)
    tokens = find_overlapping_tokens(locate_tokens(model.tokenizer, completion.tokens, query.ids), start, end)
    if not tokens:  # the forced opening contains the whole answer
        return CotPath(completion, answer, None, ())
    score = sum(completion.measured[token] for token in tokens) / len(tokens)
    return CotPath(completion, answer, score, tuple(tokens))
