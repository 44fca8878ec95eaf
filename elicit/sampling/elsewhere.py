"""The interface of an engine that answers whole requests outside this process, in place of the lab's own sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from elicit.sampling.decoding import Completion, Decoding, Measure, Request

if TYPE_CHECKING:
    from elicit.sampling.forward import Engine
    from elicit.sampling.score import Scored
    from elicit.steering import AnyEdit


class Elsewhere(ABC):
    """A policy's model as it runs outside: with its weights and edits."""

    @abstractmethod
    def generate(
        self, engine: Engine, requests: Sequence[Request], decoding: Decoding, measure: Measure | None
    ) -> list[list[Completion]]:
        """As `sampling.generate`. `engine` has the tokenizer and the model's end tokens."""

    @abstractmethod
    def logprobs(self, engine: Engine, sequences: Sequence[Scored]) -> list[list[float]]:
        """As `sampling.logprobs`."""


class OutsideEngine(Protocol):
    """An engine that holds the same base model."""

    rollouts: bool
    """True if trainings take their rollouts from it."""

    def describe(self) -> str:
        """Its name and version, for records."""
        ...

    def find_obstacle(self, weights: Any, steering: Sequence[AnyEdit]) -> str | None:
        """Why it cannot run the base with these weights and edits; None if it can."""
        ...

    def open(self, weights: Any, steering: Sequence[AnyEdit]) -> AbstractContextManager[Elsewhere]:
        """Run the base with these weights and edits while the context is open."""
        ...

    def generate_together(
        self, engine: Engine, parts: Sequence[tuple[Any, Sequence[Request]]], decoding: Decoding
    ) -> list[list[list[Completion]]]:
        """Sample the requests of several of its policies, of equal weights, in one batch.

        Args:
            parts: (what `open` gave, its requests).

        Returns:
            For every part what `sampling.generate` gives for it alone.
        """
        ...
