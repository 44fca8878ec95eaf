"""The pages' figures as inline SVG, by hand: bars, dots and ticks need no library, and a page stays small.

Neutral parts are drawn in `currentColor` and accents in the page's CSS variables, so that one figure fits light, dark
and print. Every mark carries its exact figures in a `<title>`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from elicit.schema import Estimate
from elicit.statistics import wilson_interval
from elicit.text import escape_html
from saes.dashboard.histogram import get_lower_edge
from saes.dashboard.text import format_interval, format_number, format_percent

_WIDTH = 380
_LEFT, _RIGHT = 40, 372
_MOST_BARS = 48


def render_svg(width: float, height: float, body: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape_html(label)}">{"".join(body)}</svg>'
    )


def draw_text(x: float, y: float, content: str, anchor: str = "start", css: str = "") -> str:
    extra = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape_html(content)}</text>'


def draw_line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def draw_bar(x: float, y: float, width: float, height: float, css: str, title: str) -> str:
    geometry = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    return f'<rect {geometry} class="{css}"><title>{escape_html(title)}</title></rect>'


def draw_dot(x: float, y: float, css: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{css}"><title>{escape_html(title)}</title></circle>'


def merge_bins(histogram: Int[np.ndarray, " bin"], most: int = _MOST_BARS) -> list[tuple[float, float, int]]:
    """(low, high, count) of at most `most` bars of equal ratio over the occupied range; empty without firings."""
    occupied = np.flatnonzero(histogram)
    if not len(occupied):
        return []
    width = next(w for w in (1, 2, 4, 8, 16, 32, 64, 128, 10**6) if occupied[-1] // w - occupied[0] // w < most)
    first, last = occupied[0] // width, occupied[-1] // width
    return [
        (get_lower_edge(i * width), get_lower_edge((i + 1) * width), int(histogram[i * width : (i + 1) * width].sum()))
        for i in range(first, last + 1)
    ]


def plot_activations(histogram: Int[np.ndarray, " bin"], zeros: int) -> str:
    """Tokens by activation: a bar at zero, then logarithmic bins; counts on a logarithmic axis."""
    bars = merge_bins(histogram)
    if not bars:
        return "<p class='note'>It does not fire on this text.</p>"
    top, bottom = 10, 128
    highest = max(zeros, max(count for *_, count in bars))

    def to_y(count: float) -> float:
        return bottom - (bottom - top) * math.log10(1 + count) / math.log10(1 + highest)

    body = []
    for power in range(int(math.log10(max(1, highest))) + 1):
        body.append(draw_line(_LEFT, to_y(10**power), _RIGHT, to_y(10**power), "grid"))
        body.append(draw_text(_LEFT - 4, to_y(10**power) + 4, _abbreviate_count(10**power), "end", "tick"))
    start = _LEFT + 26
    low, high = math.log(bars[0][0]), math.log(bars[-1][1])
    step = (_RIGHT - start) / len(bars)
    body.append(draw_bar(_LEFT + 4, to_y(zeros), 12, bottom - to_y(zeros), "zero", f"zero: {zeros:,} tokens"))
    body.append(draw_text(_LEFT + 10, bottom + 14, "0", "middle", "tick"))
    for i, (a, b, count) in enumerate(bars):
        if count:
            title = f"{format_number(a)} to {format_number(b)}: {count:,} tokens"
            body.append(draw_bar(start + i * step, to_y(count), step - 0.7, bottom - to_y(count), "fire", title))
    body.append(draw_line(_LEFT, bottom, _RIGHT, bottom, "axis"))
    for value in _choose_log_ticks(bars[0][0], bars[-1][1]):
        x = start + (_RIGHT - start) * (math.log(value) - low) / (high - low)
        body.append(draw_line(x, bottom, x, bottom + 3, "axis"))
        body.append(draw_text(x, bottom + 14, f"{value:g}", "middle", "tick"))
    body.append(draw_text(_RIGHT, bottom + 28, "activation (log scale); bars: tokens (log scale)", "end", "tick"))
    return render_svg(_WIDTH, bottom + 32, body, "histogram of activations")


def plot_logits(edges: Float[np.ndarray, " edge"], counts: Int[np.ndarray, " bar"]) -> str:
    """Tokens of the vocabulary by logit effect."""
    top, bottom = 10, 98
    highest = max(1, int(counts.max()))
    low, high = float(edges[0]), float(edges[-1])
    scale = (_RIGHT - _LEFT) / ((high - low) or 1.0)
    body = [
        draw_text(_LEFT - 4, top + 8, _abbreviate_count(highest), "end", "tick"),
        draw_line(_LEFT, top + 4, _RIGHT, top + 4, "grid"),
    ]
    for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            height = (bottom - top - 4) * count / highest
            css = "up" if a + b > 0 else "down"
            title = f"{format_number(float(a))} to {format_number(float(b))}: {count:,} tokens of the vocabulary"
            x = _LEFT + (float(a) - low) * scale
            body.append(draw_bar(x, bottom - height, (float(b) - float(a)) * scale - 0.7, height, css, title))
    body.append(draw_line(_LEFT, bottom, _RIGHT, bottom, "axis"))
    for value in choose_ticks(low, high):
        x = _LEFT + (value - low) * scale
        body += [
            draw_line(x, bottom, x, bottom + 3, "axis"),
            draw_text(x, bottom + 14, format_number(value), "middle", "tick"),
        ]
    body.append(draw_text(_RIGHT, bottom + 28, "logit; bars: tokens of the vocabulary", "end", "tick"))
    return render_svg(_WIDTH, bottom + 32, body, "histogram of logit effects")


def plot_means(rows: Sequence[tuple[str, Estimate]]) -> str:
    """A dot and its interval per row."""
    ends = [bound for _, e in rows for bound in (e.value, *(e.ci or ()))]
    low, high = min(0.0, *ends), max(0.0, *ends) or 1.0
    left, right = 84, _RIGHT

    def to_x(value: float) -> float:
        return float(left + (right - left - 8) * (value - low) / ((high - low) or 1.0) + 4)

    body = []
    bottom = 8 + 24 * len(rows)
    for value in choose_ticks(low, high, 5):
        body += [draw_line(to_x(value), 4, to_x(value), bottom, "grid")]
        body.append(draw_text(to_x(value), bottom + 13, format_number(value), "middle", "tick"))
    for i, (name, estimate) in enumerate(rows):
        y = 20 + 24 * i
        title = f"{name}: {format_number(estimate.value)} {format_interval(estimate.ci)}, n = {estimate.n}"
        body.append(draw_text(left - 8, y + 4, name if len(name) <= 12 else name[:11] + "…", "end"))
        if estimate.ci is not None:
            body.append(draw_line(to_x(estimate.ci[0]), y, to_x(estimate.ci[1]), y, "whisker"))
        body.append(draw_dot(to_x(estimate.value), y, "fire", title))
    return render_svg(_WIDTH, bottom + 18, body, "mean activation at the last prompt token")


def plot_doses(points: Sequence[Mapping[str, Any]], label: str, unit: str) -> str:
    """Accuracy and trace rate over strength with 95 % intervals; strengths are spaced evenly, not to scale."""
    points = sorted(points, key=lambda point: float(point["strength"]))
    top, bottom = 12, 150
    body = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - (bottom - top) * share
        body += [draw_line(_LEFT, y, _RIGHT, y, "grid"), draw_text(_LEFT - 4, y + 4, f"{100 * share:g}", "end", "tick")]
    places = [_LEFT + 16 + (_RIGHT - _LEFT - 32) * i / max(1, len(points) - 1) for i in range(len(points))]
    for x, point in zip(places, points, strict=True):
        body.append(draw_text(x, bottom + 15, f"{float(point['strength']):g}", "middle", "tick"))
    for name, css, shift, read in (
        ("trace rate", "trace", 3, read_trace_rate),
        ("accuracy", "right", -3, read_accuracy),
    ):
        estimates = [(x + shift, read(point)) for x, point in zip(places, points, strict=True)]
        known = [(x, e) for x, e in estimates if e is not None and not math.isnan(e.value)]
        route = " ".join(
            f"{'L' if i else 'M'}{x:.1f} {bottom - (bottom - top) * e.value:.1f}" for i, (x, e) in enumerate(known)
        )
        body.append(f'<path d="{route}" class="{css}"/>' if len(known) > 1 else "")
        for (x, e), point in zip(known, points, strict=False):
            if e.ci is not None:
                body.append(
                    draw_line(
                        x, bottom - (bottom - top) * e.ci[0], x, bottom - (bottom - top) * e.ci[1], f"{css} whisker"
                    )
                )
            at = f"strength {float(point['strength']):g} (absolute {format_number(point.get('absolute'))})"
            title = f"{name} at {at}: {format_percent(e.value)} % {format_interval(e.ci, 100)}, n = {e.n}"
            body.append(draw_dot(x, bottom - (bottom - top) * e.value, css, title))
    body.append(draw_text(_RIGHT, bottom + 30, f"strength, in {unit}", "end", "tick"))
    return render_svg(_WIDTH, bottom + 34, body, label)


def read_accuracy(point: Mapping[str, Any]) -> Estimate | None:
    """A point's accuracy as it was recorded."""
    if point.get("accuracy") is None:
        return None
    ci = point.get("ci")
    return Estimate(float(point["accuracy"]), int(point["n"]), None if ci is None else (float(ci[0]), float(ci[1])))


