"""Answer extraction for multiple choice: `B`, `(B) carbon dioxide`, `The answer is B`, `\\boxed{B}`."""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

from elicit.tasks.answers.choice_options import LETTERS
from elicit.tasks.answers.free_text import TAIL
from elicit.tasks.answers.latex import find_boxes, strip_markup
from elicit.tasks.answers.reader import ParsedAnswer, has_working_before
from elicit.tasks.answers.retractions import DENIED, find_replacements, is_taken_back, next_question

_WIDE = {ord("Ａ") + place: chr(ord("A") + place) for place in range(26)}
_WIDE |= {ord(wide): usual for wide, usual in zip("（）［］．：", "()[].:", strict=True)}
_SAYS = r"\b(?:answers?|options?|choices?)\b[^\n.:]{0,60}?(?:\bis\b:?|:)[\s*]{0,8}"
_OPENS = r"(?:\\(?:text|math)(?:bf|it|rm)?\{)?[($*\\{ \[\"'`“‘]{0,4}"
_SAID = re.compile(
    rf"(?i:{_SAYS}(?:option |choice )?){_OPENS}(?:([A-Z])|([b-hj-z])(?=[).\]*\"'`\n]|\s*\Z)|(?<=[(\[])([a-z])(?=[)\]]))"
    r"(?![A-Za-z0-9]|['’][A-Za-z])"
    r"(?!(?<=A) (?!because|since|as |and |or |so )[a-z])"  # "the answer is A plant"
)
#: Words that an option's own text may follow.
_NAMES = re.compile(rf"{_SAYS}[\"'`“‘]{{0,2}}", re.IGNORECASE)
#: `B is correct`, `(B) is the right answer`
_CALLED = re.compile(
    r"(?:^|[\s(*])([A-Z])[)*]{0,3}\s(?:is|must\sbe)\s(?:the\s)?(?:only\s|best\s)?(?:correct|right|answer)\b"
)
_FIRST = re.compile(rf"\s*{_OPENS}([A-Z])(?!['’][A-Za-z])(?=[).:*,\]\"'`$}}]|\s*[!?]?\s*$|\s*\n)|\s*([a-z])[).]?\s*$")
_ROUND = re.compile(r"[(\[]([A-Z])[)\]]")
_TAGS = re.compile(r"<answer>\s*\(?([A-Z])[).]?\s*</answer>")
#: A letter that replaces another one.
_LETTER = re.compile(r"[\s(*$]{0,4}(?:option |choice )?[(*]{0,3}([A-Z])(?![A-Za-z0-9'])")
_ALONE = re.compile(r"(?:^|[\s*(])([A-Z])[).*:]{0,3}\s*$")
_BOXED = re.compile(r"(?:\\(?:text|math)(?:bf|it|rm)?\{)?\s*\(?([A-Za-z])(?:[}).:]|\s*$)")
_CLOSES = r"[)\].*$}\"'`’”]{0,4}"
#: `A or B`, `A, B`: not a single letter.
_ANOTHER = re.compile(
    rf"{_CLOSES}\s?(?:,|/|&|;|,?\s?\b(?:or|and)\b)\s?(?:option |choice )?[($*\\{{\[\"'`]{{0,4}}([A-Z])(?![A-Za-z0-9'])"
)
_NOT = re.compile(
    r"(?:\b(?:not|nor|never|than|neither|or|and)|n['’]t|\b[A-Z],)\s(?:option |choice )?[(*\[]{0,3}$", re.IGNORECASE
)
_ENDS = re.compile(r"[\s*\"'`’”]*(?:[.,;:!?]|$|\b(?:because|since)\b)")
_NEAR = 24
_STATEMENTS = 50


class _LetterMatch(NamedTuple):
    letter: str
    start: int
    end: int


