"""The interface of searches: a frozen spec that turns questions into answers with a model and its sampler.

A search sees the policy's model with weights, adapter and steering applied, and gets everything else as arguments. Its
cost includes all tokens, rejected and outvoted ones too. Imports no torch, since configs of methods import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from elicit import seeds

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.sampling import Completion, Decoding, Request, Source
    from elicit.tasks import Problem, Task


class Query(NamedTuple):
    """One problem as the policy's prompt for the model."""

    problem: Problem
    ids: tuple[int, ...]
    """Prompt tokens, including the forced opening (if any)."""
    forced: int
    """Number of tokens at the end of `ids` that are a forced opening."""
    opening: str
    """The forced opening as text; it is part of every answer."""
    identity: tuple[object, ...]
    """(seed, task label, problem id): with a sample's index, it determines the random numbers."""

    def derive_key(self, *sample: object) -> int:
        return seeds.derive_key(*self.identity, *sample)

    def build_request(self, n: int, first: int = 0) -> Request:
        """A request for `n` samples, numbered from `first`."""
        from elicit.sampling import Request

        return Request(self.ids, tuple(self.derive_key(sample) for sample in range(first, first + n)), self.forced)


class SearchResult(NamedTuple):
    """The answer to one question."""

    text: str
    tokens: int
    """Generated tokens, including rejected and outvoted ones."""
    finished: bool
    firings: int
    notes: Mapping[str, float] = MappingProxyType({})
    """Statistics of the search, which may be averaged over problems."""
    ids: tuple[int, ...] = ()
    """Tokens of the answer, including its end but not a forced opening."""


class Search(Protocol):
    """Interface of a search. Specs are frozen dataclasses of plain data; `kind` names them in files."""

    kind: ClassVar[str]
    verifier: ClassVar[bool]
    """True if it consults the task's verifier."""

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[SearchResult]:
        """Answer every question, in order."""
        ...


def sample_completions(
    model: BaseModel, queries: Sequence[Query], decoding: Decoding, forward: Source, n: int, first: int = 0
) -> list[list[Completion]]:
    """Sample `n` completions of every question, numbered from `first`."""
    from elicit.sampling import generate

    return generate(model.engine, [query.build_request(n, first) for query in queries], decoding, forward)


def sample_and_choose(
    model: BaseModel,
    queries: Sequence[Query],
    decoding: Decoding,
    forward: Source,
    n: int,
    choose_winner: Callable[[Query, Sequence[Completion]], int],
) -> list[SearchResult]:
    """Sample `n` completions of every question; `choose_winner` picks the one to answer with."""
    batches = sample_completions(model, queries, decoding, forward, n)
    return [
        to_result(query, completions, choose_winner(query, completions))
        for query, completions in zip(queries, batches, strict=True)
    ]


def read_answers(query: Query, completions: Sequence[Completion], task: Task) -> list[str | None]:
    """Read each completion's canonical answer."""
    return [task.verify(query.problem, query.opening + completion.text).answer for completion in completions]


def to_result(
    query: Query, completions: Sequence[Completion], winner: int, notes: Mapping[str, float] | None = None
) -> SearchResult:
    """Build the result from completion `winner`, with the tokens of all completions as its cost."""
    return SearchResult(
        query.opening + completions[winner].text,
        sum(len(completion.tokens) for completion in completions),
        completions[winner].finished,
        sum(completion.firings for completion in completions),
        notes or {},
        completions[winner].tokens,
    )
