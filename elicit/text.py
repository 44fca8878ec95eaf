"""Make foreign text safe to display: escaped for HTML, with invisible characters written out.

A token or a completion may contain anything. Markup must stay text; characters that are invisible or reorder their
neighbours ("Trojan Source", 2111.00169), are written out.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

#: Written out as <U+XXXX>: C0 and C1 controls except tab and newline, soft hyphen, bidirectional marks, isolates,
#: zero-width characters, line separators, the byte-order mark, tags, and lone surrogates (which UTF-8 cannot write).
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def format_hidden_character(match: re.Match[str]) -> str:
    """`<U+202E>` for a hidden character."""
    return f"<U+{ord(match.group()):04X}>"


def reveal_hidden(text: object) -> str:
    """Write out every hidden character of `text` as `<U+202E>`. Not escaped for HTML."""
    return HIDDEN.sub(format_hidden_character, str(text))


def escape_html(text: object) -> str:
    """Escape text for HTML or SVG, in an element or a quoted attribute."""
    return html.escape(reveal_hidden(text), quote=True)


def script_json(data: Any) -> str:
    """Write JSON in ASCII for a `<script type="application/json">`: it cannot end the element or start another."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
