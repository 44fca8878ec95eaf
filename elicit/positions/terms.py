"""Terms of the position language that depend on offsets or absolute positions alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.positions.row import Row, Vocabulary

Weights = Float[np.ndarray, " pos"]


class Bounds(NamedTuple):
    """Smallest and largest offset at which a weight may differ from 0."""

    low: float
    high: float


EVERYWHERE = Bounds(-math.inf, math.inf)


@dataclass(frozen=True)
class Term(ABC):
    """One form. Subclasses give the strength multiplier at the positions of a row."""

    reads_tokens: ClassVar[bool] = False

    @property
    def needs_prompt_length(self) -> bool:
        return True

    @property
    def bounds(self) -> Bounds:
        return EVERYWHERE

    def check(self, vocabulary: Vocabulary) -> None:  # noqa: B027 - most terms name no text
        """Raise ElicitError if a tokenizer cannot write what the term names."""

    @abstractmethod
    def weights(self, row: Row) -> Weights:
        """Strength multiplier at every position of the row."""


@dataclass(frozen=True)
class Window(Term):
    """Offsets `[low, high)`, at full strength."""

    low: float
    high: float

    @property
    def needs_prompt_length(self) -> bool:
        return (self.low, self.high) != EVERYWHERE

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.low, self.high - 1)

    def weights(self, row: Row) -> Weights:
        offsets = row.offsets
        return ((offsets >= self.low) & (offsets < self.high)).astype(np.float32)


@dataclass(frozen=True)
class Schedule(Term):
    """Strength as a function of offset: decay, ramp, or every n-th step."""

    shape: Literal["decay", "ramp", "every"]
    count: int

    @property
    def bounds(self) -> Bounds:
        return Bounds(0, self.count - 1 if self.shape == "decay" else math.inf)

    def weights(self, row: Row) -> Weights:
        offsets, count = row.offsets, np.float32(self.count)
        if self.shape == "every":
            values = (offsets % self.count == 0).astype(np.float32)
        elif self.shape == "ramp":
            values = np.minimum(np.float32(1), (offsets + 1).astype(np.float32) / count)
        else:
            values = np.maximum(np.float32(0), np.float32(1) - offsets.astype(np.float32) / count)
        return np.where(offsets >= 0, values, np.float32(0)).astype(np.float32)


class Edge(NamedTuple):
    """End of a span: an absolute position, or an offset."""

    kind: Literal["position", "offset"]
    value: float


class Span(NamedTuple):
    """All positions from one edge to another, both included."""

    low: Edge
    high: Edge


@dataclass(frozen=True)
class Places(Term):
    """Listed positions and ranges."""

    spans: tuple[Span, ...]

    @property
    def needs_prompt_length(self) -> bool:
        return any(edge.kind == "offset" and math.isfinite(edge.value) for span in self.spans for edge in span)

    @property
    def bounds(self) -> Bounds:
        lows = [span.low.value if span.low.kind == "offset" else -math.inf for span in self.spans]
        highs = [span.high.value if span.high.kind == "offset" else math.inf for span in self.spans]
        return Bounds(min(lows), max(highs))

    def weights(self, row: Row) -> Weights:
        where = {"position": row.positions, "offset": row.offsets}
        inside = np.zeros(len(row.positions), dtype=bool)
        for low, high in self.spans:
            inside |= (where[low.kind] >= low.value) & (where[high.kind] <= high.value)
        return inside.astype(np.float32)
