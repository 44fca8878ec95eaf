"""A heat map as an HTML table: offline, with the numbers in the cells' titles."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

_POSITIVE, _NEGATIVE = (178, 24, 43), (33, 102, 172)


def render_heat_map(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    most: float | None = None,
    number: str = ".2f",
) -> str:
    """HTML of `values` [row, column]: red above 0, blue below; a cell that is NaN stays empty.

    Args:
        most: the size of the darkest colour; None: the largest value there is.
    """
    sizes = [abs(value) for row in values for value in row if math.isfinite(value)]
    largest = (max(sizes, default=0.0) if most is None else most) or 1.0
    cell = "padding:1px 4px;text-align:right;font-size:11px;white-space:nowrap"
    head = "".join(f'<th style="{cell};font-weight:normal">{html.escape(name)}</th>' for name in columns)
    body = []
    for name, row in zip(rows, values, strict=True):
        cells = "".join(
            _render_cell(value, f"{name}, {column}", largest, cell, number)
            for value, column in zip(row, columns, strict=True)
        )
        body.append(f'<tr><th style="{cell};font-weight:normal">{html.escape(name)}</th>{cells}</tr>')
    return (
        f'<div style="overflow-x:auto"><table style="border-collapse:collapse;font-family:sans-serif">'
        f'<caption style="text-align:left;font-size:12px">{html.escape(title)}</caption>'
        f"<tr><th></th>{head}</tr>{''.join(body)}</table></div>"
    )


def _render_cell(value: float, where: str, largest: float, style: str, number: str) -> str:
    if not math.isfinite(value):
        return f'<td style="{style}"></td>'
    share = min(1.0, abs(value) / largest)
    base = _POSITIVE if value >= 0 else _NEGATIVE
    colour = ",".join(str(round(255 - share * (255 - part))) for part in base)
    ink = "#fff" if share > 0.6 else "#000"
    shown = format(value, number)
    return f'<td style="{style};background:rgb({colour});color:{ink}" title="{html.escape(where)}">{shown}</td>'
