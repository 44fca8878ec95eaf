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


class Ask(NamedTuple):
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

    def key(self, *sample: object) -> int:
        return seeds.key(*self.identity, *sample)

    def request(self, n: int, first: int = 0) -> Request:
        """A request for `n` samples, numbered from `first`."""
        return Request(self.ids, tuple(self.key(sample) for sample in range(first, first + n)), self.forced)


class Found(NamedTuple):
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

    def find(
        self, model: BaseModel, asks: Sequence[Ask], decoding: Decoding, task: Task, forward: Forward
    ) -> list[Found]:
        """One answer to each question, in order."""
        ...


def sampled(
    model: BaseModel, asks: Sequence[Ask], decoding: Decoding, forward: Forward, n: int, first: int = 0
) -> list[list[Completion]]:
    """`n` completions of every question, numbered from `first`."""
    return generate(model.engine, [ask.request(n, first) for ask in asks], decoding, forward)


def chosen(
    model: BaseModel,
    asks: Sequence[Ask],
    decoding: Decoding,
    forward: Forward,
    n: int,
    winner: Callable[[Ask, Sequence[Completion]], int],
) -> list[Found]:
    """`n` completions of every question, of which `winner` names the one to answer with."""
    drawn = sampled(model, asks, decoding, forward, n)
    return [found(ask, one, winner(ask, one)) for ask, one in zip(asks, drawn, strict=True)]


def read(ask: Ask, completions: Sequence[Completion], task: Task) -> list[str | None]:
    """Each completion's canonical answer."""
    return [task.verify(ask.problem, ask.opening + completion.text).answer for completion in completions]


def found(ask: Ask, completions: Sequence[Completion], winner: int, notes: Mapping[str, float] | None = None) -> Found:
    """The answer that completion `winner` gives, at the price of all."""
    return Found(
        ask.opening + completions[winner].text,
        sum(len(completion.tokens) for completion in completions),
        completions[winner].finished,
        sum(completion.firings for completion in completions),
        notes or {},
        completions[winner].tokens,
    )
