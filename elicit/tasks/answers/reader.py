"""The answer reader interface: reads completions for one right answer. Each answer format has one implementation.

They are `free_text.TextReader` (last number, last line, or a user's pattern), `gsm8k.Gsm8kReader`, `math.MathReader`,
`letters.LetterReader` and `tagged.TaggedReader`. All are total: any string is read in bounded time.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

#: `48+24=`, or `3x = 9`; not the `x=` in front of an answer.
_EQUATION = re.compile(r"[0-9)}][ )$]*=|[A-Za-z][ $]*=[ $]*(?:[0-9A-Za-z(-]|\\(?!f?box))")
_PIECES = re.compile(r"\n|[.!?][ \t]")
#: Words that announce an answer and show no working.
_ANNOUNCED = re.compile(
    r"(?:\b(?:so|thus|therefore|hence|the|our|my|final|correct|answers?|results?|option|choice|is|are|be|to|this|question)\b"
    r"|####|\\(?:f?box(?:ed)?|text|[(\[])|[\s,:*$({\[=.])+",
    re.IGNORECASE,
)
_NEAR = 400


class ParsedAnswer(NamedTuple):
    """An answer in a completion."""

    answer: str
    """Canonical form of the answer."""
    start: int
    end: int
    """End of its span [start, end) in the completion, in characters."""


class AnswerReader(Protocol):
    """Reader of the completions of one problem."""

    @property
    def gold(self) -> str:
        """The right answer in canonical form."""
        ...

    def explain_unusable_target(self) -> str | None:
        """Reason why no completion could ever give this answer; None if one could."""
        ...

    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        """Answer of a completion, without white space around it."""
        ...

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool: ...
    def has_trace(self, completion: str) -> bool:
        """Return True if the completion shows working. This is about form, not correctness."""
        ...


def has_working_before(text: str, parsed: ParsedAnswer | None) -> bool:
    """Return True if working precedes the answer: an equation, or a line or sentence that does more than announce it.

    An explanation after the answer does not count; without an answer the whole text is examined.
    """
    before = text if parsed is None else text[: parsed.start]
    if _EQUATION.search(before):
        return True
    near = before[:_NEAR] if parsed is None else before
    pieces = [piece for piece in _PIECES.split(near) if _ANNOUNCED.sub("", piece).strip()]
    return len(pieces) > (1 if parsed is None else 0) and _PIECES.search(near.rstrip(" ")) is not None
