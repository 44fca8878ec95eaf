"""The page around its sections: one file, no network. A policy in the page forbids everything but its own parts."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from elicit.panel.static import load_assets
from elicit.text import escape_html

#: Sorting, opening what a link leads to, and printing; the policy names its hash. Unknown values stay at the end.
_SCRIPT = """
document.documentElement.classList.add("js");
const value = cell => { const v = cell.dataset.value; return v === undefined ? null : isNaN(v) ? v : Number(v); };
for (const table of document.querySelectorAll("table.figures")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending" || (column === 0 && !head.hasAttribute("aria-sort"));
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.classList.add("sorted");
    const body = table.tBodies[0], rows = [...body.rows].filter(row => row.cells.length > column && row.dataset.arm)
      .map(row => [value(row.cells[column]), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null)
      : (up ? 1 : -1) * (a < b ? -1 : a > b ? 1 : 0));
    body.append(...rows.map(([, row]) => row));
  }));
}
const unfold = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
"""


def document(name: str, body: str) -> str:
    """The whole file. `name` is text, `body` markup."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    panel = load_assets()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}' {panel.script_hash}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    style, script = "", ""
    if "data-elicit-grid" in body:
        style, script = panel.style, f"<script>{panel.script}</script>"
    style = resources.files("elicit.report.html").joinpath("style.css").read_text(encoding="utf-8") + style
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f'<title>elicit: {escape_html(name)}</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f"<body><main>{body}</main><script>{_SCRIPT}</script>{script}</body></html>\n"
    )


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
