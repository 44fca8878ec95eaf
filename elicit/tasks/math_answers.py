"""MATH's form: a worked solution with its answer in `\\boxed{...}`.

Completions are read in one of two ways:

- `flexible` (default): the last closed `\\boxed{...}`; else the last "the answer is ..."; else, where the completion is
  one short line, that line; else the last formula between dollar signs; else the last number.
- `strict`: `\\boxed{...}` alone.

Two answers are equal if their normal forms are (`latex.normal`), or if math-verify says so (grader `math_verify`, the
default; in a helper process of its own, in bounded time). With the grader `text` the normal forms decide alone, which
calls some right answers wrong (0.5 for 1/2).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from elicit.tasks import helper
from elicit.tasks.extraction import TAIL, number_in
from elicit.tasks.latex import LONGEST, bare, boxes, normal
from elicit.tasks.readings import Found, worked_before

MODES = ("flexible", "strict")
GRADERS = ("math_verify", "text")
#: Seconds that one comparison may take.
SECONDS = 12.0
_SAID = re.compile(r"\banswers?\b[^\n.:=$]{0,60}?(?:\b(?:is|are)\b:?|:)\s{0,4}([^\n]{1,400})", re.IGNORECASE)
_SENTENCE = re.compile(r"\.(?=\s|\*|$)")
_FORMULA = re.compile(r"\$\$?([^$\n]{1,300})\$|\\\(([^\n]{1,300}?)\\\)|\\\[\s?([^\n]{1,300}?)\s?\\\]")
_WORD = re.compile(r"(?<![\\{A-Za-z])[A-Za-z]{2,}")
#: A completion this short, on one line, may be an answer and nothing else.
_BARE = 80


class Boxed(NamedTuple):
    """Reads completions for one right answer in LaTeX."""

    given: str
    mode: str = "flexible"
    grader: str = "math_verify"

    @property
    def gold(self) -> str:
        return normal(self.given)

    def unusable(self) -> str | None:
        if len(self.given) > LONGEST:
            return f"is longer than {LONGEST} characters"
        return None if self.gold else "is empty in its normal form"

    def found(self, completion: str) -> Found | None:
        text = completion[-TAIL:]
        span = _boxed(text) if self.mode == "strict" else _boxed(text) or _said(text) or _line(text) or _written(text)
        if span is None:
            return None
        start, end = _inside(text, *span)
        answer = normal(text[start:end])
        shift = len(completion) - len(text)
        return Found(answer, start + shift, end + shift) if answer else None

    def right(self, completion: str, found: Found) -> bool:
        if found.answer == self.gold:
            return True
        if self.grader == "text" or found.end - found.start > LONGEST:
            return False
        return equal(self.given, completion[found.start : found.end])

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return worked_before(text, self.found(text))


@lru_cache(maxsize=20_000)
def equal(gold: str, answer: str) -> bool:
    """Whether math-verify finds two LaTeX answers equal; what takes too long is not equal."""
    return helper.ask("math", (bare(gold), bare(answer)), SECONDS) is True


def _boxed(text: str) -> tuple[int, int] | None:
    found = [span for span in boxes(text) if text[slice(*span)].strip()]
    return found[-1] if found else None


def _said(text: str) -> tuple[int, int] | None:
    """What "the answer is" says, up to the end of its sentence (a full stop within a formula ends none)."""
    found = list(_SAID.finditer(text))
    if not found:
        return None
    start, end = found[-1].span(1)
    for stop in _SENTENCE.finditer(text, start, end):
        if text.count("$", start, stop.start()) % 2 == 0:
            end = stop.start()
            break
    formula = _FORMULA.search(text, start, end)
    return _formula(formula) if formula is not None else (start, end)


def _line(text: str) -> tuple[int, int] | None:
    whole = text.strip()
    start = text.find(whole)
    if not whole or len(whole) > _BARE or "\n" in whole:
        return None
    said = _WORD.search(whole) and (_FORMULA.search(whole) or number_in(whole))  # "so it is 5"
    return None if said else (start, start + len(whole))


def _written(text: str) -> tuple[int, int] | None:
    """The last formula, else the last number."""
    formulas = list(_FORMULA.finditer(text))
    value = number_in(text, last=True)
    if formulas and (value is None or formulas[-1].end() >= value[1]):
        start, end = _formula(formulas[-1])
        return start + text[start:end].rfind("=") + 1, end
    return None if value is None else (value[1], value[2])


def _formula(match: re.Match[str]) -> tuple[int, int]:
    return next(match.span(group) for group in (1, 2, 3) if match[group] is not None)


def _inside(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of `bare(text[start:end])`."""
    inner = bare(text[start:end])
    at = text.find(inner, start, end)
    return at, at + len(inner)
