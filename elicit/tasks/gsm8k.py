"""GSM8K's form: a worked solution whose last line is `#### 72`, with `<<48/2=24>>` for a calculator in between.

    Natalia sold 48/2 = <<48/2=24>>24 clips in May.\\nAltogether 48+24 = <<48+24=72>>72.\\n#### 72

Completions are read in one of three ways:

- `flexible` (default): the first `#### N`; else the last `\\boxed{N}`; else the last statement "the answer is N" (or a
  line "Answer: N"); else the last number. A chain `48 + 24 = 72` counts as what follows its last `=`.
- `strict`: `#### N` alone, as lm-eval's `strict-match`.
- `last`: the last number, as lm-eval's `flexible-extract`.

Numbers are compared as decimals: thousands separators, `$`, `%`, units, a full stop and trailing zeros make no
difference (lm-eval compares strings, so there `18.00` is not `18`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from elicit.tasks.extraction import ANSWER, TAIL, canonical, number, number_in
from elicit.tasks.latex import boxes
from elicit.tasks.readings import Found, worked_before

MODES = ("flexible", "strict", "last")
_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")
_MARK = re.compile(r"####[ \t]*([^\n]{0,200})")
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_SAID = re.compile(
    r"\banswers?\b(?:(?!\banswer)[^\n.:=#]){0,60}?(?:\b(?:is|are)\b:?|:|=)([\s*]{0,8}[^\n]{0,200})", re.IGNORECASE
)
_SENTENCE = re.compile(r"[.!?](?=\s|$)")
#: Between "the answer is" and the number nothing stands but signs and such words.
_LEAD = re.compile(
    r"(?:[\s*_$(\[{:~≈]|\\[(\[]|\\text\w*\{|\b(?:about|approximately|exactly|equal to|only|just)\b)*", re.IGNORECASE
)
_UNITS = 40


def without_calculator(text: str) -> str:
    """A solution without its `<<...>>` annotations."""
    return _CALCULATOR.sub("", text)


def parts(answer: str) -> tuple[str, str | None]:
    """(final answer, worked solution) of a GSM8K answer; a bare answer has no worked solution.

    >>> parts("2 * 3 = <<2*3=6>>6\\n#### 6")
    ('6', '2 * 3 = 6\\n#### 6')
    """
    rationale, mark, final = answer.rpartition("####")
    if not mark:
        return answer.strip(), None
    rationale = without_calculator(rationale).strip()
    return final.strip(), f"{rationale}\n#### {final.strip()}" if rationale else None


class Worded(NamedTuple):
    """Reads completions for one right number."""

    given: str
    mode: str = "flexible"

    @property
    def gold(self) -> str:
        value = number_in(self.given)
        return canonical(self.given) if value is None else value[0]

    def unusable(self) -> str | None:
        if len(self.given) > ANSWER or number_in(self.given) is None:
            return "holds no number"
        return None

    def found(self, completion: str) -> Found | None:
        """The number a completion gives as its answer, None if it gives none."""
        text = completion[-TAIL:]
        place = {"flexible": _flexible, "strict": _strict, "last": _last}[self.mode](text)
        if place is None:
            return None
        shift = len(completion) - len(text)
        return Found(place.answer, place.start + shift, place.end + shift)

    def right(self, completion: str, found: Found) -> bool:
        return found.answer == self.gold

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return worked_before(text, Worded(self.given, self.mode).found(text))


def _flexible(text: str) -> Found | None:
    for match in _MARK.finditer(text):
        if (value := _of_clause(text, *match.span(1))) is not None:
            return value
    for start, end in reversed(boxes(text)):
        if (value := _of_clause(text, start, end)) is not None:
            return value
    for match in reversed(list(_SAID.finditer(text))):
        if (value := _said(text, match)) is not None:
            return value
    return _last(text)


def _strict(text: str) -> Found | None:
    match = _STRICT.search(text)
    if match is None:
        return None
    kept = match[1].rstrip(".,")
    value = number(kept)
    return None if value is None else Found(value, match.start(1), match.start(1) + len(kept))


def _last(text: str) -> Found | None:
    return _placed(number_in(text, last=True), 0)


def _of_clause(text: str, start: int, end: int) -> Found | None:
    """The number that a clause comes to: the first one after its last equals sign."""
    start += text[start:end].rfind("=") + 1
    return _placed(number_in(text[start:end]), start)


def _said(text: str, match: re.Match[str]) -> Found | None:
    """The number of "the answer is N": nothing but units may follow it in its sentence (line, after a colon)."""
    start, end = match.span(1)
    stop = _SENTENCE.search(text, start, end)
    clause = text[start : stop.start() if stop else end]
    lead = _LEAD.match(clause)
    assert lead is not None
    first = number_in(clause)
    if first is None or first[1] != lead.end():
        return None
    value = _of_clause(text, start, start + len(clause))
    colon = match[0][: start - match.start()].rstrip().endswith((":", "="))
    rest = text[value.end : end if colon else start + len(clause)] if value else ""
    return value if len(rest.strip(" .*$")) <= _UNITS and not any(sign.isdigit() for sign in rest) else None


def _placed(value: tuple[str, int, int] | None, shift: int) -> Found | None:
    return None if value is None else Found(value[0], value[1] + shift, value[2] + shift)