class LetterReader(NamedTuple):
    """Reader of completions whose right answer is one letter.

    The last "the answer is (B)" or `\\boxed{B}` counts; else "the answer is" with the text of an option; else a letter
    that the completion opens with ("B.", "(B) carbon dioxide"); else "B is correct"; else the last "(B)"; else a letter
    that it ends in; else the one option it consists of. No letter is read from "A or B" or "not A", and nothing after
    another question.
    """

    target: str
    texts: tuple[str, ...]

    @property
    def gold(self) -> str:
        return self.target

    def explain_unusable_target(self) -> str | None:
        return None if self.target in LETTERS[: len(self.texts)] else "is not one of the options"

    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        text = completion[-TAIL:].translate(_WIDE)
        end = next_question(text)
        candidate = None if end is None else self._find_letter(text[:end])
        candidate = candidate or self._find_letter(text)
        if candidate is None:
            return None
        shift = len(completion) - len(text)
        return ParsedAnswer(candidate.letter, candidate.start + shift, candidate.end + shift)

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool:
        return parsed.answer == self.target

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return has_working_before(text, self.parse_answer(text))

    def _find_letter(self, text: str) -> _LetterMatch | None:
        """The answer, unless later words retract it."""
        candidate = self._find_first_letter(text)
        if candidate is None:
            return None
        for match in _SAID.finditer(text, candidate.end):
            later = self._letter_from_match(match)
            if later is not None and is_taken_back(text, candidate.end, later.start):
                candidate = later
        for at in find_replacements(text, candidate.end):
            letter = _LETTER.match(text, at)
            if letter is not None and letter[1] in self._letters and not DENIED.match(text, letter.end()):
                return _LetterMatch(letter[1], *letter.span(1))
        return None if self._is_one_of_several(text, candidate) else candidate

    def _find_first_letter(self, text: str) -> _LetterMatch | None:
        statements = list(_SAID.finditer(text))[-_STATEMENTS:]
        last = self._letter_from_match(statements[-1]) if statements else None
        if last is not None and self._is_one_of_several(text, last):
            last = None
        boxed = [
            candidate for span in find_boxes(text) if (candidate := self._find_boxed_letter(text, *span)) is not None
        ]
        if last is not None and not (boxed and boxed[-1].start > last.start):
            return last
        if boxed:
            return boxed[-1]
        if (option_match := self._find_option_text(text)) is not None:
            return option_match
        for pattern in (_TAGS, _FIRST, _CALLED, _ROUND, _ALONE):
            matches = [pattern.match(text)] if pattern is _FIRST else list(pattern.finditer(text))[::-1]
            for match in islice((match for match in matches if match is not None), _STATEMENTS):
                candidate = self._letter_from_match(match)
                if candidate is None or self._is_one_of_several(text, candidate):
                    continue
                if not _NOT.search(text[max(0, candidate.start - _NEAR) : candidate.start]):
                    return candidate
        stripped = text.strip()
        letter = self._letter_of_option(stripped)
        start = text.find(stripped)
        return None if letter is None else _LetterMatch(letter, start, start + len(stripped))

    def _letter_from_match(self, match: re.Match[str]) -> _LetterMatch | None:
        group = next(number for number, letter in enumerate(match.groups(), start=1) if letter is not None)
        letter = match[group].upper()
        return _LetterMatch(letter, *match.span(group)) if letter in self._letters else None

    def _find_boxed_letter(self, text: str, start: int, end: int) -> _LetterMatch | None:
        inner = strip_markup(text[start:end])
        match = _BOXED.match(inner)
        letter = (
            match[1].upper()
            if match is not None and match[1].upper() in self._letters
            else self._letter_of_option(inner)
        )
        return None if letter is None else _LetterMatch(letter, start, end)

    def _find_option_text(self, text: str) -> _LetterMatch | None:
        """The last option that the completion states as the answer by its text."""
        for match in reversed(list(_NAMES.finditer(text))[-_STATEMENTS:]):
            line = text[match.end() :].partition("\n")[0]
            clause = line.lower()
            indices = [
                index
                for index, option in enumerate(self.texts)
                if _starts_with_option(clause, option.lower().rstrip("."))
            ]
            longest = max((len(self.texts[index]) for index in indices), default=0)
            best = [index for index in indices if len(self.texts[index]) == longest]
            if len(best) == 1:
                return _LetterMatch(LETTERS[best[0]], match.end(), match.end() + len(self.texts[best[0]].rstrip(".")))
        return None

    def _letter_of_option(self, text: str) -> str | None:
        """Letter of the one option that makes up the whole text."""
        whole = " ".join(text.split()).removesuffix(".").lower()
        indices = [index for index, option in enumerate(self.texts) if option.lower().removesuffix(".") == whole]
        return LETTERS[indices[0]] if len(indices) == 1 and whole else None

    def _is_one_of_several(self, text: str, candidate: _LetterMatch) -> bool:
        other = _ANOTHER.match(text, candidate.end)
        if other is None or other[1] not in self._letters or other[1] == candidate.letter:
            return False
        return not DENIED.match(text, other.end()) and not re.match(r" [a-z]", text[other.end() : other.end() + 2])

    @property
    def _letters(self) -> list[str]:
        return list(LETTERS[: len(self.texts)])


def _starts_with_option(clause: str, option: str) -> bool:
    """Return True if a clause begins with an option that ends with its sentence."""
    return (
        clause.startswith(option)
        and re.match(r"[\s*\"'`’”]*(?:[.,;:!?]|$|\bbecause\b|\bsince\b)", clause[len(option) :]) is not None
    )
