"""How a completion is read for the letter of an option: `B`, `(B) carbon dioxide`, `The answer is B`, `\\boxed{B}`."""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

from elicit.tasks.answers.choice_options import LETTERS
from elicit.tasks.answers.free_text import TAIL
from elicit.tasks.answers.latex import bare, boxes
from elicit.tasks.answers.reader import Found, worked_before
from elicit.tasks.answers.retractions import DENIED, is_taken_back, next_question, replacements

_WIDE = {ord("Ａ") + place: chr(ord("A") + place) for place in range(26)}
_WIDE |= {ord(wide): usual for wide, usual in zip("（）［］．：", "()[].:", strict=True)}
_SAYS = r"\b(?:answers?|options?|choices?)\b[^\n.:]{0,60}?(?:\bis\b:?|:)[\s*]{0,8}"
_OPENS = r"(?:\\(?:text|math)(?:bf|it|rm)?\{)?[($*\\{ \[\"'`“‘]{0,4}"
_SAID = re.compile(
    rf"(?i:{_SAYS}(?:option |choice )?){_OPENS}(?:([A-Z])|([b-hj-z])(?=[).\]*\"'`\n]|\s*\Z)|(?<=[(\[])([a-z])(?=[)\]]))"
    r"(?![A-Za-z0-9]|['’][A-Za-z])"
    r"(?!(?<=A) (?!because|since|as |and |or |so )[a-z])"  # "the answer is A plant"
)
#: What an option's own text may follow.
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
#: `A or B`, `A, B`: no single one.
_ANOTHER = re.compile(
    rf"{_CLOSES}\s?(?:,|/|&|;|,?\s?\b(?:or|and)\b)\s?(?:option |choice )?[($*\\{{\[\"'`]{{0,4}}([A-Z])(?![A-Za-z0-9'])"
)
_NOT = re.compile(
    r"(?:\b(?:not|nor|never|than|neither|or|and)|n['’]t|\b[A-Z],)\s(?:option |choice )?[(*\[]{0,3}$", re.IGNORECASE
)
_ENDS = re.compile(r"[\s*\"'`’”]*(?:[.,;:!?]|$|\b(?:because|since)\b)")
_NEAR = 24
_STATEMENTS = 50


class _Place(NamedTuple):
    letter: str
    start: int
    end: int


class Letters(NamedTuple):
    """Reads completions for one right letter.

    The last "the answer is (B)" or `\\boxed{B}` counts; else "the answer is" with the text of an option; else a letter
    that the completion opens with ("B.", "(B) carbon dioxide"); else "B is correct"; else the last "(B)"; else a letter
    that it ends in; else the one option it consists of. Of "A or B", and of "not A", none is read, and nothing behind
    another question.
    """

    given: str
    texts: tuple[str, ...]

    @property
    def gold(self) -> str:
        return self.given

    def unusable(self) -> str | None:
        return None if self.given in LETTERS[: len(self.texts)] else "is none of the options"

    def found(self, completion: str) -> Found | None:
        text = completion[-TAIL:].translate(_WIDE)
        end = next_question(text)
        place = None if end is None else self._place(text[:end])
        place = place or self._place(text)
        if place is None:
            return None
        shift = len(completion) - len(text)
        return Found(place.letter, place.start + shift, place.end + shift)

    def right(self, completion: str, found: Found) -> bool:
        return found.answer == self.given

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return worked_before(text, self.found(text))

    def _place(self, text: str) -> _Place | None:
        """The answer, unless words behind it take it back."""
        place = self._first_place(text)
        if place is None:
            return None
        for match in _SAID.finditer(text, place.end):
            later = self._of(match)
            if later is not None and is_taken_back(text, place.end, later.start):
                place = later
        for at in replacements(text, place.end):
            letter = _LETTER.match(text, at)
            if letter is not None and letter[1] in self._letters and not DENIED.match(text, letter.end()):
                return _Place(letter[1], *letter.span(1))
        return None if self._is_one_of_several(text, place) else place

    def _first_place(self, text: str) -> _Place | None:
        said = list(_SAID.finditer(text))[-_STATEMENTS:]
        last = self._of(said[-1]) if said else None
        if last is not None and self._is_one_of_several(text, last):
            last = None
        boxed = [place for span in boxes(text) if (place := self._boxed(text, *span)) is not None]
        if last is not None and not (boxed and boxed[-1].start > last.start):
            return last
        if boxed:
            return boxed[-1]
        if (named := self._named(text)) is not None:
            return named
        for pattern in (_TAGS, _FIRST, _CALLED, _ROUND, _ALONE):
            matches = [pattern.match(text)] if pattern is _FIRST else list(pattern.finditer(text))[::-1]
            for match in islice((match for match in matches if match is not None), _STATEMENTS):
                place = self._of(match)
                if place is None or self._is_one_of_several(text, place):
                    continue
                if not _NOT.search(text[max(0, place.start - _NEAR) : place.start]):
                    return place
        stripped = text.strip()
        letter = self._option(stripped)
        start = text.find(stripped)
        return None if letter is None else _Place(letter, start, start + len(stripped))

    def _of(self, match: re.Match[str]) -> _Place | None:
        group = next(number for number, letter in enumerate(match.groups(), start=1) if letter is not None)
        letter = match[group].upper()
        return _Place(letter, *match.span(group)) if letter in self._letters else None

    def _boxed(self, text: str, start: int, end: int) -> _Place | None:
        inner = bare(text[start:end])
        match = _BOXED.match(inner)
        letter = match[1].upper() if match is not None and match[1].upper() in self._letters else self._option(inner)
        return None if letter is None else _Place(letter, start, end)

    def _named(self, text: str) -> _Place | None:
        """The last option that is said to be the answer by its own text."""
        for match in reversed(list(_NAMES.finditer(text))[-_STATEMENTS:]):
            line = text[match.end() :].partition("\n")[0]
            clause = line.lower()
            places = [place for place, option in enumerate(self.texts) if _begins(clause, option.lower().rstrip("."))]
            longest = max((len(self.texts[place]) for place in places), default=0)
            best = [place for place in places if len(self.texts[place]) == longest]
            if len(best) == 1:
                return _Place(LETTERS[best[0]], match.end(), match.end() + len(self.texts[best[0]].rstrip(".")))
        return None

    def _option(self, text: str) -> str | None:
        """The letter of the one option that a text consists of."""
        whole = " ".join(text.split()).removesuffix(".").lower()
        named = [place for place, option in enumerate(self.texts) if option.lower().removesuffix(".") == whole]
        return LETTERS[named[0]] if len(named) == 1 and whole else None

    def _is_one_of_several(self, text: str, place: _Place) -> bool:
        other = _ANOTHER.match(text, place.end)
        if other is None or other[1] not in self._letters or other[1] == place.letter:
            return False
        return not DENIED.match(text, other.end()) and not re.match(r" [a-z]", text[other.end() : other.end() + 2])

    @property
    def _letters(self) -> list[str]:
        return list(LETTERS[: len(self.texts)])


def _begins(clause: str, option: str) -> bool:
    """Whether a clause begins with an option that ends with its sentence."""
    return (
        clause.startswith(option)
        and re.match(r"[\s*\"'`’”]*(?:[.,;:!?]|$|\bbecause\b|\bsince\b)", clause[len(option) :]) is not None
    )
