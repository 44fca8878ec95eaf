"""Points and curves in a plane, named at the right edge: names keep their distance, thin lines lead to points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import format_amount, format_number, format_percent
from elicit.report.data.summary_view import OptionalEstimate

_LABEL_DISTANCE = 12.5
"""Between two names."""
_LONG = 1e6
"""Ticks from here on have their unit: 1.0 M."""


class Dot(NamedTuple):
    x: float
    y_estimate: OptionalEstimate
    """y with its interval."""
    colour: str
    shape: svg.MarkShape | None
    title: str = ""
    label: str = ""
    """Named at the edge if not empty."""
    hollow: bool = False
    size: float = 4.6
    data: Mapping[str, object] = {}
    x_estimate: OptionalEstimate | None = None
    """x with its interval, where x is an estimate too."""


class PlaneCurve(NamedTuple):
    dots: Sequence[Dot]
    """In the order of x."""
    colour: str
    label: str = ""
    dash: str = ""


class Plane(NamedTuple):
    title: str
    x_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    curves: Sequence[PlaneCurve] = ()
    dots: Sequence[Dot] = ()
    logarithmic: bool = True
    x_ticks: Sequence[float] = ()
    """Ticks of the x axis; round numbers if empty."""
    signed: bool = False
    """Both axes are differences in points."""
    shade: bool = False
    shade_corner: bool = False
    """The corner of more across and less up is shaded."""


class PlaneBox(NamedTuple):
    """The place of the plane in the drawing."""

    left: float
    top: float
    right: float
    bottom: float
    edge: float
    """Right end of the names."""
    narrow: bool = False
    """On a phone marks carry no tooltips: there is nothing to hover with."""


def choose_axis_maximum(estimates: Iterable[OptionalEstimate]) -> float:
    """The end of an axis of shares: 1, or a round share below it where all figures are small."""
    highest = max(
        (bound for estimate in estimates for bound in (estimate.value, estimate.high) if bound is not None), default=1.0
    )
    return next(share for share in (0.1, 0.2, 0.5, 1.0) if highest <= share or share == 1.0)


def compute_plane_height(planes: Sequence[Plane], minimum_height: float = 240) -> float:
    """Enough for the names of the fullest of some planes."""
    return max([minimum_height, *(_LABEL_DISTANCE * (len(_collect_labels(plane)) + 1) for plane in planes)])


def render_planes(planes: Sequence[Plane], *, label: str, minimum_height: float = 240) -> str:
    """Planes side by side for a desk, below each other for a phone."""
    plot_height = compute_plane_height(planes, minimum_height)
    wide: list[str] = []
    plane_width = 980 / max(1, len(planes))
    for i, plane in enumerate(planes):
        left = i * plane_width + 44
        wide += _draw_plane(
            plane,
            PlaneBox(
                left,
                26,
                left + (plane_width - 44) * (0.62 if len(planes) > 1 else 0.7),
                26 + plot_height,
                (i + 1) * plane_width,
            ),
        )
    narrow: list[str] = []
    for i, plane in enumerate(planes):
        top = 26 + i * (plot_height + 78)
        narrow += _draw_plane(plane, PlaneBox(34, top, 236, top + plot_height, 380, narrow=True))
    return svg.wrap_wide_and_narrow(
        svg.render_svg(980, plot_height + 70, wide, label=label),
        svg.render_svg(380, len(planes) * (plot_height + 78), narrow, label=label),
    )


def _collect_labels(plane: Plane) -> list[tuple[Dot, str, str]]:
    """(point, name, colour) of all that is named."""
    labels = [(dot, dot.label, dot.colour) for dot in plane.dots if dot.label and dot.y_estimate.value is not None]
    for curve in plane.curves:
        measured_dots = [dot for dot in curve.dots if dot.y_estimate.value is not None]
        if curve.label and measured_dots:
            labels.append((measured_dots[-1], curve.label, curve.colour))
    return labels


def _draw_plane(plane: Plane, box: PlaneBox) -> list[str]:
    body = [svg.draw_text(box.left, box.top - 10, plane.title, weight=600)]
    if plane.shade:
        low, high = sorted((_to_plane_y(plane, box, 0), _to_plane_y(plane, box, plane.y_range[1])))
        body.append(svg.draw_rectangle(box.left, low, box.right - box.left, high - low, colour=svg.GREEN, opacity=0.07))
    if plane.shade_corner:
        left, top = _to_plane_x(plane, box, 0), _to_plane_y(plane, box, 0)
        body.append(svg.draw_rectangle(left, top, box.right - left, box.bottom - top, colour=svg.ORANGE, opacity=0.08))
    body += _draw_plane_axes(plane, box)
    for curve in plane.curves:
        measured_dots = [dot for dot in curve.dots if dot.y_estimate.value is not None]
        if len(measured_dots) > 1:
            points = [
                (_to_plane_x(plane, box, dot.x), _to_plane_y(plane, box, dot.y_estimate.value or 0.0))
                for dot in measured_dots
            ]
            body.append(svg.draw_path(points, colour=curve.colour, dash=curve.dash, width=1.7))
        for dot in measured_dots:
            body += _draw_dot(plane, box, dot)
    for dot in plane.dots:
        body += _draw_dot(plane, box, dot)
    return body + _draw_labels(plane, box)


def _draw_plane_axes(plane: Plane, box: PlaneBox) -> list[str]:
    body = []
    for tick in svg.choose_ticks(*plane.y_range, count=5):
        y = _to_plane_y(plane, box, tick)
        body.append(svg.draw_line(box.left, y, box.right, y, opacity=0.5 if tick == 0 else 0.13))
        body.append(
            svg.draw_text(
                box.left - 6, y + 4, _format_plane_tick(tick, plane.signed), anchor="end", size=11, opacity=0.75
            )
        )
    ticks = list(plane.x_ticks) or (
        _choose_log_ticks(*plane.x_range) if plane.logarithmic else svg.choose_ticks(*plane.x_range, count=5)
    )
    last = -math.inf
    for tick in ticks:
        x = _to_plane_x(plane, box, tick)
        body.append(svg.draw_line(x, box.bottom, x, box.bottom + 4, opacity=0.5))
        name = (
            _format_plane_tick(tick, True)
            if plane.signed
            else format_amount(tick)
            if tick >= _LONG
            else format_number(tick, 0 if float(tick).is_integer() else 1)
        )
        if x - last > 6.5 * len(name) + 6:
            last = x
            body.append(svg.draw_text(x, box.bottom + 16, name, anchor="middle", size=11, opacity=0.75))
    if plane.signed:
        x = _to_plane_x(plane, box, 0)
        body.append(svg.draw_line(x, box.top, x, box.bottom, opacity=0.5))
    middle = (box.left + box.right) / 2
    body.append(svg.draw_text(middle, box.bottom + 33, plane.x_label, anchor="middle", size=11.5, opacity=0.75))
    return body


def _format_plane_tick(value: float, signed: bool) -> str:
    return format_percent(value, 0 if (100 * value).is_integer() else 1, signed=signed)


def _choose_log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between two positive numbers; only powers of ten over many decades."""
    steps: tuple[int, ...] = (1, 2, 5) if high / low < 3000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def _to_plane_x(plane: Plane, box: PlaneBox, value: float) -> float:
    low, high = plane.x_range
    value = min(max(value, low), high)
    share = (value - low) / (high - low)
    if plane.logarithmic:
        share = math.log(value / low) / math.log(high / low)
    return box.left + share * (box.right - box.left)


