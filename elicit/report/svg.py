"""A few SVG marks, written by hand.

Why not plotly: its bundle is 1 to 4.8 MB for charts that need dots, bars and ticks; this report is one small file that
prints, opens without scripts and can be read in a diff. Details on demand are `<title>` elements, which browsers show
as tooltips and screen readers read.

Everything neutral is drawn in `currentColor`, so that a figure fits a light page, a dark page and a notebook alike. The
accents are from the colour-blind safe set of Okabe and Ito, at lightnesses that hold on both; shape says the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from elicit.text import escape

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
BLUE, ORANGE, GREEN, GREY = "#2b7bba", "#d1711f", "#1a9172", "#808890"

Mark = Literal["circle", "hollow", "square", "diamond", "tick"]


def svg(width: float, height: float, body: Sequence[str], *, label: str, style: str = "") -> str:
    """The whole picture; `label` is what a screen reader says."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(label)}" font-family="{FONT}" font-size="12" '
        f'fill="currentColor"{style}>' + "".join(body) + "</svg>"
    )


def text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: Literal["start", "middle", "end"] = "start",
    size: float = 12,
    weight: int = 400,
    opacity: float = 1,
    title: str = "",
) -> str:
    """`content` is plain text; it is escaped here."""
    extra = f' opacity="{opacity:g}"' if opacity < 1 else ""
    extra += f' font-weight="{weight}"' if weight != 400 else ""
    note = f"<title>{escape(title)}</title>" if title else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}"'
    return f"<text {place}{extra}>{note}{escape(content)}</text>"


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    colour: str = "currentColor",
    width: float = 1,
    opacity: float = 1,
    dash: str = "",
) -> str:
    extra = f' stroke-dasharray="{dash}"' if dash else ""
    extra += f' opacity="{opacity:g}"' if opacity < 1 else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{extra}/>'


def path(points: Sequence[tuple[float, float]], *, colour: str, width: float = 1.5, dash: str = "") -> str:
    """A line through points, in order."""
    steps = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    extra = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{steps}" fill="none" stroke="{colour}" stroke-width="{width:g}"{extra}/>'


def box(x: float, y: float, width: float, height: float, *, colour: str, opacity: float) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{colour}" opacity="{opacity:g}"/>'


def mark(kind: Mark, x: float, y: float, *, colour: str, size: float = 4.5, title: str = "") -> str:
    """A data point."""
    note = f"<title>{escape(title)}</title>" if title else ""
    if kind in ("circle", "hollow"):
        fill = (
            f'fill="{colour}"'
            if kind == "circle"
            else f'fill="none" stroke="{colour}" stroke-width="1.6" pointer-events="all"'
        )
        radius = size if kind == "circle" else size - 0.6
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" {fill}>{note}</circle>'
    if kind == "tick":
        place = f'x="{x - 1.5:.1f}" y="{y - size - 2:.1f}" width="3" height="{2 * size + 4:g}"'
        return f'<rect {place} fill="{colour}">{note}</rect>'
    half = size if kind == "square" else size * 0.95
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return (
        f'<rect x="{x - half:.1f}" y="{y - half:.1f}" width="{2 * half:g}" height="{2 * half:g}" fill="{colour}"{turn}>'
        f"{note}</rect>"
    )


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, 0 among them if it lies between."""
    raw = max(high - low, 1e-9) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]
