"""report.html: one file, no network, useful without scripts, below 4 MB whatever the run.

First the finding of every model in a sentence and a picture, then, folded, the sections of `sections.SECTIONS` and
those of installed packages. Completions get the bytes that the other sections leave.
"""

from __future__ import annotations

import dataclasses

from elicit.report.data.run_reader import LoadedRun
from elicit.report.data.summary_view import read_panels
from elicit.report.html import header
from elicit.report.html.document import document
from elicit.report.html.outside_sections import load_sections
from elicit.report.html.section import Section
from elicit.report.html.sections import COMPLETIONS, SECTIONS
from elicit.text import escape_html

#: Bytes of a page.
_PAGE = 3_800_000


def render_page(run: LoadedRun) -> str:
    """The whole page as text.

    Raises:
        ElicitError: an installed package offers a section that is none.
    """
    panels = read_panels(run.summary)
    rendered = [
        (section, "" if section is COMPLETIONS else section.render(run, panels)) for section in _list_sections()
    ]
    parts = [(section, markup) for section, markup in rendered if markup is not None]
    links = " ".join(f'<a href="#{section.id}">{escape_html(section.short_title)}</a>' for section, _ in parts)
    opening = header.render_title(run, panels) + header.render_findings(panels) + f"<nav>{links}</nav>"
    remaining = _PAGE - sum(len(text.encode()) for text in (opening, *(markup for _, markup in parts)))
    completions = dataclasses.replace(COMPLETIONS, budget=max(COMPLETIONS.budget, remaining)).render(run, panels)
    body = "".join(
        f'<section id="{section.id}"><details class="part"><summary><h2>{escape_html(section.title)}</h2></summary>'
        f"{completions if section is COMPLETIONS else markup}</details></section>"
        for section, markup in parts
    )
    return document(run.name, opening + body)


def _list_sections() -> list[Section]:
    """Our own sections; those of installed packages stand in front of the completions."""
    position = SECTIONS.index(COMPLETIONS)
    outside = load_sections({section.id for section in SECTIONS} | {"verdict"})
    return [*SECTIONS[:position], *outside, *SECTIONS[position:]]