def _to_plane_y(plane: Plane, box: PlaneBox, value: float) -> float:
    low, high = plane.y_range
    return box.bottom - (min(max(value, low), high) - low) / (high - low) * (box.bottom - box.top)


def _draw_dot(plane: Plane, box: PlaneBox, dot: Dot) -> list[str]:
    if dot.y_estimate.value is None:
        return []
    x, y = _to_plane_x(plane, box, dot.x), _to_plane_y(plane, box, dot.y_estimate.value)
    body = []
    for estimate, is_horizontal in ((dot.y_estimate, False), (dot.x_estimate, True)):
        if estimate is None or estimate.low is None or estimate.high is None:
            continue
        ends = (
            (_to_plane_x if is_horizontal else _to_plane_y)(plane, box, estimate.low),
            (_to_plane_x if is_horizontal else _to_plane_y)(plane, box, estimate.high),
        )
        line = (ends[0], y, ends[1], y) if is_horizontal else (x, ends[0], x, ends[1])
        body.append(svg.draw_line(*line, colour=dot.colour, width=1.2, opacity=0.55))
    if dot.shape is not None:
        title, data = ("", None) if box.narrow else (dot.title, dot.data)
        body.append(
            svg.draw_mark(dot.shape, x, y, colour=dot.colour, size=dot.size, title=title, hollow=dot.hollow, data=data)
        )
    return body


def _draw_labels(plane: Plane, box: PlaneBox) -> list[str]:
    labels = _collect_labels(plane)
    # Of points at one height the rightmost is named first, so that lines to names cross little.
    labels.sort(key=lambda entry: (-(entry[0].y_estimate.value or 0.0), -entry[0].x))
    dot_heights = [_to_plane_y(plane, box, dot.y_estimate.value or 0.0) for dot, _, _ in labels]
    label_heights = [y + 1e-6 * i for i, y in enumerate(dot_heights)]
    body = []
    limit = int((box.edge - box.right - 18) / 6)
    for (dot, name, colour), y, label_y in zip(
        labels, dot_heights, svg.spread_labels(label_heights, _LABEL_DISTANCE, box.top, box.bottom), strict=True
    ):
        x = _to_plane_x(plane, box, dot.x)
        body.append(svg.draw_line(x + dot.size, y, box.right + 12, label_y, colour=colour, width=0.8, opacity=0.45))
        body.append(
            svg.draw_text(box.right + 15, label_y + 4, fold_onto_line(name, limit), size=11, colour=colour, title=name)
        )
    return body
