"""The number that a clause states: after `####`, in a box, or after "the answer is".

A clause has one number, read in full, or none: no part of `5 or 7`, `48 + 24`, `3, 4`, `9:30` or `2 x` is read.
"""

from __future__ import annotations

import re

from elicit.tasks.answers.numerals import Numeral, find_numerals, plain_signs, render_number, with_sign_of_clause

_OPERATOR = r"[-+*/^:×÷·±]|\\(?:times|cdot|div|pm|mp|colon)(?![A-Za-z])"
_JOIN = re.compile(
    rf"[\s)}}$%]{{0,3}}(?:{_OPERATOR}|x(?=\s?[0-9])|\b(?:or|and|to|through|versus|vs\.?)\b|\\text\s?\{{\s?(?:or|and)\s?\}})[\s({{]{{0,3}}"
)
_SEPARATOR = re.compile(r"[\s,;&]*(?:\b(?:or|and)\b)?[\s,;&$]*")
#: `2 x`, `2 + x`, `2^x`; letters that are units, and the words a and I, are not variables.
_VARIABLE = re.compile(
    rf"\s?(?:(?:{_OPERATOR})\s?)?(?:(?![aAI]\b|[mgshlLdFCKNJWV]\b)[A-Za-z](?![A-Za-z'’])"
    r"|\\(?:pi|sqrt|theta|alpha|beta|lambda|mu|sigma|phi|infty|log|ln|sin|cos|tan)(?![A-Za-z])|[π√∞])"
)
#: `3 apples and 4 pears`, at the end of a clause.
_COUNTED = re.compile(r"\s?[A-Za-z]{2,20}\s?(?:,|,?\s?\b(?:and|or)\b|,\s?&)?\s{0,2}")
_TAIL = re.compile(r"\s?[A-Za-z]{0,20}[\s.*$)}]*")
_NOT = re.compile(r"\b(?:not|isn['’]t|than|instead of|never)\s?\$?$", re.IGNORECASE)
_EITHER = re.compile(r"[\s)}$%*]{0,3}\bor\b[\s({$*]{0,3}", re.IGNORECASE)
_UNITS = re.compile(r"[^\d=]*")
_TIME = re.compile(r"\s?(?:[ap]\.?\s?m\b|o['’]clock)", re.IGNORECASE)


def clause_numeral(text: str, start: int, end: int) -> Numeral | None:
    """Number that `text[start:end]` states: the first after its last equals sign, read in full.

    Its value is None where it is not a single number.
    """
    start += text[start:end].rfind("=") + 1
    clause = plain_signs(text[start:end])
    candidates = find_numerals(clause)
    if not candidates:
        return None
    first, others = with_sign_of_clause(clause, candidates[0]), candidates[1:]
    value, stop = first.value, first.end
    for other in others:
        if not _JOIN.fullmatch(clause, stop, other.start):
            break
        value, stop = None, other.end
    if value is not None and (variable := _VARIABLE.match(clause, stop)) is not None:
        value, stop = None, variable.end()
    if value is not None and others and _is_list(clause, first, others):
        value, stop = None, others[-1].end
    return Numeral(value, first.start + start, stop + start)


def _is_list(clause: str, first: Numeral, others: list[Numeral]) -> bool:
    """Return True if a clause is only a list of numbers, each with at most a noun."""
    pairs = list(zip([first, *others], others, strict=False))
    gaps = [(before.end, after.start) for before, after in pairs]
    bare = all(_SEPARATOR.fullmatch(clause, *gap) for gap in gaps)
    counted = all(_COUNTED.fullmatch(clause, *gap) for gap in gaps)
    return (bare or counted) and _TAIL.fullmatch(clause, others[-1].end) is not None


def last_numeral(text: str) -> Numeral | None:
    """The last number of a text; a denied one (`18, not 20`) counts only where there is no other.

    `5 or 7` is one number without a value.
    """
    candidates = find_numerals(text)
    affirmed = [numeral for numeral in candidates if not _NOT.search(text[max(0, numeral.start - 12) : numeral.start])]
    if not candidates:
        return None
    last = (affirmed or candidates)[-1]
    before = candidates[candidates.index(last) - 1]
    joined = before.end <= last.start and _EITHER.fullmatch(text, before.end, last.start) is not None
    return Numeral(None, before.start, last.end) if joined else last


def normalize_numeral(text: str, numeral: Numeral) -> str:
    """Canonical form of a number for comparison: its shortest form, or its words where it is not a single number."""
    return (
        " ".join(text[numeral.start : numeral.end].split()) if numeral.value is None else render_number(numeral.value)
    )


def whole_answer(text: str) -> str | None:
    """Answer of a text that is nothing else but an answer with words around it (`$18`, `x = 18`, `18 apples`).

    None where the text holds more than could be read from a completion (`10 AM`, `5 dollars and 50 cents`).
    """
    numeral = clause_numeral(text, 0, len(text))
    if numeral is None:
        return None
    rest, before = text[numeral.end :], text[: numeral.start].rpartition("=")[2]
    if numeral.value is None and any(map(str.isalpha, rest)):
        return None
    alone = _UNITS.fullmatch(plain_signs(rest)) is not None and not any(map(str.isdigit, plain_signs(before)))
    return normalize_numeral(text, numeral) if alone and _TIME.match(rest) is None else None
