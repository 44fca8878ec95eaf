"""Answer extraction from free text, in bounded time.

A user's pattern could backtrack for a very long time. So it sees only the last `TAIL` characters, it is first tried on
a few hostile texts, and each search has a limit of `SECONDS` (of processor time, counted by the `regex` package, since
the standard library's `re` cannot be stopped). A search that exceeds the limit finds nothing.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

from elicit.errors import ElicitError, one_line
from elicit.tasks.answers.clauses import last_numeral, normalize_numeral
from elicit.tasks.answers.numerals import plain_signs, render_number, single_number
from elicit.tasks.answers.reader import ParsedAnswer

TAIL = 4_000
SECONDS = 1.0
#: Longest answer in characters.
ANSWER = 1_000
#: Longest pattern and number.
_PATTERN, _DIGITS = 500, 80
#: A completion of at most this many characters, on one line, may be a bare answer.
_BARE = 80
_NUMBER = re.compile(r"([-+]?)([0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.([0-9]*))?")
_EQUATION = re.compile(r"[0-9][ )]*=")
_PIECES = re.compile(r"\n|[.!?][ \t]")


class TextReader(NamedTuple):
    """Reads completions for one right answer."""

    target: str
    """The right answer as written in the file."""
    pattern: str | None

    @property
    def gold(self) -> str:
        """The right answer in canonical form."""
        return normalize_text(self.target)

    @property
    def numeric(self) -> bool:
        return single_number(self.target) is not None

    def explain_unusable_target(self) -> str | None:
        """Reason why no completion could ever give this answer; None if one could."""
        if len(self.target) > ANSWER:
            return f"is longer than {ANSWER} characters"
        if not self.pattern and "\n" in self.target.strip():
            return "has several lines, which needs an answer_pattern"
        return None

    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        """The answer with its position."""
        answer, span = self.extract_answer(completion), self.find_span(completion)
        return None if answer is None or span is None else ParsedAnswer(answer, *span)

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool:
        return parsed.answer == self.gold

    def extract_answer(self, completion: str) -> str | None:
        """Canonical answer of a completion, None if there is none. Total.

        With a pattern, its last match counts. Where it matches nothing, a completion that is a bare answer (a number
        where the right answer is one, else one short line) counts without the mark.
        """
        located = self._locate_answer(completion)
        return None if located is None else located[0]

    def find_span(self, completion: str) -> tuple[int, int] | None:
        """Span of that answer, as (start, end) characters without the white space around it. Total."""
        located = self._locate_answer(completion)
        if located is None:
            return None
        start, end = located[1]
        inner = completion[start:end]
        return end - len(inner.lstrip()), start + len(inner.rstrip())

    def _locate_answer(self, completion: str) -> tuple[str, tuple[int, int]] | None:
        """(canonical answer, its span in the completion)."""
        text = completion[-TAIL:]
        located = self._search_answer(text)
        if located is None:
            return None
        answer, (start, end) = located
        shift = len(completion) - len(text)
        return None if answer is None else (answer, (start + shift, end + shift))

    def _search_answer(self, text: str) -> tuple[str | None, tuple[int, int]] | None:
        if self.pattern is not None:
            return self._match_pattern(self.pattern, text)
        if self.numeric:
            if (whole := single_number(text)) is not None:
                return render_number(whole), (0, len(text))
            last = last_numeral(text)
            return None if last is None else (normalize_numeral(text, last), (last.start, last.end))
        end = len(text.rstrip())
        start = text.rfind("\n", 0, end) + 1
        return (normalize_text(text[start:end]), (start, end)) if end else None

    def _match_pattern(self, pattern: str, text: str) -> tuple[str | None, tuple[int, int]] | None:
        try:
            matches = [
                match for match in _compile_pattern(pattern).finditer(text, timeout=SECONDS) if (match[1] or "").strip()
            ]
        except (TimeoutError, MemoryError):
            return None
        if matches:
            return normalize_text(matches[-1][1]), matches[-1].span(1)
        bare = text.strip()
        if single_number(bare) is None and (self.numeric or not bare or len(bare) > _BARE or "\n" in bare):
            return None
        return normalize_text(bare), (0, len(text))

    def has_trace(self, completion: str) -> bool:
        """Return True for two or more sentences or lines, or an equation."""
        text = completion[-TAIL:]
        pieces = [piece for piece in _PIECES.split(text) if piece.strip()]
        return len(pieces) > 1 or _EQUATION.search(text) is not None


def normalize_text(text: str) -> str:
    """Canonical text: numbers in their shortest form, other text with its white space folded."""
    value = single_number(text)
    return " ".join(text.split()) if value is None else render_number(value)


def normalize_decimal(text: str) -> str | None:
    """Shortest form of a decimal number (`1,000` -> `1000`, `3.0` -> `3`), None if the text is not one."""
    text = text.strip()
    match = _NUMBER.fullmatch(plain_signs(text)) if len(text) <= _DIGITS else None
    if match is None or not any(character.isdigit() for character in text):
        return None
    sign, whole, part = match.groups(default="")
    whole, part = whole.replace(",", "").lstrip("0") or "0", part.rstrip("0")
    value = f"{whole}.{part}" if part else whole
    return f"-{value}" if sign == "-" and value != "0" else value


# --- patterns ----------------------------------------------------------------------------------------------------

#: Texts on which a pattern with unbounded backtracking is likely to time out.
_HOSTILE = tuple(
    piece * (TAIL // len(piece)) + "\x00" for piece in ("1", "a", " ", "1 ", "a ", "1,", "x1.", "=", "a\n")
)


def check_pattern(pattern: object) -> None:
    """Raise ElicitError unless `pattern` is None or a regular expression with one group that ends in time."""
    if pattern is None:
        return
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _PATTERN:
        raise _pattern_error(pattern, f"expected a regular expression of 1 to {_PATTERN} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            groups = re.compile(pattern).groups
            groups = max(groups, _compile_pattern(pattern).groups)
    except (re.error, _import_regex().error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise _pattern_error(pattern, f"not a regular expression ({one_line(error, 100)})") from None
    if groups != 1:
        raise _pattern_error(
            pattern, f"expected one group (...) around the answer, found {groups}; use (?:...) elsewhere"
        )
    for text in _HOSTILE:
        try:
            _compile_pattern(pattern).findall(text, timeout=SECONDS / 4)
        except (TimeoutError, MemoryError):
            reason = "it can backtrack without end; avoid a repeat within a repeat, such as (a+)+"
            raise _pattern_error(pattern, reason) from None


def _pattern_error(pattern: object, reason: str) -> ElicitError:
    return ElicitError(f"task 'jsonl': answer_pattern is {one_line(repr(pattern), 80)}: {reason}.")


@lru_cache(maxsize=64)
def _compile_pattern(pattern: str) -> Any:
    return _import_regex().compile(pattern)


def _import_regex() -> Any:
    import regex  # type: ignore[import-untyped]

    return regex
