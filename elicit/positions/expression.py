"""A parsed position form: a union of intersections of terms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from elicit.errors import ElicitError, one_line
from elicit.positions.row import Row, Vocabulary
from elicit.positions.terms import Bounds, Places, Term


@dataclass(frozen=True)
class PositionExpression:
    """`a & b + c`: terms joined by `&` multiply their weights, and `+` takes the largest."""

    text: str
    alternatives: tuple[tuple[Term, ...], ...]

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        return tuple(term for parts in self.alternatives for term in parts)

    @cached_property
    def reads_tokens(self) -> bool:
        """True if a weight depends on the text so far."""
        return any(term.reads_tokens for term in self.terms)

    @cached_property
    def needs_prompt_length(self) -> bool:
        return any(term.needs_prompt_length for term in self.terms)

    @cached_property
    def depends_on_offset_alone(self) -> bool:
        """True if neither tokens nor the prompt's length change the weight at an offset."""
        return not self.reads_tokens and not any(
            edge.kind == "position"
            for term in self.terms
            if isinstance(term, Places)
            for span in term.spans
            for edge in span
        )

    @cached_property
    def bounds(self) -> Bounds:
        """Offsets outside of which every weight is 0."""
        each = [
            Bounds(max(term.bounds.low for term in parts), min(term.bounds.high for term in parts))
            for parts in self.alternatives
        ]
        return Bounds(min(b.low for b in each), max(b.high for b in each))

    def touches_range(self, low: int, high: int) -> bool:
        """True if an offset in [low, high] may be touched."""
        return high >= self.bounds.low and low <= self.bounds.high

    def check(self, vocabulary: Vocabulary) -> None:
        """Raise ElicitError if a tokenizer cannot write what a term names."""
        for term in self.terms:
            term.check(vocabulary)

    def weigh_row(self, row: Row) -> Float[np.ndarray, " pos"]:
        """Strength multiplier at the positions of a row, float32."""
        total = np.zeros(len(row.ids) - row.start, dtype=np.float32)
        for parts in self.alternatives:
            product = np.ones_like(total)
            for term in parts:
                product *= term.weights(row)
            total = np.maximum(total, product)
        return total

    def weight_at(self, offset: int) -> float:
        """Strength multiplier at an offset.

        Raises:
            ElicitError: the weight depends on more than the offset.
        """
        if not self.depends_on_offset_alone:
            raise ElicitError(
                f"positions {one_line(repr(self.text), 60)} lie elsewhere in each text, so they are not a list of "
                "offsets. Use a form such as offset:-3..2, first:k or generated here."
            )
        length = max(1, 1 - offset)
        ids = range(length + offset)
        return float(self.weigh_row(Row(ids, length, len(ids) - 1))[0])

    def weights(self, ids: Any, prompt_length: int, vocabulary: Vocabulary | None = None) -> Float[np.ndarray, " pos"]:
        """Strength multiplier at every token of a whole text (prompt and completion), float32."""
        if vocabulary is not None:
            self.check(vocabulary)
        return self.weigh_row(Row(list(ids), prompt_length, 0, vocabulary))

    def resolve(self, ids: Any, prompt_length: int, vocabulary: Vocabulary | None = None) -> list[int]:
        """Absolute positions of a whole text that the form touches."""
        return [int(position) for position in np.flatnonzero(self.weights(ids, prompt_length, vocabulary))]
