"""Answers in tags, `<answer>42</answer>`, as reasoning-gym asks for them; without tags, the last number or line."""

from __future__ import annotations

import re
from typing import NamedTuple

from elicit.tasks.answers.clauses import as_answer, last_numeral
from elicit.tasks.answers.free_text import TAIL, canonical, number
from elicit.tasks.answers.reader import Found, worked_before

MODES = ("any", "tags")
_TAGS = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_SAID = re.compile(r"(?:[^\n]{0,60}?\b(?:final )?answer(?: is|:)\**:?)?[\s*]*", re.IGNORECASE)


class Tagged(NamedTuple):
    """Reads completions for one right answer.

    Where the right answer is a number, the last number counts (of the tags' content, if there are tags). Otherwise the
    content of the last tags, else as many lines at the end as the right answer has.
    """

    given: str
    mode: str = "any"

    @property
    def gold(self) -> str:
        return canonical(self.given)

    @property
    def numeric(self) -> bool:
        """`0101` is a string of digits, not a number."""
        return number(self.given) is not None and re.match(r"[-+]?0[0-9]", self.given) is None

    def unusable(self) -> str | None:
        return None if self.given.strip() else "is empty"

    def found(self, completion: str) -> Found | None:
        text = completion[-TAIL:]
        tags = list(_TAGS.finditer(text))
        if not tags and self.mode == "tags":
            return None
        start, end = tags[-1].span(1) if tags else (0, len(text))
        place = self._number(text, start, end) if self.numeric else self._text(text, start, end, tagged=bool(tags))
        shift = len(completion) - len(text)
        return None if place is None else Found(place.answer, place.start + shift, place.end + shift)

    def right(self, completion: str, found: Found) -> bool:
        """By text alone; `gym_scores` knows better."""
        return completion[found.start : found.end] == self.given

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return worked_before(text, self.found(text))

    def _number(self, text: str, start: int, end: int) -> Found | None:
        inner = text[start:end]
        numeral = last_numeral(inner)
        return None if numeral is None else Found(as_answer(inner, numeral), numeral.start + start, numeral.end + start)

    def _text(self, text: str, start: int, end: int, *, tagged: bool) -> Found | None:
        if not tagged:
            lines = [match.start() for match in re.finditer(r"[^\n]*[^\s][^\n]*", text)]
            size = self.given.strip().count("\n") + 1
            start = lines[-size] if len(lines) >= size else start
            if size == 1 and lines:
                said = _SAID.match(text, start)
                start = said.end() if said and said.end() < len(text) else start
        inner = text[start:end].strip()
        if not tagged:
            inner = inner.rstrip("*") if not self.given.endswith("*") else inner
            inner = inner.removesuffix(".") if not self.given.endswith(".") else inner
        inner = inner.strip()
        at = text.find(inner, start)
        return Found(canonical(inner), at, at + len(inner)) if inner else None
