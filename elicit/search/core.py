"""What a search is: a frozen spec that turns questions into answers with a model and its sampler.

A search sees the policy's model with weights, adapter and steering in place, and gets everything else as arguments.
Its tokens are counted whole: rejected and outvoted ones are part of its price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from elicit import seeds
from elicit.sampling import Completion, Decoding, Forward, Request, generate

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.tasks import Problem, Task


class Query(NamedTuple):
    """One problem as the policy puts it to the model."""

    problem: Problem
    ids: tuple[int, ...]
    """Prompt tokens, the forced opening (if any) included."""
    forced: int
    """How many of the last `ids` are a forced opening."""
    opening: str
    """The forced opening as text; it is a part of every answer."""
    identity: tuple[object, ...]
    """(seed, task label, problem id): with a sample's index, the identity of a random number."""

    def derive_key(self, *sample: object) -> int:
        return seeds.derive_key(*self.identity, *sample)

    def build_request(self, n: int, first: int = 0) -> Request:
        """A request for `n` samples, numbered from `first`."""
        return Request(self.ids, tuple(self.derive_key(sample) for sample in range(first, first + n)), self.forced)


class SearchResult(NamedTuple):
    """The answer to one question."""

    text: str
    tokens: int
    """Generated tokens, rejected and outvoted ones included."""
    finished: bool
    firings: int
    notes: Mapping[str, float] = MappingProxyType({})
    """What the search tells of itself, in figures that may be averaged over problems."""
    ids: tuple[int, ...] = ()
    """Tokens of the answer, its end included; a forced opening's are not among them."""


class Search(Protocol):
    """A way of answering. Specs are frozen dataclasses of plain data; `kind` names them in files."""

    kind: ClassVar[str]
    verifier: ClassVar[bool]
    """Whether it consults the task's verifier."""

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Forward
    ) -> list[SearchResult]:
        """One answer to each question, in order."""
        ...


def sample_completions(
    model: BaseModel, queries: Sequence[Query], decoding: Decoding, forward: Forward, n: int, first: int = 0
) -> list[list[Completion]]:
    """`n` completions of every question, numbered from `first`."""
    return generate(model.engine, [query.build_request(n, first) for query in queries], decoding, forward)


def sample_and_choose(
    model: BaseModel,
    queries: Sequence[Query],
    decoding: Decoding,
    forward: Forward,
    n: int,
    choose_winner: Callable[[Query, Sequence[Completion]], int],
) -> list[SearchResult]:
    """`n` completions of every question, of which `winner` names the one to answer with."""
    batches = sample_completions(model, queries, decoding, forward, n)
    return [
        to_result(query, completions, choose_winner(query, completions))
        for query, completions in zip(queries, batches, strict=True)
    ]


def read_answers(query: Query, completions: Sequence[Completion], task: Task) -> list[str | None]:
    """Each completion's canonical answer."""
    return [task.verify(query.problem, query.opening + completion.text).answer for completion in completions]


def to_result(
    query: Query, completions: Sequence[Completion], winner: int, notes: Mapping[str, float] | None = None
) -> SearchResult:
    """The answer that completion `winner` gives, at the price of all."""
    return SearchResult(
        query.opening + completions[winner].text,
        sum(len(completion.tokens) for completion in completions),
        completions[winner].finished,
        sum(completion.firings for completion in completions),
        notes or {},
        completions[winner].tokens,
    )
