"""Pictures of layers x positions whose cells are words, as HTML: offline, with the figures in the cells' titles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elicit.text import escape_html

_COLOUR = (43, 123, 186)


class Cell(NamedTuple):
    """A cell: its word, the share of the colour (0 to 1), and its title."""

    word: str
    share: float
    title: str


def render_cells(cells: Sequence[Sequence[Cell]], rows: Sequence[str], columns: Sequence[str], caption: str) -> str:
    """A table of `cells` [row, column]."""
    style = "padding:1px 4px;text-align:center;font-size:11px;white-space:pre"
    head = "".join(f'<th style="{style};font-weight:normal">{show_token(name)}</th>' for name in columns)
    body = [
        f'<tr><th style="{style};font-weight:normal">{escape_html(name)}</th>'
        + "".join(_render_cell(cell, style) for cell in row)
        + "</tr>"
        for name, row in zip(rows, cells, strict=True)
    ]
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-family:sans-serif">'
        f'<caption style="text-align:left;font-size:12px">{escape_html(caption)}</caption>'
        f"<tr><th></th>{head}</tr>{''.join(body)}</table></div>"
    )


def show_token(token: str) -> str:
    """A token as HTML, with its line breaks visible."""
    return escape_html(token.replace("\n", "⏎"))


def _render_cell(cell: Cell, style: str) -> str:
    share = min(1.0, max(0.0, cell.share))
    colour = ",".join(str(round(255 - share * (255 - part))) for part in _COLOUR)
    ink = "#fff" if share > 0.6 else "#000"
    title = escape_html(cell.title)
    return f'<td style="{style};background:rgb({colour});color:{ink}" title="{title}">{show_token(cell.word)}</td>'
