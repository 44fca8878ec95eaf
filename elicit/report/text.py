"""Foreign text made safe to show: escaped for HTML, invisible characters written out, long strings cut with a note.

A completion may hold anything. Three things would mislead a reader or break a page: markup, characters that cannot be
seen or that reorder their neighbours (control characters, bidirectional marks; "Trojan Source", 2111.00169), and sheer
length.
"""

from __future__ import annotations

import html
import re

#: Characters that are written out as <U+XXXX>: C0 and C1 controls but tab and newline, soft hyphen, bidirectional marks
#: and isolates, zero-width characters, line separators, variation of the byte-order mark, tags, and lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
#: What one completion may take on the page.
LONGEST = 1500


def _named(match: re.Match[str]) -> str:
    return f"<U+{ord(match.group()):04X}>"


def visible(text: object) -> str:
    """`text` with every hidden character written out as `<U+202E>`. Not escaped for HTML."""
    return _HIDDEN.sub(_named, str(text))


def one_line(text: object, limit: int = 200) -> str:
    """`visible`, folded onto one line of at most `limit` characters."""
    folded = " ".join(visible(str(text)[: 4 * limit]).split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def escape(text: object) -> str:
    """Text for HTML or SVG, in an element or a quoted attribute."""
    return html.escape(visible(text), quote=True)


def marked(text: str, limit: int = LONGEST) -> str:
    """HTML of a completion: hidden characters stand out from text that merely spells them, and length is bounded."""
    shown, rest = text[:limit], len(text) - limit
    pieces, end = [], 0
    for match in _HIDDEN.finditer(shown):
        pieces += [html.escape(shown[end : match.start()]), f'<span class="hidden">{_named(match)[1:-1]}</span>']
        end = match.end()
    pieces.append(html.escape(shown[end:]))
    if rest > 0:
        pieces.append(f'<span class="note"> … cut here: {rest:,} more characters</span>')
    return "".join(pieces) or '<span class="note">(empty)</span>'
