"""How a completion is read for one right answer; one implementation for each format of answers.

`extraction.Reader` (last number, last line, or a pattern of the user's), `gsm8k.Worded`, `latex.Boxed` and
`letters.Letters`. All are total: any string is read in bounded time.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

#: `48+24=`, or `3x = 9`; not the `x=` in front of an answer.
_EQUATION = re.compile(r"[0-9)}][ )$]*=|[A-Za-z][ $]*=[ $]*(?:[0-9A-Za-z(-]|\\(?!f?box))")
_PIECES = re.compile(r"\n|[.!?][ \t]")
#: What announces an answer and shows no working.
_ANNOUNCED = re.compile(
    r"(?:\b(?:so|thus|therefore|hence|the|our|my|final|correct|answers?|results?|option|choice|is|are|be|to|this|question)\b"
    r"|####|\\(?:f?box(?:ed)?|text|[(\[])|[\s,:*$({\[=.])+",
    re.IGNORECASE,
)
_NEAR = 400


class ParsedAnswer(NamedTuple):
    """An answer in a completion."""

    answer: str
    """Canonical."""
    start: int
    end: int
    """Characters of the completion it stands at, [start, end)."""


class AnswerReader(Protocol):
    """Reads completions of one problem."""

    @property
    def gold(self) -> str:
        """The right answer, canonical."""
        ...

    def explain_unusable_target(self) -> str | None:
        """Why no completion could ever give this answer, None if one could."""
        ...

    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        """The answer of a completion, without white space around it."""
        ...

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool: ...
    def has_trace(self, completion: str) -> bool:
        """Whether the completion shows working: form, not correctness."""
        ...


def has_working_before(text: str, parsed: ParsedAnswer | None) -> bool:
    """Working stands before the answer: an equation, or a line or sentence that does more than announce it.

    An explanation that follows the answer is not counted; without an answer the whole text is looked at.
    """
    before = text if parsed is None else text[: parsed.start]
    if _EQUATION.search(before):
        return True
    near = before[:_NEAR] if parsed is None else before
    pieces = [piece for piece in _PIECES.split(near) if _ANNOUNCED.sub("", piece).strip()]
    return len(pieces) > (1 if parsed is None else 0) and _PIECES.search(near.rstrip(" ")) is not None
