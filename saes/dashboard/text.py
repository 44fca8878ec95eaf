"""Tokens as they are shown: escaped, with white space and hidden characters visible, at a bounded length.

A token may hold anything. Markup must stay text; characters that cannot be seen, or that reorder their neighbours
("Trojan Source", 2111.00169), are written out as U+202E; writing that runs from right to left keeps to its own token.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

from elicit.text import HIDDEN, reveal_hidden

_MARKS = {"\n": "⏎", "\t": "⇥", " ": "␣"}
#: Characters of one token that are shown; some vocabularies hold tokens of hundreds.
LONGEST = 60


class Vocabulary(NamedTuple):
    """Readable text of token ids."""

    text: Callable[[int], str]
    special: frozenset[int] = frozenset()
    """Ids that are not text (`<bos>`, `<think>`): drawn apart from text that spells the same."""
    size: int | None = None
    """Ids from here on are padding of the matrix and no tokens; None if not known."""
    gaps: frozenset[int] = frozenset()
    """Smaller ids that are no tokens either."""


def vocabulary(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a transformers tokenizer."""
    special = frozenset(int(i) for i in tokenizer.all_special_ids)
    added = frozenset(int(i) for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    ids = {int(i) for i in tokenizer.get_vocab().values()}
    size = max(ids) + 1
    text = functools.cache(lambda i: _decode_token(tokenizer, i))
    return Vocabulary(text, special | added, size, frozenset(range(size)) - ids)


def _decode_token(tokenizer: Any, index: int) -> str:
    """One token by itself: SentencePiece's leading space kept, bytes that are no character by their raw name."""
    raw = tokenizer.convert_ids_to_tokens(index)
    if raw is None:
        return f"[{index}]"
    text = str(tokenizer.decode([index], clean_up_tokenization_spaces=False))
    if "\ufffd" in text or not text:
        return str(raw)
    return " " + text if str(raw).startswith("▁") and not text.startswith(" ") else text


def format_token(text: str) -> str:
    """A token for a terminal or a search box: white space but ordinary spaces marked, hidden characters written out."""
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return reveal_hidden(cut.replace("\n", "⏎").replace("\t", "⇥"))


def render_token(text: str, *, alone: bool = False) -> str:
    """HTML of one token. `alone`: not in running text, so that its leading spaces must be seen as well."""
    head, rest = text[:LONGEST], len(text) - LONGEST
    spaces_seen = alone or not head.strip(" ")
    pieces, end = [], 0
    for match in re.finditer(rf"{HIDDEN.pattern}|[\n\t ]", head):
        pieces.append(html.escape(head[end : match.start()]))
        pieces.append(_render_mark(match.group(), spaces_seen))
        end = match.end()
    pieces.append(html.escape(head[end:]))
    if rest > 0:
        pieces.append(f"<i class='w'>… {rest:,} more characters</i>")
    body = "".join(pieces) or "<i class='w'>(empty)</i>"
    return f"<bdi>{body}</bdi>" if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in head) else body


def _render_mark(character: str, spaces_seen: bool) -> str:
    if character == " " and not spaces_seen:
        return " "
    if character in _MARKS:
        return f"<i class='w'>{_MARKS[character]}</i>"
    return f"<i class='u'>U+{ord(character):04X}</i>"


def format_number(value: float | None, digits: int = 3) -> str:
    """A few significant digits; `–` for what is not known."""
    if value is None or value != value:
        return "–"
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 1e6 or size < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    if size >= 10**digits - 0.5:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def format_signed(value: float) -> str:
    return format_number(value) if value <= 0 else f"+{format_number(value)}"


def format_percent(share: float | None) -> str:
    """A share, in percent, without the sign."""
    return "–" if share is None or share != share else format_number(100 * share)


def format_interval(ci: tuple[float, float] | None, scale: float = 1.0) -> str:
    """An interval in brackets; empty where there is none."""
    return "" if ci is None else f"[{format_number(scale * ci[0])}, {format_number(scale * ci[1])}]"
