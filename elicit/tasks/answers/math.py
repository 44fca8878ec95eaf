r"""MATH's form: a worked solution with its answer in `\boxed{...}`.

Completions are read in one of two ways:

- `flexible` (default): the last closed `\boxed{...}`; else the last "the answer is ..."; else, where the completion is
  one short line, that line; else the last formula between dollar signs; else the last number. What is taken back
  (`retractions`) does not count.
- `strict`: `\boxed{...}` alone.

Two answers are equal if their normal forms are (`latex.normal`), if both are numbers of the same value (exactly: 0.5 is
1/2), or if math-verify says so (grader `math_verify`, the default; in a helper process of its own, in bounded time). It
is given both without their units, and keeps to our reading of numbers: `2 1/2` is 5/2. Units that are known and differ
(`10 km`, `10 miles`) make two answers differ; so do times of day. With the grader `text` nothing else is asked, which
calls some right answers wrong (`4\sqrt{3}` for `\sqrt{48}`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from elicit.tasks.answers import grading_process
from elicit.tasks.answers.clauses import last_numeral
from elicit.tasks.answers.comparison_cost import is_costly
from elicit.tasks.answers.free_text import TAIL
from elicit.tasks.answers.latex import LONGEST, bare, boxes, normal, parts_numbers, plain_answer, unit_of, value_of
from elicit.tasks.answers.notation import bases_differ, brackets_differ
from elicit.tasks.answers.numerals import numerals
from elicit.tasks.answers.reader import Found, worked_before
from elicit.tasks.answers.retractions import DENIED, first_retraction, is_taken_back, replacements

MODES = ("flexible", "strict")
GRADERS = ("math_verify", "text")
#: Processor seconds that one comparison may take.
SECONDS = 2.0
_SAID = re.compile(r"\banswers?\b[^\n.:=$]{0,60}?(?:\b(?:is|are)\b:?|:)(?=\s{0,4}([^\n]{1,400}))", re.IGNORECASE)
_SENTENCE = re.compile(r"[.?](?=\s|\*|$)")
#: `18, not 20`
_REJECTED = re.compile(r"\s?[,;-]?\s?(?:(?:and|but)\s)?\b(?:not|rather than|instead of)\b", re.IGNORECASE)
#: A time of day, which math-verify would divide.
_CLOCK = re.compile(r"[0-9]:[0-9]{2}(?![0-9])")
_FORMULA = re.compile(
    r"(?<!\\)\$\$?((?:\\[^\n]|[^$\n\\]){1,300})\$|\\\(([^\n]{1,300}?)\\\)|\\\[\s?([^\n]{1,300}?)\s?\\\]"
)
_WORD = re.compile(r"(?<![\\{A-Za-z])[A-Za-z]{2,}")
#: Statements of an answer that are looked at.
_STATEMENTS = 50
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
        span = _boxed(text) if self.mode == "strict" else _flexible(text)
        if span is None:
            return None
        start, end = _inside(text, *span)
        answer = normal(text[start:end])
        shift = len(completion) - len(text)
        return Found(answer, start + shift, end + shift) if answer else None

    def right(self, completion: str, found: Found) -> bool:
        said = completion[found.start : found.end]
        units = {unit for unit in (unit_of(self.given), unit_of(said)) if unit is not None}
        if len(units) > 1 or bases_differ(self.given, said) or brackets_differ(self.given, said):
            return False
        if found.answer == self.gold:
            return True
        values = value_of(self.given), value_of(said)
        if None not in values and values[0] == values[1]:
            return True
        if self.grader == "text" or len(said) > LONGEST or any(map(_is_no_formula, (self.given, said))):
            return False
        return equal(*(_to_compare(*pair) for pair in zip((self.given, said), (self.gold, found.answer), strict=True)))

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return worked_before(text, self.found(text))


def _is_no_formula(answer: str) -> bool:
    """Two numbers side by side, a time of day, or too large to be worked out: equal to nothing but itself."""
    return (
        is_costly(answer)
        or parts_numbers(answer)
        or _CLOCK.search(answer) is not None
        or normal(answer).endswith(("am", "pm"))
    )


def _to_compare(answer: str, form: str) -> str:
    """What math-verify is given: a number in its normal form (but a percentage), other answers without their unit."""
    if value_of(answer) is not None:
        return f"{form}\\%" if "%" in answer else form
    return plain_answer(answer)


@lru_cache(maxsize=20_000)
def equal(gold: str, answer: str) -> bool:
    """Whether math-verify finds two LaTeX answers equal; what takes too long is not equal."""
    return grading_process.ask("math", (bare(gold), bare(answer)), SECONDS) is True


def _flexible(text: str) -> tuple[int, int] | None:
    """Where the answer stands: in the last box, else where it is said, with what replaces it."""
    boxed, said = _all_boxed(text), _all_said(text)
    if not boxed and not said:
        return _line(text) or _written(text)
    answer = (boxed or said)[-1]
    for later in said:
        if later[0] >= answer[1] and is_taken_back(text, answer[1], later[0]):
            answer = later
    corrections = (_corrected(text, place) for place in replacements(text, answer[1]))
    return next((span for span in corrections if span is not None), answer)


def _corrected(text: str, start: int) -> tuple[int, int] | None:
    """The formula or the number at `start`, unless it is a sentence about one."""
    start += len(text[start:]) - len(text[start:].lstrip(" *"))
    formula = _FORMULA.match(text, start)
    first = next(iter(numerals(text[start : start + _BARE])), None)
    if formula is not None:
        end, span = formula.end(), _formula(formula)
    elif first is not None and first.start == 0:
        end = start + first.end
        span = (start, end)
    else:
        return None
    return None if DENIED.match(text, end) else span


def _boxed(text: str) -> tuple[int, int] | None:
    found = _all_boxed(text)
    return found[-1] if found else None


def _all_boxed(text: str) -> list[tuple[int, int]]:
    return [span for span in boxes(text) if text[slice(*span)].strip()]


def _all_said(text: str) -> list[tuple[int, int]]:
    spans = [_said(text, match) for match in list(_SAID.finditer(text))[-_STATEMENTS:]]
    return [span for span in spans if not text[slice(*span)].lstrip().lower().startswith("not ")]


def _said(text: str, match: re.Match[str]) -> tuple[int, int]:
    """What "the answer is" says, up to the end of its sentence (a full stop within a formula ends none)."""
    start, end = match.span(1)
    for stop in _SENTENCE.finditer(text, start, end):
        if text.count("$", start, stop.start()) % 2 == 0:
            end = stop.start()
            break
    formula = _FORMULA.search(text, start, end)
    if formula is not None:
        return _formula(formula)
    rejected = _REJECTED.search(text, start + 1, end)
    end = end if rejected is None else rejected.start()
    return start, first_retraction(text, start + 1, end) or end


def _line(text: str) -> tuple[int, int] | None:
    whole = text.strip()
    start = text.find(whole)
    if not whole or len(whole) > _BARE or "\n" in whole:
        return None
    said = _WORD.search(whole) and (_FORMULA.search(whole) or numerals(whole))  # "so it is 5"
    return None if said else (start, start + len(whole))


def _written(text: str) -> tuple[int, int] | None:
    """The last formula, else the last number."""
    formulas = list(_FORMULA.finditer(text))
    value = last_numeral(text)
    if formulas and (value is None or formulas[-1].end() >= value.start):
        start, end = _formula(formulas[-1])
        return start + text[start:end].rfind("=") + 1, end
    return None if value is None else (value.start, value.end)


def _formula(match: re.Match[str]) -> tuple[int, int]:
    return next(match.span(group) for group in (1, 2, 3) if match[group] is not None)


def _inside(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of `bare(text[start:end])`."""
    inner = bare(text[start:end])
    at = text.find(inner, start, end)
    return at, at + len(inner)
