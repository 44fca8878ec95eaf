"""A seeded sample of a stream in bounded memory, the same in whatever order the stream comes.

Every item has a uniform number by its identity (seed, what it is), and the items with the smallest numbers are kept
(bottom-k sampling): no order, batch size or restart can change which.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elicit import seeds
from saes.discovery.conditions import Span, SparseActivations


class Row:
    """One kept token: its span, position and nonzero activations."""

    __slots__ = ("feature", "span", "value")

    def __init__(self, span: Span, feature: np.ndarray, value: np.ndarray) -> None:
        self.span, self.feature, self.value = span, feature, value


@dataclass
class RowSample:
    """At most `limit` tokens of one condition, as sparse rows."""

    limit: int
    seed: int
    entries: list[tuple[float, str, int, Row]] = field(default_factory=list)
    """(number, span digest, position, row); the first three order identical streams identically."""
    threshold: float = 1.0

    def add(self, active: SparseActivations) -> None:
        numbers = np.empty(active.tokens)
        position = active.position.numpy()
        bounds = np.searchsorted(active.span.numpy(), np.arange(len(active.spans) + 1))
        for span, first, last in zip(active.spans, bounds[:-1], bounds[1:], strict=True):
            stream = seeds.make_generator("discovery rows", self.seed, span.digest)
            numbers[first:last] = stream.random(int(last - first))
        chosen = np.flatnonzero(numbers < self.threshold)
        if not len(chosen):
            return
        token = active.token.numpy()
        starts, stops = np.searchsorted(token, chosen), np.searchsorted(token, chosen, side="right")
        feature, value = active.feature.numpy(), active.value.numpy()
        for row, first, last in zip(chosen, starts, stops, strict=True):
            span = active.spans[int(active.span[row])]
            entry = Row(span, feature[first:last].astype(np.int32), value[first:last].copy())
            self.entries.append((float(numbers[row]), span.digest, int(position[row]), entry))
        if len(self.entries) > 2 * self.limit:
            self._drop_excess()

    def get_rows(self) -> list[Row]:
        """The sample, ordered by its numbers."""
        self._drop_excess()
        return [entry[-1] for entry in self.entries]

    def _drop_excess(self) -> None:
        self.entries = sorted(self.entries, key=lambda entry: entry[:3])[: self.limit]
        if len(self.entries) == self.limit:
            self.threshold = self.entries[-1][0]


@dataclass
class SpanSample:
    """At most `limit` spans of one condition."""

    limit: int
    seed: int
    entries: list[tuple[float, str, Span]] = field(default_factory=list)

    def add(self, active: SparseActivations) -> None:
        for span in active.spans:
            digest = span.digest
            number = float(seeds.make_generator("discovery spans", self.seed, digest).random())
            self.entries.append((number, digest, span))
        if len(self.entries) > 2 * self.limit:
            self._drop_excess()

    def get_spans(self) -> list[Span]:
        self._drop_excess()
        return [span for *_, span in self.entries]

    def _drop_excess(self) -> None:
        self.entries = sorted(self.entries, key=lambda entry: entry[:2])[: self.limit]
