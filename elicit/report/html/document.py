"""The page around its sections: one file, no network. A policy in the page forbids everything but its own parts."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from elicit.panel.static import load_assets
from elicit.text import escape_html


def document(name: str, body: str) -> str:
    """The whole file. `name` is text, `body` markup."""
    page_script = _read_asset("page.js")
    digest = base64.b64encode(hashlib.sha256(page_script.encode()).digest()).decode()
    panel = load_assets()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}' {panel.script_hash}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    style, script = "", ""
    if "data-elicit-grid" in body:
        style, script = panel.style, f"<script>{panel.script}</script>"
    style = _read_asset("style.css") + style
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f'<title>elicit: {escape_html(name)}</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f"<body><main>{body}</main><script>{page_script}</script>{script}</body></html>\n"
    )


def _read_asset(name: str) -> str:
    return resources.files("elicit.report.html").joinpath(name).read_text(encoding="utf-8")


def within(pieces: list[tuple[str, str]], budget: int, where: str) -> tuple[list[tuple[str, str]], str]:
    """As many pieces of a page as fit into `budget` bytes, and a note on what was left out.

    Args:
        pieces: (name as text, markup).
        where: where a reader finds what was left out.
    """
    kept, left = [], []
    for name, piece in pieces:
        size = len(piece.encode())
        if size <= budget:
            budget -= size
            kept.append((name, piece))
        else:
            left.append(name)
    note = ""
    if left:
        named = ", ".join(left[:8]) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
        note = f"<p class=note>Left out to keep this page small: {escape_html(named)}. See {escape_html(where)}.</p>"
    return kept, note
