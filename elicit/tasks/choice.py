"""Multiple choice: the options are written under the question, and a completion is read for a letter.

Which gas do plants take in?
A. oxygen
B. carbon dioxide
C. nitrogen
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.tasks.extraction import TAIL
from elicit.tasks.latex import boxes, normal
from elicit.tasks.lines import BadLine, Number
from elicit.tasks.readings import Found, worked_before
from elicit.tasks.retractions import DENIED, is_taken_back, replacements

LETTERS = string.ascii_uppercase
_SAID = re.compile(
    r"\b(?:[Aa]nswer|[Oo]ption|[Cc]hoice)s?\b[^\n.:]{0,60}?(?:\bis\b:?|:)[\s*]{0,8}(?:option |choice )?"
    r"[($*\\{ ]{0,4}([A-Z])(?![A-Za-z0-9'])"
    r"(?!(?<=A) (?!because|since|as |and |so )[a-z])"  # "the answer is A plant"
)
_FIRST = re.compile(r"\s*[(*]{0,3}([A-Z])(?=[).:*,]|\s*$|\s*\n)")
_ROUND = re.compile(r"\(([A-Z])\)")
#: A letter that replaces another one.
_LETTER = re.compile(r"[\s(*$]{0,4}(?:option |choice )?[(*]{0,3}([A-Z])(?![A-Za-z0-9'])")
_ALONE = re.compile(r"(?:^|[\s*(])([A-Z])[).*:]{0,3}\s*$")


class Options(NamedTuple):
    """The options of one problem, as its row has them."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    """What the row calls them; a completion is read for A, B, C, ... whatever they are."""

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.texts)]

    def under(self, question: str) -> str:
        lines = [f"{letter}. {text}" for letter, text in zip(self.letters, self.texts, strict=True)]
        return "\n".join([question.rstrip(), *lines])


def options(value: Any) -> Options:
    """Options from a list of texts, or from `{"text": [...], "label": [...]}`. Raises BadLine."""
    labels: Sequence[Any] = LETTERS
    if isinstance(value, Mapping):
        labels, value = value.get("label", LETTERS), value.get("text")
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= len(LETTERS):
        raise BadLine(f"'choices' is no list of 2 to {len(LETTERS)} options")
    texts = tuple(" ".join(str(text).split()) for text in value)
    if not all(texts):
        raise BadLine("'choices' has an empty option")
    return Options(texts, tuple(str(label) for label in labels[: len(texts)]))


def place_of(answer: Any, choices: Options) -> int | None:
    """The place that a right answer gives (`2`, or `"2"`); None for a label, an option or a letter."""
    text = str(answer).strip()
    if answer is None or text in choices.labels or not (text.isascii() and text.isdigit()) or len(text) > 3:
        return None
    return int(text) if isinstance(answer, Number) or text not in choices.texts else None


def gold_letter(answer: Any, choices: Options, count_from: int | None = 0) -> str:
    """The letter of a right answer given as a letter, the row's own label, a place, or the option's text.

    Args:
        count_from: the place of the first option; None: 0, and an option that is itself a number may not be one.
    """
    text = str(answer).strip()
    place = place_of(answer, choices)
    if place is not None:
        at = place - (count_from or 0)
        if count_from is None and text in choices.texts and (at != choices.texts.index(text)):
            raise BadLine(f"'answer' is {text}, which is an option and may be the place of another; type count_from")
        if 0 <= at < len(choices.texts):
            return LETTERS[at]
        raise BadLine(f"'answer' is {text}, which is no place among {len(choices.texts)} options")
    if text in choices.labels:
        return LETTERS[choices.labels.index(text)]
    if len(text) == 1 and text.upper() in choices.letters:
        return text.upper()
    if choices.texts.count(" ".join(text.split())) == 1:
        return LETTERS[choices.texts.index(" ".join(text.split()))]
    raise BadLine(f"'answer' is {text[:40]!r}, which is none of the {len(choices.texts)} options")


class Letters(NamedTuple):
    """Reads completions for one right letter.

    The last "the answer is (B)" or `\\boxed{B}` counts; else a letter that the completion opens with ("B.", "(B) carbon
    dioxide"); else the last "(B)"; else a letter that it ends in; else the one option it consists of.
    """

    given: str
    texts: tuple[str, ...]

    @property
    def gold(self) -> str:
        return self.given

    def unusable(self) -> str | None:
        return None if self.given in LETTERS[: len(self.texts)] else "is none of the options"

    def found(self, completion: str) -> Found | None:
        text = completion[-TAIL:]
        place = self._place(text)
        if place is None:
            return None
        letter, start, end = place
        shift = len(completion) - len(text)
        return Found(letter, start + shift, end + shift)

    def right(self, completion: str, found: Found) -> bool:
        return found.answer == self.given

    def has_trace(self, completion: str) -> bool:
        text = completion[-TAIL:]
        return worked_before(text, self.found(text))

    def _place(self, text: str) -> tuple[str, int, int] | None:
        place = self._first_place(text)
        if place is None:
            return None
        for match in _SAID.finditer(text, place[2]):
            if match[1] in self._letters and is_taken_back(text, place[2], match.start(1)):
                place = (match[1], *match.span(1))
        for at in replacements(text, place[2]):
            letter = _LETTER.match(text, at)
            if letter is not None and letter[1] in self._letters and not DENIED.match(text, letter.end()):
                return letter[1], *letter.span(1)
        return place

    def _first_place(self, text: str) -> tuple[str, int, int] | None:
        """The answer, unless words behind it take it back."""
        said = list(_SAID.finditer(text))
        boxed = [span for span in boxes(text) if _letter(text[slice(*span)]) in self._letters]
        if said and said[-1][1] in self._letters and not (boxed and boxed[-1][0] > said[-1].start(1)):
            return said[-1][1], *said[-1].span(1)
        if boxed:
            start, end = boxed[-1]
            return _letter(text[start:end]), start, end
        for match in (_FIRST.match(text), *reversed(list(_ROUND.finditer(text))), _ALONE.search(text)):
            if match is not None and match[1] in self._letters:
                return match[1], *match.span(1)
        whole = " ".join(text.split()).removesuffix(".").lower()
        named = [place for place, option in enumerate(self.texts) if option.lower().removesuffix(".") == whole]
        stripped = text.strip()
        start = text.find(stripped)
        return (LETTERS[named[0]], start, start + len(stripped)) if len(named) == 1 and stripped else None

    @property
    def _letters(self) -> list[str]:
        return list(LETTERS[: len(self.texts)])


def _letter(boxed: str) -> str:
    return normal(boxed).strip("()").upper()
