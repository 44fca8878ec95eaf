r"""MATH answers: a worked solution with its answer in `\boxed{...}`.

Completions are read in one of two ways:

- `flexible` (default): the last closed `\boxed{...}`; else the last "the answer is ..."; else, where the completion is
  one short line, that line; else the last formula between dollar signs; else the last number. A retracted answer
  (`retractions`) does not count.
- `strict`: `\boxed{...}` alone.

Two answers are equal if their normal forms are (`latex.normalize_latex`), if both are numbers of the same value
(exactly: 0.5 is 1/2), or if math-verify finds them equal (grader `math_verify`, the default; in a separate process, in
bounded time). math-verify gets both without their units, and with our reading of numbers: `2 1/2` is 5/2. Known units
that differ (`10 km`, `10 miles`) make two answers differ; so do times of day. The grader `text` skips math-verify and
so rejects some right answers (`4\sqrt{3}` for `\sqrt{48}`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from elicit.tasks.answers import grading_process
from elicit.tasks.answers.clauses import last_numeral
from elicit.tasks.answers.comparison_cost import is_costly
from elicit.tasks.answers.free_text import TAIL
from elicit.tasks.answers.latex import (
    LONGEST,
    extract_unit,
    find_boxes,
    has_adjacent_numbers,
    normalize_latex,
    parse_value,
    plain_answer,
    strip_markup,
)
from elicit.tasks.answers.notation import bases_differ, brackets_differ
from elicit.tasks.answers.numerals import find_numerals
from elicit.tasks.answers.reader import ParsedAnswer, has_working_before
from elicit.tasks.answers.retractions import DENIED, find_replacements, first_retraction, is_taken_back

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
#: Number of answer statements that are examined.
_STATEMENTS = 50
#: A completion of at most this many characters, on one line, may be a bare answer.
_BARE = 80


class MathReader(NamedTuple):
    """Reader of completions whose right answer is in LaTeX."""

    target: str
    mode: str = "flexible"
    grader: str = "math_verify"

    @property
    def gold(self) -> str:
        return normalize_latex(self.target)

    def explain_unusable_target(self) -> str | None:
        if len(self.target) > LONGEST:
            return f"is longer than {LONGEST} characters"
        return None if self.gold else "is empty in its normal form"

    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        text = completion[-TAIL:]
        span = _find_last_box(text) if self.mode == "strict" else _find_flexible_span(text)
        if span is None:
            return None
        start, end = _strip_span(text, *span)
        answer = normalize_latex(text[start:end])
        shift = len(completion) - len(text)
        return ParsedAnswer(answer, start + shift, end + shift) if answer else None

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool:
        answer_text = completion[parsed.start : parsed.end]
        units = {unit for unit in (extract_unit(self.target), extract_unit(answer_text)) if unit is not None}
        if len(units) > 1 or bases_differ(self.target, answer_text) or brackets_differ(self.target, answer_text):
            return False
        if parsed.answer == self.gold:
            return True
        values = parse_value(self.target), parse_value(answer_text)
        if None not in values and values[0] == values[1]:
            return True
        if self.grader == "text" or len(answer_text) > LONGEST or any(map(_is_no_formula, (self.target, answer_text))):
            return False
        return is_math_equal(
            *(_to_compare(*pair) for pair in zip((self.target, answer_text), (self.gold, parsed.answer), strict=True))
        )

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return has_working_before(text, self.parse_answer(text))


def _is_no_formula(answer: str) -> bool:
    """Return True for adjacent numbers, a time of day, or a formula too large to evaluate."""
    return (
        is_costly(answer)
        or has_adjacent_numbers(answer)
        or _CLOCK.search(answer) is not None
        or normalize_latex(answer).endswith(("am", "pm"))
    )


def _to_compare(answer: str, form: str) -> str:
    """Input for math-verify: a number in its normal form (percentages excepted), other answers without their unit."""
    if parse_value(answer) is not None:
        return f"{form}\\%" if "%" in answer else form
    return plain_answer(answer)


@lru_cache(maxsize=20_000)
def is_math_equal(gold: str, answer: str) -> bool:
    """Return True if math-verify finds two LaTeX answers equal; a comparison that takes too long returns False."""
    return grading_process.ask_helper("math", (strip_markup(gold), strip_markup(answer)), SECONDS) is True


def _find_flexible_span(text: str) -> tuple[int, int] | None:
    """Span of the answer: in the last box, else where it is stated, with any correction that replaces it."""
    boxed, stated = _find_filled_boxes(text), _find_statement_spans(text)
    if not boxed and not stated:
        return _find_lone_line(text) or _find_last_value(text)
    answer = (boxed or stated)[-1]
    for later in stated:
        if later[0] >= answer[1] and is_taken_back(text, answer[1], later[0]):
            answer = later
    corrections = (_find_correction(text, start) for start in find_replacements(text, answer[1]))
    return next((span for span in corrections if span is not None), answer)


def _find_correction(text: str, start: int) -> tuple[int, int] | None:
    """Span of the formula or number at `start`; None if the text there is a sentence about one."""
    start += len(text[start:]) - len(text[start:].lstrip(" *"))
    formula = _FORMULA.match(text, start)
    first = next(iter(find_numerals(text[start : start + _BARE])), None)
    if formula is not None:
        end, span = formula.end(), _get_formula_span(formula)
    elif first is not None and first.start == 0:
        end = start + first.end
        span = (start, end)
    else:
        return None
    return None if DENIED.match(text, end) else span


def _find_last_box(text: str) -> tuple[int, int] | None:
    spans = _find_filled_boxes(text)
    return spans[-1] if spans else None


def _find_filled_boxes(text: str) -> list[tuple[int, int]]:
    return [span for span in find_boxes(text) if text[slice(*span)].strip()]


def _find_statement_spans(text: str) -> list[tuple[int, int]]:
    spans = [_find_statement_span(text, match) for match in list(_SAID.finditer(text))[-_STATEMENTS:]]
    return [span for span in spans if not text[slice(*span)].lstrip().lower().startswith("not ")]


def _find_statement_span(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Span of the text after "the answer is" to the end of its sentence; a full stop within a formula stays."""
    start, end = match.span(1)
    for stop in _SENTENCE.finditer(text, start, end):
        if text.count("$", start, stop.start()) % 2 == 0:
            end = stop.start()
            break
    formula = _FORMULA.search(text, start, end)
    if formula is not None:
        return _get_formula_span(formula)
    rejected = _REJECTED.search(text, start + 1, end)
    end = end if rejected is None else rejected.start()
    return start, first_retraction(text, start + 1, end) or end


def _find_lone_line(text: str) -> tuple[int, int] | None:
    whole = text.strip()
    start = text.find(whole)
    if not whole or len(whole) > _BARE or "\n" in whole:
        return None
    is_sentence = _WORD.search(whole) and (_FORMULA.search(whole) or find_numerals(whole))  # "so it is 5"
    return None if is_sentence else (start, start + len(whole))


def _find_last_value(text: str) -> tuple[int, int] | None:
    """Span of the last formula, else of the last number."""
    formulas = list(_FORMULA.finditer(text))
    value = last_numeral(text)
    if formulas and (value is None or formulas[-1].end() >= value.start):
        start, end = _get_formula_span(formulas[-1])
        return start + text[start:end].rfind("=") + 1, end
    return None if value is None else (value.start, value.end)


def _get_formula_span(match: re.Match[str]) -> tuple[int, int]:
    return next(match.span(group) for group in (1, 2, 3) if match[group] is not None)


def _strip_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Span of `strip_markup(text[start:end])`."""
    inner = strip_markup(text[start:end])
    at = text.find(inner, start, end)
    return at, at + len(inner)
