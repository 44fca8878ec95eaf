"""Points and curves in a plane, named at the right edge: names keep their distance, thin lines lead to points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import one_line
from elicit.report.data.number_format import percent, plain
from elicit.report.data.summary_view import Figure

_APART = 12.5
"""Between two names."""


class Dot(NamedTuple):
    x: float
    figure: Figure
    """y with its interval."""
    colour: str
    shape: svg.Mark | None
    title: str = ""
    label: str = ""
    """Named at the edge if not empty."""
    hollow: bool = False
    size: float = 4.6
    data: Mapping[str, object] = {}
    across: Figure | None = None
    """x with its interval, where x is an estimate too."""


class Curve(NamedTuple):
    dots: Sequence[Dot]
    """In the order of x."""
    colour: str
    label: str = ""
    dash: str = ""


class Plane(NamedTuple):
    title: str
    x_label: str
    x: tuple[float, float]
    y: tuple[float, float]
    curves: Sequence[Curve] = ()
    dots: Sequence[Dot] = ()
    logarithmic: bool = True
    x_ticks: Sequence[float] = ()
    """Where to write x; round numbers if empty."""
    signed: bool = False
    """Whether both axes are differences in points."""
    shade: bool = False
    corner: bool = False
    """Whether the corner of more across and less up is shaded."""


class Box(NamedTuple):
    """Where the plane is drawn."""

    left: float
    top: float
    right: float
    bottom: float
    edge: float
    """Where names end."""
    narrow: bool = False
    """On a phone marks carry no tooltips: there is nothing to hover with."""


def top(figures: Iterable[Figure]) -> float:
    """Where an axis of shares ends: 1, or a round share below it where all figures are small."""
    highest = max((bound for one in figures for bound in (one.value, one.high) if bound is not None), default=1.0)
    return next(share for share in (0.1, 0.2, 0.5, 1.0) if highest <= share or share == 1.0)


def height(planes: Sequence[Plane], least: float = 240) -> float:
    """Enough for the names of the fullest of some planes."""
    return max([least, *(_APART * (len(_named(plane)) + 1) for plane in planes)])


def picture(planes: Sequence[Plane], *, label: str, least: float = 240) -> str:
    """Planes side by side for a desk, below each other for a phone."""
    tall = height(planes, least)
    wide: list[str] = []
    share = 980 / max(1, len(planes))
    for i, plane in enumerate(planes):
        left = i * share + 44
        wide += _draw(
            plane, Box(left, 26, left + (share - 44) * (0.62 if len(planes) > 1 else 0.7), 26 + tall, (i + 1) * share)
        )
    narrow: list[str] = []
    for i, plane in enumerate(planes):
        top = 26 + i * (tall + 78)
        narrow += _draw(plane, Box(34, top, 236, top + tall, 380, narrow=True))
    return svg.both(
        svg.svg(980, tall + 70, wide, label=label),
        svg.svg(380, len(planes) * (tall + 78), narrow, label=label),
    )


def _named(plane: Plane) -> list[tuple[Dot, str, str]]:
    """(point, name, colour) of all that is named."""
    found = [(dot, dot.label, dot.colour) for dot in plane.dots if dot.label and dot.figure.value is not None]
    for curve in plane.curves:
        known = [dot for dot in curve.dots if dot.figure.value is not None]
        if curve.label and known:
            found.append((known[-1], curve.label, curve.colour))
    return found


def _draw(plane: Plane, box: Box) -> list[str]:
    body = [svg.text(box.left, box.top - 10, plane.title, weight=600)]
    if plane.shade:
        low, high = sorted((_y(plane, box, 0), _y(plane, box, plane.y[1])))
        body.append(svg.box(box.left, low, box.right - box.left, high - low, colour=svg.GREEN, opacity=0.07))
    if plane.corner:
        left, top = _x(plane, box, 0), _y(plane, box, 0)
        body.append(svg.box(left, top, box.right - left, box.bottom - top, colour=svg.ORANGE, opacity=0.08))
    body += _axes(plane, box)
    for curve in plane.curves:
        known = [dot for dot in curve.dots if dot.figure.value is not None]
        if len(known) > 1:
            through = [(_x(plane, box, dot.x), _y(plane, box, dot.figure.value or 0.0)) for dot in known]
            body.append(svg.path(through, colour=curve.colour, dash=curve.dash, width=1.7))
        for dot in known:
            body += _dot(plane, box, dot)
    for dot in plane.dots:
        body += _dot(plane, box, dot)
    return body + _names(plane, box)


def _axes(plane: Plane, box: Box) -> list[str]:
    body = []
    for tick in svg.ticks(*plane.y, about=5):
        y = _y(plane, box, tick)
        body.append(svg.line(box.left, y, box.right, y, opacity=0.5 if tick == 0 else 0.13))
        body.append(svg.text(box.left - 6, y + 4, _points(tick, plane.signed), anchor="end", size=11, opacity=0.75))
    ticks = list(plane.x_ticks) or (_decades(*plane.x) if plane.logarithmic else svg.ticks(*plane.x, about=5))
    last = -math.inf
    for tick in ticks:
        x = _x(plane, box, tick)
        body.append(svg.line(x, box.bottom, x, box.bottom + 4, opacity=0.5))
        name = _points(tick, True) if plane.signed else plain(tick, 0 if float(tick).is_integer() else 1)
        if x - last > 6.5 * len(name) + 6:
            last = x
            body.append(svg.text(x, box.bottom + 16, name, anchor="middle", size=11, opacity=0.75))
    if plane.signed:
        x = _x(plane, box, 0)
        body.append(svg.line(x, box.top, x, box.bottom, opacity=0.5))
    middle = (box.left + box.right) / 2
    body.append(svg.text(middle, box.bottom + 33, plane.x_label, anchor="middle", size=11.5, opacity=0.75))
    return body


def _points(value: float, signed: bool) -> str:
    return percent(value, 0 if (100 * value).is_integer() else 1, signed=signed)


def _decades(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between two positive numbers; only powers of ten over many decades."""
    steps: tuple[int, ...] = (1, 2, 5) if high / low < 3000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def _x(plane: Plane, box: Box, value: float) -> float:
    low, high = plane.x
    value = min(max(value, low), high)
    share = (value - low) / (high - low)
    if plane.logarithmic:
        share = math.log(value / low) / math.log(high / low)
    return box.left + share * (box.right - box.left)


