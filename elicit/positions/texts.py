"""Terms of the position language that read the text so far: tokens, strings, boundaries.

A position's weight depends on the tokens up to it, never on later ones, so that it is known while a text is generated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from elicit.errors import ElicitError, one_line
from elicit.positions.row import BARRIER, Row, Vocabulary
from elicit.positions.terms import Term, Weights

#: Tokens before a position that a boundary may depend on.
_BEHIND = 24
#: A point after a digit may be that of a decimal: only a line's end settles it.
_SENTENCE = re.compile(r"(?:(?:(?<![0-9])\.|[!?。！？])[\"'”’)\]*]*\s*|\n\s*)\Z")
_ENDS = re.compile(r"[.!?。！？\n]")
_ANSWER = re.compile(r"(?i)(?:####|\\boxed\s*\{|\banswer\s*(?:is\b|:|=))[\s:=$*({]*\Z")


@dataclass(frozen=True)
class TextTerm(Term):
    """A term that reads token ids."""

    reads_tokens: ClassVar[bool] = True

    @property
    def needs_prompt_length(self) -> bool:
        return False


@dataclass(frozen=True)
class TokenText(TextTerm):
    """Each occurrence of a text's own tokens, at the last of them."""

    text: str

    def check(self, vocabulary: Vocabulary) -> None:
        _check_spelling(f'token:"{self.text}"', self.text, vocabulary)

    def weights(self, row: Row) -> Weights:
        return _mark_sequence(row, _require_vocabulary(row).encode(self.text))


@dataclass(frozen=True)
class TokenId(TextTerm):
    """Each occurrence of a token id."""

    token: int

    def check(self, vocabulary: Vocabulary) -> None:
        if self.token >= len(vocabulary):
            raise ElicitError(f"positions: token:#{self.token}: the tokenizer has ids 0 to {len(vocabulary) - 1}.")

    def weights(self, row: Row) -> Weights:
        return _mark_sequence(row, (self.token,))


@dataclass(frozen=True)
class After(TextTerm):
    """Each token that holds the last character of an occurrence of a string, however it is split into tokens."""

    text: str

    def check(self, vocabulary: Vocabulary) -> None:
        _check_spelling(f'after:"{self.text}"', self.text, vocabulary)

    def weights(self, row: Row) -> Weights:
        vocabulary = _require_vocabulary(row)
        first = max(0, row.start - len(self.text))  # every token has a character
        texts = [vocabulary.text(token) for token in row.ids[first:]]
        ends = np.cumsum([len(text) for text in texts])
        joined, marks = "".join(texts), np.zeros(len(row.ids) - first, dtype=np.float32)
        begin = joined.find(self.text)
        while begin >= 0:
            marks[int(np.searchsorted(ends, begin + len(self.text)))] = 1
            begin = joined.find(self.text, begin + 1)
        return marks[row.start - first :]


@dataclass(frozen=True)
class Boundary(TextTerm):
    """The end of a sentence, or the place where an answer begins, by the text so far."""

    kind: Literal["sentence", "answer"]
    marker: str | None = None
    """Text in front of an answer; None: the usual ones."""

    def check(self, vocabulary: Vocabulary) -> None:
        if self.marker is not None:
            _check_spelling(f'answer:"{self.marker}"', self.marker, vocabulary)

    def weights(self, row: Row) -> Weights:
        vocabulary, marks = _require_vocabulary(row), []
        behind = _BEHIND + len(self.marker or "")
        pattern = _ANSWER if self.marker is None else re.compile(re.escape(self.marker) + r"[\s:=$*({]*\Z")
        for position in row.positions:
            before = vocabulary.join(row.ids[max(0, position - behind) : position])
            token = vocabulary.text(row.ids[position])
            if self.kind == "sentence":
                marks.append(bool(_ENDS.search(token) and _SENTENCE.search(before + token)))
            else:
                marks.append(pattern.search(before + token) is not None)
        return np.array(marks, dtype=np.float32)


def _mark_sequence(row: Row, sequence: tuple[int, ...]) -> Weights:
    """1 at every position whose last tokens are `sequence`."""
    ids = np.asarray(row.ids)
    marks = np.zeros(len(ids), dtype=np.float32)
    if len(sequence) <= len(ids):
        windows = np.lib.stride_tricks.sliding_window_view(ids, len(sequence))
        marks[len(sequence) - 1 :] = (windows == np.array(sequence)).all(axis=1)
    return marks[row.start :]


def _require_vocabulary(row: Row) -> Vocabulary:
    if row.vocabulary is None:
        raise ElicitError("positions: this form reads tokens, so it needs the tokenizer. Pass tokenizer=.")
    return row.vocabulary


def _check_spelling(term: str, text: str, vocabulary: Vocabulary) -> None:
    """Raise ElicitError unless the tokenizer's tokens for `text` spell it."""
    spelt = vocabulary.join(vocabulary.encode(text))
    if spelt == text and BARRIER not in text:
        return
    near = ", ".join(one_line(repr(token), 20) for token in vocabulary.list_tokens_with(text)) or "none"
    raise ElicitError(
        f"positions: {one_line(term, 40)}: this tokenizer writes that text as {one_line(repr(spelt), 40)}, so it would "
        f"never be met. Tokens like it: {near}. token:#ID names a token by its id."
    )
