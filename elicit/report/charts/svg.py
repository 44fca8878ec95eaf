"""A few SVG marks, written by hand.

Why not plotly: its bundle is 1 to 4.8 MB for charts that need dots, bars and ticks; this report is one small file that
prints, opens without scripts and can be read in a diff. Details on demand are `<title>` elements, which browsers show
as tooltips and screen readers read.

Everything neutral is drawn in `currentColor`, so that a figure fits a light page, a dark page and a notebook alike. The
accents are from the colour-blind safe set of Okabe and Ito, at lightnesses that hold on both; shape says the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from elicit.text import escape_html

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
BLUE, ORANGE, GREEN, GREY = "#2b7bba", "#d1711f", "#1a9172", "#808890"
PURPLE, OCHRE = "#b0568a", "#9a7d00"

MarkShape = Literal["circle", "hollow", "square", "diamond", "tick", "up", "down", "pentagon", "star"]


def render_svg(width: float, height: float, body: Sequence[str], *, label: str, style: str = "") -> str:
    """The whole picture; `label` is what a screen reader says."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape_html(label)}" font-size="12" '
        f'fill="currentColor"{style}>' + "".join(body) + "</svg>"
    )


def draw_text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: Literal["start", "middle", "end"] = "start",
    size: float = 12,
    weight: int = 400,
    opacity: float = 1,
    colour: str = "currentColor",
    title: str = "",
) -> str:
    """`content` is plain text; it is escaped here."""
    fill = f' fill="{colour}"' if colour != "currentColor" else ""
    extra = fill + (f' opacity="{opacity:g}"' if opacity < 1 else "")
    extra += f' font-weight="{weight}"' if weight != 400 else ""
    note = f"<title>{escape_html(title)}</title>" if title else ""
    extra += f' text-anchor="{anchor}"' if anchor != "start" else ""
    extra += f' font-size="{size:g}"' if size != 12 else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{extra}>' + f"{note}{escape_html(content)}</text>"


def draw_line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    colour: str = "currentColor",
    width: float = 1,
    opacity: float = 1,
    dash: str = "",
    title: str = "",
    data: Mapping[str, object] | None = None,
) -> str:
    extra = f' stroke-dasharray="{dash}"' if dash else ""
    extra += f' opacity="{opacity:g}"' if opacity < 1 else ""
    extra += format_data_attributes(data)
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    element = f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{extra}'
    return f"{element}><title>{escape_html(title)}</title></line>" if title else element + "/>"


def format_data_attributes(data: Mapping[str, object] | None) -> str:
    """`data-` attributes: which figure a mark is, and the figure itself, unrounded."""
    return "".join(f' data-{name}="{escape_html(value)}"' for name, value in (data or {}).items())


def draw_whisker(low: float, high: float, y: float, *, cap: float, colour: str, width: float, opacity: float) -> str:
    """An interval across, with its ends."""
    ends = "".join(f"M{x:.1f} {y - cap:.1f}v{2 * cap:g}" for x in (low, high))
    faint = f' opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<path d="M{low:.1f} {y:.1f}H{high:.1f}{ends}" stroke="{colour}" stroke-width="{width:g}"{faint}/>'


def draw_vertical_line(x: float, spans: Sequence[tuple[float, float]], *, opacity: float = 1) -> str:
    """One vertical line in pieces."""
    commands = "".join(f"M{x:.1f} {top:.0f}V{bottom:.0f}" for top, bottom in spans)
    return f'<path d="{commands}" stroke="currentColor" opacity="{opacity:g}"/>'


def draw_path(points: Sequence[tuple[float, float]], *, colour: str, width: float = 1.5, dash: str = "") -> str:
    """A line through points, in order."""
    commands = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    extra = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{commands}" fill="none" stroke="{colour}" stroke-width="{width:g}"{extra}/>'


def draw_rectangle(x: float, y: float, width: float, height: float, *, colour: str, opacity: float) -> str:
    geometry = f'x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}"'
    return f'<rect {geometry} fill="{colour}" opacity="{opacity:g}"/>'


def draw_mark(
    kind: MarkShape,
    x: float,
    y: float,
    *,
    colour: str,
    size: float = 4.5,
    title: str = "",
    hollow: bool = False,
    data: Mapping[str, object] | None = None,
) -> str:
    """A data point. A hollow one is a control, or a second reading of the same arm; `data` as in `attributes`."""
    hollow = hollow or kind == "hollow"
    note = f"<title>{escape_html(title)}</title>" if title else ""
    style = f'fill="none" stroke="{colour}" stroke-width="1.6" pointer-events="all"' if hollow else f'fill="{colour}"'
    style += format_data_attributes(data)
    size = size - 0.6 if hollow else size
    if kind in ("circle", "hollow"):
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {style}>{note}</circle>'
    if kind == "tick":
        geometry = f'x="{x - 1.5:.1f}" y="{y - size - 2:.1f}" width="3" height="{2 * size + 4:g}"'
        return f"<rect {geometry} {style}>{note}</rect>"
    if kind in ("square", "diamond"):
        half = size if kind == "square" else size * 0.95
        turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
        side = f'width="{2 * half:g}" height="{2 * half:g}"'
        return f'<rect x="{x - half:.1f}" y="{y - half:.1f}" {side} {style}{turn}>{note}</rect>'
    corners = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _CORNERS[kind])
    return f'<polygon points="{corners}" {style}>{note}</polygon>'


def _polygon_corners(radii: Sequence[float], *, upside_down: bool = False) -> list[tuple[float, float]]:
    """Corners around a centre, the first one on top."""
    start = math.pi / 2 if upside_down else -math.pi / 2
    angles = [start + 2 * math.pi * i / len(radii) for i in range(len(radii))]
    return [(r * math.cos(angle), r * math.sin(angle)) for r, angle in zip(radii, angles, strict=True)]


_CORNERS: dict[str, list[tuple[float, float]]] = {
    "up": _polygon_corners([1.3] * 3),
    "down": _polygon_corners([1.3] * 3, upside_down=True),
    "pentagon": _polygon_corners([1.2] * 5),
    "star": _polygon_corners([1.5, 0.62] * 5),
}


def wrap_wide_and_narrow(wide: str, narrow: str) -> str:
    """A figure drawn twice, for a desk and for a phone: the page's style shows the one that fits."""
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def spread_labels(targets: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels near where they are `wanted`, at least `apart` from each other, in the same order.

    Labels stay between `low` and `high` if they fit there; else they are set closer than `apart`, evenly.
    """
    if not targets:
        return []
    order = sorted(range(len(targets)), key=lambda i: (targets[i], i))
    gap = min(gap, (high - low) / max(1, len(targets) - 1))
    places = [0.0] * len(targets)
    last = low - gap
    for i in order:
        last = places[i] = max(targets[i], last + gap)
    last = high + gap
    for i in reversed(order):
        last = places[i] = min(places[i], last - gap)
    return places


def choose_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, 0 among them if it lies between."""
    raw = max(high - low, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def to_standalone_file(picture: str) -> str:
    """A picture as a file of its own: with a background, light or dark as the reader's system is set."""
    head = (
        "<style>svg{color:#1c2024;background:#fff}"
        "@media(prefers-color-scheme:dark){svg{color:#e3e6ea;background:#14171b}}</style>"
    )
    head_end = picture.index(">") + 1
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + picture[:head_end] + head + picture[head_end:] + "\n"
