"""Positions of an edit as a small language: parsed once, resolved on token ids. Imports no torch.

`parse(text).weights(ids, prompt_length, vocabulary)` gives the strength multiplier at every token of a full text.
"""

from __future__ import annotations

from elicit.positions.expression import PositionExpression
from elicit.positions.grammar import FORMS, is_window, parse_expression
from elicit.positions.row import Row, Vocabulary

__all__ = ["FORMS", "PositionExpression", "Row", "Vocabulary", "is_window", "parse_expression"]
