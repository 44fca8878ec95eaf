"""Accuracy over training: a panel a task, a line with its band an arm, the shape in words, the danger zone shaded.

A zone is drawn as bars below the panel, one an arm, where that arm is worse than the base; where only one arm of a
panel is in danger, its zone is shaded through the panel as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import one_line
from elicit.report.data.number_format import interval, percent, plain
from elicit.report.data.summary_view import Figure
from elicit.report.trajectories.axis import Heights, Steps, band, range_of, steps_axis
from elicit.report.trajectories.data import Curve
from elicit.report.trajectories.text import endangered, runs_of, short, turned

LINES = 7
"""At most so many arms a panel; the others are in the table."""
_WIDE, _NARROW, _TALL, _LANE = 980, 380, 210, 7
_HEAD, _FOOT = 30, 40
"""Above a panel its title, below it the axis."""


class _Box(NamedTuple):
    """Where a panel is drawn."""

    x: float
    y: float
    right: float
    """Where the plot ends."""
    edge: float
    """Where words end."""
    narrow: bool


def figure(tasks: Sequence[Sequence[Curve]], *, label: str) -> str:
    """All panels: two side by side for a desk, below each other for a phone.

    Args:
        tasks: the curves of each panel.
    """
    shown = [list(curves[:LINES]) for curves in tasks]
    across = 2 if len(shown) > 1 else 1
    share = _WIDE / across
    wide: list[str] = []
    y = 0.0
    for row in range(0, len(shown), across):
        group = shown[row : row + across]
        for i, curves in enumerate(group):
            left = i * share + 40
            right = left + (share - 40) * (0.57 if across == 2 else 0.66)
            wide += _panel(curves, _Box(left, y + _HEAD, right, (i + 1) * share - 6, narrow=False))
        y += _HEAD + _TALL + _FOOT + max(_lanes(curves) for curves in group)
    narrow: list[str] = []
    below = 0.0
    for curves in shown:
        narrow += _panel(curves, _Box(36, below + _HEAD, 366, 366, narrow=True))
        below += _HEAD + _TALL + _FOOT + _lanes(curves) + 17 * len(curves) + 14
    return svg.both(svg.svg(_WIDE, y, wide, label=label), svg.svg(_NARROW, below, narrow, label=label))


def _lanes(curves: Sequence[Curve]) -> float:
    return _LANE * sum(bool(curve.danger) for curve in curves)


def _panel(curves: Sequence[Curve], box: _Box) -> list[str]:
    steps = sorted({step for curve in curves for step in curve.steps})
    across = steps_axis(box.x, box.right, steps)
    low, high = range_of(_bounds(curves), least=0.2, within=(0.0, 1.0))
    up = Heights(box.y, box.y + _TALL, low, high)
    first = curves[0]
    role = "the run's own task, " if first.target else "another task, "
    if 8 * len(first.label) + 5.7 * len(f"{role}accuracy %") + 8 > box.right - box.x:
        role = ""  # a long name leaves no room
    body = [svg.text(box.x, box.y - 12, one_line(first.label, 36), weight=650, size=13, title=first.label)]
    body.append(
        svg.text(box.right, box.y - 12, f"{role}accuracy %", anchor="end", size=11, opacity=0.7),
    )
    body += _danger(curves, across, up, steps)
    body += _grid(curves, across, up)
    lanes = _TALL + _lanes(curves)
    body += across.ticks(steps, box.y + lanes)
    axis = "training steps (logarithmic; 0 is the base)"
    body.append(svg.text((box.x + box.right) / 2, box.y + lanes + 31, axis, anchor="middle", size=11, opacity=0.7))
    for curve in curves:
        body += _line(curve, across, up, quiet=box.narrow)
    body += [part for curve in curves for part in _turn(curve, across, up, quiet=box.narrow)]
    return body + (_below(curves, box, lanes) if box.narrow else _beside(curves, up, box))


def _bounds(curves: Sequence[Curve]) -> list[float]:
    figures = [figure for curve in curves for _, _, figure in curve.known]
    return [bound for figure in figures for bound in figure[:3] if bound is not None]


def _grid(curves: Sequence[Curve], across: Steps, up: Heights) -> list[str]:
    base = next((curve.accuracy[0].value for curve in curves if curve.steps[:1] == (0.0,)), None)
    body = []
    for tick in svg.ticks(up.low, up.high, about=5):
        y = up.y(tick)
        body.append(svg.line(across.left, y, across.right, y, opacity=0.45 if tick == 0 else 0.13))
        places = 0 if round(100 * tick, 6).is_integer() else 1
        if base is None or abs(y - up.y(base)) > 10:
            body.append(svg.text(across.left - 6, y + 4, percent(tick, places), anchor="end", size=11, opacity=0.75))
    if base is not None:
        y = up.y(base)
        title = f"the base: {percent(base)} %"
        body.append(svg.line(across.left, y, across.right, y, dash="4 3", width=1.2, opacity=0.75, title=title))
        body.append(svg.text(across.left - 6, y + 4, "base", anchor="end", size=11, weight=600, title=title))
    return body


def _danger(curves: Sequence[Curve], across: Steps, up: Heights, steps: Sequence[float]) -> list[str]:
    """Bars below the panel; through the panel where a single arm is in danger."""
    found = [curve for curve in curves if curve.danger]
    body = []
    for i, curve in enumerate(found):
        for low, high in runs_of(curve.danger, curve.steps):
            left, right = across.around(low, high, curve.steps)
            y = up.bottom + 1 + i * _LANE
            body.append(svg.box(left, y, right - left, _LANE - 2, colour=curve.look.colour, opacity=0.85))
            if len(found) == 1:
                body.append(
                    svg.box(left, up.top, right - left, up.bottom - up.top, colour=curve.look.colour, opacity=0.1)
                )
                if right - left > 70:
                    body.append(svg.text((left + right) / 2, up.top + 12, "danger zone", anchor="middle", size=11))
    return body


def _line(curve: Curve, across: Steps, up: Heights, *, quiet: bool) -> list[str]:
    known = curve.known
    colour = curve.look.colour
    places = [(across.x(step), up.y(figure.value or 0.0)) for _, step, figure in known]
    bounded = [(across.x(step), figure.low, figure.high) for _, step, figure in known]
    body = []
    lower = [(x, up.y(low)) for x, low, _ in bounded if low is not None]
    upper = [(x, up.y(high)) for x, _, high in bounded if high is not None]
    if len(lower) > 1 and len(lower) == len(upper):
        body.append(band(lower, upper, colour=colour))
    if len(places) > 1:
        body.append(svg.path(places, colour=colour, width=1.9, dash=curve.look.dash))
    for (i, step, figure), (x, y) in zip(known, places, strict=True):
        data = {"arm": curve.arm.name, "key": f"{curve.place}.accuracy.{i}", "value": repr(figure.value)}
        title = "" if quiet else f"{curve.arm.name} at step {plain(step, 0)}: {_said(figure)}"
        body.append(
            svg.mark(curve.look.mark, x, y, colour=colour, size=3, title=title, data=None if quiet else data),
        )
    return body


def _turn(curve: Curve, across: Steps, up: Heights, *, quiet: bool) -> list[str]:
    """A ringed cross at the trough or peak: where, with its interval across, and how far from the base, upright."""
    if curve.turn is None or curve.turn.size.value is None or curve.turn.step.value is None:
        return []
    base = curve.accuracy[0].value
    if base is None:
        return []
    size, step, _ = curve.turn
    sign = -1 if curve.dips else 1
    x, y = across.x(step.value or 0.0), up.y(base + sign * (size.value or 0.0))
    colour = curve.look.colour
    body = []
    if step.low is not None and step.high is not None and step.low < step.high:
        body.append(
            svg.whisker(across.x(step.low), across.x(step.high), y, cap=3.5, colour=colour, width=1.6, opacity=1)
        )
    if size.low is not None and size.high is not None:
        body.append(
            svg.line(x, up.y(base + sign * size.low), x, up.y(base + sign * size.high), colour=colour, width=1.6)
        )
    title = "" if quiet else f"{curve.arm.name}, {'trough' if curve.dips else 'peak'}: {turned(curve)}"
    data = {"arm": curve.arm.name, "key": f"{curve.place}.curve.turn.size", "value": repr(size.value)}
    ring = svg.mark("circle", x, y, colour=colour, size=6.5, title=title, hollow=True, data=None if quiet else data)
    return [*body, ring]


def _said(figure: Figure) -> str:
    return f"{percent(figure.value)} % {interval(figure)}".strip()


def _beside(curves: Sequence[Curve], up: Heights, box: _Box) -> list[str]:
    """Names with shapes at the right edge, near where their lines end."""
    body = []
    known = [curve for curve in curves if curve.known]
    ends = [up.y(curve.known[-1][2].value or 0.0) for curve in known]
    order = [y + 1e-6 * i for i, y in enumerate(ends)]
    limit = int((box.edge - box.right - 22) / 6.1)
    for curve, end, y in zip(known, ends, svg.spread(order, 29, up.top + 6, up.bottom - 14), strict=True):
        colour = curve.look.colour
        body.append(svg.line(box.right + 3, end, box.right + 14, y, colour=colour, width=0.9, opacity=0.6))
        name = one_line(curve.arm.name, limit - 2)
        body.append(svg.mark(curve.look.mark, box.right + 21, y, colour=colour, size=3.4))
        body.append(svg.text(box.right + 30, y + 4, name, colour=colour, weight=650, title=curve.arm.name))
        title = endangered(curve)
        body.append(svg.text(box.right + 30, y + 17, short(curve), size=11.5, title=title))
    return body


def _below(curves: Sequence[Curve], box: _Box, lanes: float) -> list[str]:
    """Names with shapes below the panel, for a phone."""
    body = []
    for i, curve in enumerate(curves):
        y = box.y + lanes + _FOOT + 12 + 17 * i
        words = short(curve)
        name = one_line(curve.arm.name, max(8, 50 - len(words)))
        body.append(svg.mark(curve.look.mark, box.x - 22, y - 4, colour=curve.look.colour, size=3.6))
        body.append(svg.text(box.x - 12, y, f"{name}: {words}", size=12))
    return body
