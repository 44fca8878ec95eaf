"""A seeded sample of a stream in bounded memory, the same in whatever order the stream comes.

Every item has a uniform number by its identity (seed, what it is), and the items with the smallest numbers are kept
(bottom-k sampling): no order, batch size or restart can change which.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elicit import seeds
from saes.discovery.conditions import Active, Span


class Row:
    """One kept token: its span, position and nonzero activations."""

    __slots__ = ("feature", "span", "value")

    def __init__(self, span: Span, feature: np.ndarray, value: np.ndarray) -> None:
        self.span, self.feature, self.value = span, feature, value


@dataclass
class Rows:
    """At most `limit` tokens of one condition, as sparse rows."""

    limit: int
    seed: int
    kept: list[tuple[float, str, int, Row]] = field(default_factory=list)
    """(number, span digest, position, row); the first three order identical streams identically."""
    threshold: float = 1.0

    def add(self, active: Active) -> None:
        drawn = np.empty(active.tokens)
        position = active.position.numpy()
        bounds = np.searchsorted(active.span.numpy(), np.arange(len(active.spans) + 1))
        for span, first, last in zip(active.spans, bounds[:-1], bounds[1:], strict=True):
            stream = seeds.generator("discovery rows", self.seed, span.digest)
            drawn[first:last] = stream.random(int(last - first))
        chosen = np.flatnonzero(drawn < self.threshold)
        if not len(chosen):
            return
        token = active.token.numpy()
        starts, stops = np.searchsorted(token, chosen), np.searchsorted(token, chosen, side="right")
        feature, value = active.feature.numpy(), active.value.numpy()
        for row, first, last in zip(chosen, starts, stops, strict=True):
            span = active.spans[int(active.span[row])]
            entry = Row(span, feature[first:last].astype(np.int32), value[first:last].copy())
            self.kept.append((float(drawn[row]), span.digest, int(position[row]), entry))
        if len(self.kept) > 2 * self.limit:
            self._prune()

    def rows(self) -> list[Row]:
        """The sample, ordered by its numbers."""
        self._prune()
        return [entry[-1] for entry in self.kept]

    def _prune(self) -> None:
        self.kept = sorted(self.kept, key=lambda entry: entry[:3])[: self.limit]
        if len(self.kept) == self.limit:
            self.threshold = self.kept[-1][0]


@dataclass
class Spans:
    """At most `limit` spans of one condition."""

    limit: int
    seed: int
    kept: list[tuple[float, str, Span]] = field(default_factory=list)

    def add(self, active: Active) -> None:
        for span in active.spans:
            digest = span.digest
            number = float(seeds.generator("discovery spans", self.seed, digest).random())
            self.kept.append((number, digest, span))
        if len(self.kept) > 2 * self.limit:
            self._prune()

    def spans(self) -> list[Span]:
        self._prune()
        return [span for *_, span in self.kept]

    def _prune(self) -> None:
        self.kept = sorted(self.kept, key=lambda entry: entry[:2])[: self.limit]
