"""Completions on a page or in a terminal: cut with a note, on one line, hidden characters marked."""

from __future__ import annotations

import html

from elicit.text import HIDDEN, format_hidden_character, reveal_hidden

#: What one completion may take on the page.
MAX_COMPLETION_CHARACTERS = 1500


def fold_onto_line(text: object, limit: int = 200) -> str:
    """`visible`, folded onto one line of at most `limit` characters."""
    folded = " ".join(reveal_hidden(str(text)[: 4 * limit]).split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def render_completion_html(text: str, limit: int = MAX_COMPLETION_CHARACTERS) -> str:
    """HTML of a completion: hidden characters stand out from text that merely spells them, and length is bounded."""
    head, omitted = text[:limit], len(text) - limit
    pieces, end = [], 0
    for match in HIDDEN.finditer(head):
        pieces += [
            html.escape(head[end : match.start()]),
            f'<span class="hidden">{format_hidden_character(match)[1:-1]}</span>',
        ]
        end = match.end()
    pieces.append(html.escape(head[end:]))
    if omitted > 0:
        pieces.append(f'<span class="note"> … cut here: {omitted:,} more characters</span>')
    return "".join(pieces) or '<span class="note">(empty)</span>'
