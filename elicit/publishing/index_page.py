"""The index of a site: one section for each run with its forest plot, and one line for each SAE. No script."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from elicit.publishing.entry import Entry
from elicit.text import escape_html

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_HEADINGS = {"runs": "Comparisons", "saes": "Features"}
_STYLE = (
    ":root{color-scheme:light dark;--ink:#1c2024;--soft:#5a6470;--line:#d9dde2;--paper:#fff;--link:#1f6aa8}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e3e6ea;--soft:#9aa4af;--line:#343a42;--paper:#14171b;"
    "--link:#7fb8ea}}"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:1100px;margin:0 auto;padding:2rem 1.5rem 4rem}h1{font-size:1.65rem;margin:0 0 .3rem}"
    "h2{font-size:1.2rem;margin:2.4rem 0 .5rem;padding-top:.9rem;border-top:1px solid var(--line)}"
    "h3{font-size:1.05rem;margin:1.4rem 0 .1rem;overflow-wrap:anywhere}a{color:var(--link)}"
    "p{margin:.2rem 0 .6rem;max-width:90ch;color:var(--soft);overflow-wrap:anywhere}"
    "svg{display:block;max-width:100%;height:auto}"
)


def render_site_index(title: str, entries: Mapping[str, Entry]) -> str:
    """The whole file. `entries` by folder, such as runs/NAME, relative to the index."""
    sections = []
    for kind, heading in _HEADINGS.items():
        articles = [_render_entry(folder, entry) for folder, entry in entries.items() if folder.split("/")[0] == kind]
        if articles:
            sections.append(f"<section><h2>{heading}</h2>{''.join(articles)}</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="generator" content="elicit publish"><meta name="referrer" content="no-referrer">'
        f'<title>{escape_html(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{escape_html(title)}</h1>{''.join(sections)}</main></body></html>\n"
    )


def _render_entry(folder: str, entry: Entry) -> str:
    href = quote(f"{folder}/{entry.page}")
    return (
        f'<article><h3><a href="{href}">{escape_html(entry.title)}</a></h3><p>{escape_html(entry.facts)}</p>'
        f"{entry.figure}</article>"
    )