def read_trace_rate(point: Mapping[str, Any]) -> Estimate | None:
    """A point's trace rate, with its own interval or, where none was recorded, Wilson's for its n."""
    if point.get("trace_rate") is None:
        return None
    n, ci = int(point["n"]), point.get("trace_ci")
    if ci is not None:
        return Estimate(float(point["trace_rate"]), n, (float(ci[0]), float(ci[1])))
    return wilson_interval(round(float(point["trace_rate"]) * n), n)


def plot_sparkline(histogram: Int[np.ndarray, " bin"]) -> str:
    """A thumbnail of the activations above zero, for a table row."""
    bars = merge_bins(histogram, 24)
    if not bars:
        return ""
    highest = math.log1p(max(count for *_, count in bars))
    steps = "".join(f"V{15 - 14 * math.log1p(count) / highest:.0f}h2.6" for *_, count in bars)
    return f'<svg viewBox="0 0 64 15" width="64" height="15" aria-hidden="true"><path d="M0 15{steps}V15z"/></svg>'


def choose_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`."""
    raw = max(high - low, 1e-12) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _choose_log_ticks(low: float, high: float) -> list[float]:
    if high / low < 8:
        return [value for value in choose_ticks(low, high, 5) if value > 0]
    factors = (1,) if high / low > 3000 else (1, 2, 5) if high / low < 60 else (1, 3)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]


def _abbreviate_count(count: int) -> str:
    for size, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{name}"
    return str(count)
