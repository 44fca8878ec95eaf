"""Completions on a page or in a terminal: cut with a note, on one line, hidden characters marked."""

from __future__ import annotations

import html

from elicit.text import HIDDEN, named, visible

#: What one completion may take on the page.
LONGEST = 1500


def one_line(text: object, limit: int = 200) -> str:
    """`visible`, folded onto one line of at most `limit` characters."""
    folded = " ".join(visible(str(text)[: 4 * limit]).split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def marked(text: str, limit: int = LONGEST) -> str:
    """HTML of a completion: hidden characters stand out from text that merely spells them, and length is bounded."""
    shown, rest = text[:limit], len(text) - limit
    pieces, end = [], 0
    for match in HIDDEN.finditer(shown):
        pieces += [html.escape(shown[end : match.start()]), f'<span class="hidden">{named(match)[1:-1]}</span>']
        end = match.end()
    pieces.append(html.escape(shown[end:]))
    if rest > 0:
        pieces.append(f'<span class="note"> … cut here: {rest:,} more characters</span>')
    return "".join(pieces) or '<span class="note">(empty)</span>'
