"""A steering edit as a run has recorded it: one line of text, parsed once into layer, positions and strength."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"(?:gated )?\w+ .+ at layer (?P<layer>\d+), (?P<positions>.+): "
    r"(?P<strength>-?\d[\d.]*(?:e[+-]?\d+)?) "
)


@dataclass(frozen=True)
class RecordedEdit:
    """Layer, positions and strength of one edit of the residual stream."""

    layer: int
    positions: str
    """A position form, such as `first`, `all` or `first:4`."""
    strength: float
    """In the unit of its mode, with its sign: negative is against the direction."""


def parse_edit(line: str) -> RecordedEdit | None:
    """The edit behind a line as `str(Steering)` and `str(Gated)` write it; None for any other line.

    A run keeps nothing else of an edit: `add mean(cue)@2 at layer 2, first: 1 residual norms (absolute 9.5)`.
    """
    match = _LINE.match(line)
    return RecordedEdit(int(match["layer"]), match["positions"], float(match["strength"])) if match else None
