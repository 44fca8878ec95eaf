"""Parse the position language.

With P prompt tokens, the *offset* of position p is `p - (P - 1)`: the residual at offset 0 produces the first new
token.

    all               every real token
    prompt            offset < 0
    generated         offset >= 0
    first, first:k    0 <= offset < k (first: k = 1)
    decay:k           the same, with strength falling linearly: weight 1 - offset / k
    ramp:k            offset >= 0, with strength rising linearly to 1 at offset k - 1, and 1 from there on
    every:n           offsets 0, n, 2n, ...
    offset:-3..2,5    offsets; ranges include both ends, and an end may be left out (offset:..-2)
    at:0,4..9,-1      positions from the text's beginning or, if negative, from the prompt's end (-1: its last token)
    token:"Wait"      at each occurrence of the text's own tokens (at the last, if it has several); token:#1234 by id
    after:"="         where the text so far has just completed the string, however it is split into tokens
    step              after a newline (= after:"\\n")
    sentence          after . ! ? or a newline, with closing quotes and blanks (a point after a digit does not count)
    answer            where an answer begins: after ####, \\boxed{, "answer is", "answer:" and blanks; answer:"MARK"
    a + b             where either acts (the larger weight)
    a & b             where both act (the product of their weights); binds tighter than +
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache

from elicit.errors import ElicitError, one_line
from elicit.positions.expression import PositionExpression
from elicit.positions.terms import Edge, Places, Schedule, Span, Term, Window
from elicit.positions.texts import After, Boundary, TokenId, TokenText

FORMS = (
    "all", "prompt", "generated", "first", "first:k", "decay:k", "ramp:k", "every:n", "offset:-3..2", "at:0,4..9,-1",
    'token:"Wait"', "token:#1234", 'after:"="', "step", "sentence", "answer", "a + b", "a & b",
)  # fmt: skip
_WINDOWS = re.compile(r"all|prompt|generated|first|(first|decay):0*[1-9][0-9]{0,5}")
_TERM = re.compile(r'\s*(?P<name>[a-z]+)(?::(?P<argument>"(?:[^"\\]|\\.)*"|[^\s"&+]+))?\s*')
_RANGE = re.compile(r"(?P<low>-?\d{1,9})?(?P<dots>\.\.)?(?P<high>-?\d{1,9})?")
_FIXED: dict[str, Term] = {
    "all": Window(-math.inf, math.inf),
    "prompt": Window(-math.inf, 0),
    "generated": Window(0, math.inf),
    "first": Window(0, 1),
    "step": After("\n"),
    "sentence": Boundary("sentence"),
    "answer": Boundary("answer"),
}


def is_window(text: str) -> bool:
    """True for the forms that are one window of offsets: all, prompt, generated, first, first:k, decay:k."""
    return _WINDOWS.fullmatch(text) is not None


@lru_cache(maxsize=256)
def parse_expression(text: str) -> PositionExpression:
    """Parse a position form.

    Raises:
        ElicitError: the text is not in the language.
    """
    alternatives: list[tuple[Term, ...]] = []
    parts: list[Term] = []
    at, rest = 0, text if isinstance(text, str) else ""
    while True:
        match = _TERM.match(rest, at)
        term = _build_term(match["name"], match["argument"]) if match else None
        if match is None or term is None:
            raise _unknown_form_error(text)
        parts.append(term)
        at = match.end()
        operator = rest[at : at + 1]
        if operator == "&":
            at += 1
            continue
        alternatives.append(tuple(parts))
        parts = []
        if operator == "":
            return PositionExpression(text, tuple(alternatives))
        if operator != "+":
            raise _unknown_form_error(text)
        at += 1


def _unknown_form_error(text: object) -> ElicitError:
    quoted = one_line(repr(text), 60)
    return ElicitError(f"positions: {quoted} is not a position form. Expected one of: {', '.join(FORMS)} (k, n >= 1).")


def _build_term(name: str, argument: str | None) -> Term | None:
    """The term of a name and what follows its colon; None for an unknown form."""
    if argument is None:
        return _FIXED.get(name)
    if argument.startswith('"'):
        return _build_text_term(name, argument)
    if name in ("first", "decay", "ramp", "every") and re.fullmatch(r"\d{1,6}", argument) and int(argument) > 0:
        count = int(argument)
        return Window(0, count) if name == "first" else Schedule(name, count)  # type: ignore[arg-type]
    if name == "token" and re.fullmatch(r"#\d{1,9}", argument):
        return TokenId(int(argument[1:]))
    if name in ("at", "offset"):
        spans = [_build_span(name, part) for part in argument.split(",")]
        return Places(tuple(span for span in spans if span is not None)) if None not in spans else None
    return None


def _build_text_term(name: str, argument: str) -> Term | None:
    try:
        string = json.loads(argument, strict=False)
    except json.JSONDecodeError:
        return None
    if not string:
        return None
    if name == "answer":
        return Boundary("answer", string)
    return TokenText(string) if name == "token" else After(string) if name == "after" else None


def _build_span(name: str, text: str) -> Span | None:
    match = _RANGE.fullmatch(text)
    if match is None or (match["low"] is None and match["high"] is None):
        return None
    if match["dots"] is None:
        if match["low"] is None or match["high"] is not None:
            return None
        edge = _build_edge(name, match["low"])
        return Span(edge, edge)
    low = Edge("offset", -math.inf) if match["low"] is None else _build_edge(name, match["low"])
    high = Edge("offset", math.inf) if match["high"] is None else _build_edge(name, match["high"])
    return Span(low, high) if low.kind != high.kind or low.value <= high.value else None


def _build_edge(name: str, text: str) -> Edge:
    number = int(text)
    if name == "offset":
        return Edge("offset", number)
    return Edge("position", number) if number >= 0 else Edge("offset", number + 1)
