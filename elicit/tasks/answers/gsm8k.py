"""GSM8K answers: a worked solution whose last line is `#### 72`, with `<<48/2=24>>` calculator annotations.

    Natalia sold 48/2 = <<48/2=24>>24 clips in May.\\nAltogether 48+24 = <<48+24=72>>72.\\n#### 72

Completions are read in one of three ways:

- `flexible` (default): the first `#### N`; else the last `\\boxed{N}`; else the last statement "the answer is N" (or a
  line "Answer: N"); else the last number. A chain `48 + 24 = 72` counts as the part after its last `=`, and a retracted
  answer (`retractions`) does not count. Numbers are read in full (`numerals`): `2 1/2` is 2.5, and `5 or 7` is neither.
- `strict`: `#### N` alone, as lm-eval's `strict-match`.
- `last`: the last plain number, as lm-eval's `flexible-extract`.

Numbers are compared exactly: thousands separators, `$`, `%`, units, a full stop and trailing zeros make no difference
(lm-eval compares strings, so there `18.00` is not `18`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from elicit.errors import one_line
from elicit.tasks.answers.clauses import clause_numeral, last_numeral, normalize_numeral, whole_answer
from elicit.tasks.answers.free_text import ANSWER, TAIL, normalize_decimal, normalize_text
from elicit.tasks.answers.latex import find_boxes
from elicit.tasks.answers.numerals import find_numerals, plain_signs
from elicit.tasks.answers.reader import ParsedAnswer, has_working_before
from elicit.tasks.answers.retractions import DENIED, find_replacements, is_taken_back, may_take_back

MODES = ("flexible", "strict", "last")
_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")
_MARK = re.compile(r"####[ \t]*")
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
#: The last plain number of a text, as lm-eval's `flexible-extract`.
_PLAIN = re.compile(
    r"(?:(?<![\w)\]}])[-+])?(?:\\?\$)?(?:[0-9]{1,3}(?:(?:,|\{,\}|\\,|,?\\!)[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    r"|(?<![\w.])\.[0-9]+"
)
_SAID = re.compile(
    r"\banswers?\b(?:(?!\banswer)[^\n.:=#]){0,60}?(?:\b(?:is|are)\b:?|:|=)(?=[\s*]{0,8}([^\n]{0,200}))", re.IGNORECASE
)
_SENTENCE = re.compile(r"[.!?](?=\s|$)")
#: Signs and words that may stand between "the answer is" and the number.
_LEAD = re.compile(
    r"(?:[\s*_$(\[{:~≈]|\\[(\[]|\\text\w*\{|\b(?:about|approximately|exactly|equal to|only|just)\b)*", re.IGNORECASE
)
#: `18, not 20`
_REJECTED = re.compile(r"[\s,;)$*-]{0,5}(?:(?:and|but)\s)?(?:not|rather than|instead of)\b", re.IGNORECASE)
#: `18 (90%)`, `18 out of 20`
_ASIDE = re.compile(r"[\s)}$*]{0,4}(?:[A-Za-z]{1,15}\s)?(?:\(|out\sof\b)")
#: Number of answer statements that are examined.
_STATEMENTS = 50
#: Longest units after an answer and longest clause, in characters; most words after a corrected answer.
_UNITS, _CLAUSE, _WORDS = 40, 200, 2


def without_calculator(text: str) -> str:
    """A solution without its `<<...>>` annotations."""
    return _CALCULATOR.sub("", text)


def split_answer(answer: str) -> tuple[str, str | None]:
    """(final answer, worked solution) of a GSM8K answer; a bare answer has no worked solution.

    >>> split_answer("2 * 3 = <<2*3=6>>6\\n#### 6")
    ('6', '2 * 3 = 6\\n#### 6')
    """
    rationale, mark, final = answer.rpartition("####")
    if not mark:
        return answer.strip(), None
    rationale = without_calculator(rationale).strip()
    return final.strip(), f"{rationale}\n#### {final.strip()}" if rationale else None


class Gsm8kReader(NamedTuple):
    """Reader of completions whose right answer is one number."""

    target: str
    mode: str = "flexible"

    @property
    def gold(self) -> str:
        answer = whole_answer(self.target)
        return normalize_text(self.target) if answer is None else answer

    def explain_unusable_target(self) -> str | None:
        if len(self.target) > ANSWER or not find_numerals(self.target):
            return "holds no number"
        if whole_answer(self.target) is None:
            value_text = one_line(repr(self.target), 60)
            return f"is {value_text}, which is not a single number; for answers in words type format: text"
        return None

    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        """The number that a completion gives as its answer; None if it gives none."""
        text = completion[-TAIL:]
        parsed = {"flexible": _find_flexible_number, "strict": _find_strict_number, "last": _find_last_plain_number}[
            self.mode
        ](text)
        if parsed is None:
            return None
        shift = len(completion) - len(text)
        return ParsedAnswer(parsed.answer, parsed.start + shift, parsed.end + shift)

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool:
        return parsed.answer == self.gold

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return has_working_before(text, Gsm8kReader(self.target, self.mode).parse_answer(text))


def _find_flexible_number(text: str) -> ParsedAnswer | None:
    marks = (_read_marked_number(text, match.end()) for match in islice(_MARK.finditer(text), _STATEMENTS))
    boxed = (_read_clause_number(text, *span) for span in reversed(find_boxes(text)[-_STATEMENTS:]))
    heads = list(_SAID.finditer(text))[-_STATEMENTS:]
    stated = (_read_stated_number(text, match) for match in reversed(heads))
    answer = next((candidate for candidate in chain(marks, boxed, stated) if candidate is not None), None)
    if answer is None:
        return _find_last_number(text)
    if not may_take_back(text, answer.end):
        return answer
    for later in sorted(_find_statements(text, answer.end), key=lambda candidate: candidate.start):
        if is_taken_back(text, answer.end, later.start):
            answer = later
    corrections = (_read_corrected_number(text, start) for start in find_replacements(text, answer.end))
    return next((candidate for candidate in corrections if candidate is not None), answer)


def _find_statements(text: str, start: int) -> Iterator[ParsedAnswer]:
    """All answers after `start` that are marked, boxed or stated in words."""
    marks = [_read_marked_number(text, match.end()) for match in list(_MARK.finditer(text, start))[-_STATEMENTS:]]
    boxed = [_read_clause_number(text, *span) for span in find_boxes(text)[-_STATEMENTS:] if span[0] >= start]
    stated = [_read_stated_number(text, match) for match in list(_SAID.finditer(text, start))[-_STATEMENTS:]]
    yield from (
        candidate for candidate in (*marks, *boxed, *stated) if candidate is not None and candidate.start >= start
    )


def _read_marked_number(text: str, start: int) -> ParsedAnswer | None:
    """The number after a `####`, on its line and before the next mark."""
    ends = [position for position in (text.find("\n", start), text.find("####", start)) if position >= 0]
    return _read_clause_number(text, start, min([*ends, start + _CLAUSE, len(text)]))


def _read_corrected_number(text: str, start: int) -> ParsedAnswer | None:
    """The number at `start`, if only units follow it in its sentence."""
    line = text.find("\n", start)
    stop = _SENTENCE.search(text, start)
    end = min([len(text), start + _CLAUSE, *([line] if line >= 0 else []), *([stop.start()] if stop else [])])
    lead = _LEAD.match(text, start, end)
    candidate = _read_clause_number(text, start, end)
    if lead is None or candidate is None or candidate.start > lead.end() or DENIED.match(text, candidate.end):
        return None
    return candidate if len(text[candidate.end : end].split()) <= _WORDS else None


def _find_strict_number(text: str) -> ParsedAnswer | None:
    match = _STRICT.search(text)
    if match is None:
        return None
    digits = match[1].rstrip(".,")
    value = normalize_decimal(digits)
    return None if value is None else ParsedAnswer(value, match.start(1), match.start(1) + len(digits))


def _find_last_plain_number(text: str) -> ParsedAnswer | None:
    """The last plain number: not a fraction, a power or a word."""
    matches = list(_PLAIN.finditer(plain_signs(text)))
    value = normalize_decimal(re.sub(r"[{}\\!$]", "", matches[-1][0])) if matches else None
    return None if value is None else ParsedAnswer(value, *matches[-1].span())


def _find_last_number(text: str) -> ParsedAnswer | None:
    numeral = last_numeral(text)
    return None if numeral is None else ParsedAnswer(normalize_numeral(text, numeral), numeral.start, numeral.end)


def _read_clause_number(text: str, start: int, end: int) -> ParsedAnswer | None:
    numeral = clause_numeral(text, start, end)
    return None if numeral is None else ParsedAnswer(normalize_numeral(text, numeral), numeral.start, numeral.end)


def _read_stated_number(text: str, match: re.Match[str]) -> ParsedAnswer | None:
    """The number of "the answer is N": only units may follow it in its sentence (after a colon, on its line)."""
    start, end = match.span(1)
    stop = _SENTENCE.search(text, start, end)
    clause = text[start : stop.start() if stop else end]
    lead = _LEAD.match(clause)
    value = _read_clause_number(text, start, start + len(clause))
    opening = find_numerals(clause) if "=" in clause else [clause_numeral(clause, 0, len(clause))]
    first = opening[0] if opening else None
    if lead is None or value is None or first is None or first.start > lead.end():
        return None
    colon = match[0].rstrip().endswith((":", "="))
    rest = text[value.end : end if colon else start + len(clause)]
    if _REJECTED.match(rest) is not None or _ASIDE.match(rest) is not None:
        return value
    return value if len(rest.strip(" .*$")) <= _UNITS and not any(sign.isdigit() for sign in rest) else None
