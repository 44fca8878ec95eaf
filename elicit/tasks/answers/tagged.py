"""Answers in tags, `<answer>42</answer>`, as reasoning-gym asks for them; without tags, the last number or line."""

from __future__ import annotations

import re
from typing import NamedTuple

from elicit.tasks.answers.clauses import last_numeral, normalize_numeral
from elicit.tasks.answers.free_text import TAIL, normalize_decimal, normalize_text
from elicit.tasks.answers.reader import ParsedAnswer, has_working_before

MODES = ("any", "tags")
_TAGS = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_SAID = re.compile(r"(?:[^\n]{0,60}?\b(?:final )?answer(?: is|:)\**:?)?[\s*]*", re.IGNORECASE)


class TaggedReader(NamedTuple):
    """Reader of completions for one right answer.

    Where the right answer is a number, the last number counts (of the tags' content, if there are tags). Otherwise the
    content of the last tags, else as many lines at the end as the right answer has.
    """

    target: str
    mode: str = "any"

    @property
    def gold(self) -> str:
        return normalize_text(self.target)

    @property
    def numeric(self) -> bool:
        """True if the right answer is a number. `0101` is a string of digits, not a number."""
        return normalize_decimal(self.target) is not None and re.match(r"[-+]?0[0-9]", self.target) is None

    def explain_unusable_target(self) -> str | None:
        return None if self.target.strip() else "is empty"

    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        text = completion[-TAIL:]
        tags = list(_TAGS.finditer(text))
        if not tags and self.mode == "tags":
            return None
        start, end = tags[-1].span(1) if tags else (0, len(text))
        parsed = (
            self._find_number(text, start, end)
            if self.numeric
            else self._find_text(text, start, end, tagged=bool(tags))
        )
        shift = len(completion) - len(text)
        return None if parsed is None else ParsedAnswer(parsed.answer, parsed.start + shift, parsed.end + shift)

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool:
        """Return True if the texts are equal; `gym.scores` asks the generator's own scorer as well."""
        return completion[parsed.start : parsed.end] == self.target

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return has_working_before(text, self.parse_answer(text))

    def _find_number(self, text: str, start: int, end: int) -> ParsedAnswer | None:
        inner = text[start:end]
        numeral = last_numeral(inner)
        return (
            None
            if numeral is None
            else ParsedAnswer(normalize_numeral(inner, numeral), numeral.start + start, numeral.end + start)
        )

    def _find_text(self, text: str, start: int, end: int, *, tagged: bool) -> ParsedAnswer | None:
        if not tagged:
            lines = [match.start() for match in re.finditer(r"[^\n]*[^\s][^\n]*", text)]
            size = self.target.strip().count("\n") + 1
            start = lines[-size] if len(lines) >= size else start
            if size == 1 and lines:
                lead = _SAID.match(text, start)
                start = lead.end() if lead and lead.end() < len(text) else start
        inner = text[start:end].strip()
        if not tagged:
            inner = inner.rstrip("*") if not self.target.endswith("*") else inner
            inner = inner.removesuffix(".") if not self.target.endswith(".") else inner
        inner = inner.strip()
        at = text.find(inner, start)
        return ParsedAnswer(normalize_text(inner), at, at + len(inner)) if inner else None