def _y(plane: Plane, box: Box, value: float) -> float:
    low, high = plane.y
    return box.bottom - (min(max(value, low), high) - low) / (high - low) * (box.bottom - box.top)


def _dot(plane: Plane, box: Box, dot: Dot) -> list[str]:
    if dot.figure.value is None:
        return []
    x, y = _x(plane, box, dot.x), _y(plane, box, dot.figure.value)
    body = []
    for bounds, across in ((dot.figure, False), (dot.across, True)):
        if bounds is None or bounds.low is None or bounds.high is None:
            continue
        ends = (_x if across else _y)(plane, box, bounds.low), (_x if across else _y)(plane, box, bounds.high)
        line = (ends[0], y, ends[1], y) if across else (x, ends[0], x, ends[1])
        body.append(svg.line(*line, colour=dot.colour, width=1.2, opacity=0.55))
    if dot.shape is not None:
        title, data = ("", None) if box.narrow else (dot.title, dot.data)
        body.append(
            svg.mark(dot.shape, x, y, colour=dot.colour, size=dot.size, title=title, hollow=dot.hollow, data=data)
        )
    return body


def _names(plane: Plane, box: Box) -> list[str]:
    found = _named(plane)
    # Of points at one height the rightmost is named first, so that lines to names cross little.
    found.sort(key=lambda entry: (-(entry[0].figure.value or 0.0), -entry[0].x))
    wanted = [_y(plane, box, dot.figure.value or 0.0) for dot, _, _ in found]
    order = [y + 1e-6 * i for i, y in enumerate(wanted)]
    body = []
    limit = int((box.edge - box.right - 18) / 6)
    for (dot, name, colour), y, at in zip(found, wanted, svg.spread(order, _APART, box.top, box.bottom), strict=True):
        x = _x(plane, box, dot.x)
        body.append(svg.line(x + dot.size, y, box.right + 12, at, colour=colour, width=0.8, opacity=0.45))
        body.append(svg.text(box.right + 15, at + 4, one_line(name, limit), size=11, colour=colour, title=name))
    return body
