"""Accuracy over training: a panel a task, a line with its band an arm, the shape in words, the danger zone shaded.

A zone is drawn as bars below the panel, one an arm, where that arm is worse than the base; where only one arm of a
panel is in danger, its zone is shaded through the panel as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import format_interval, format_number, format_percent
from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.trajectories.axis import StepAxis, ValueAxis, build_step_axis, draw_band, fit_axis_range
from elicit.report.trajectories.curve_facts import find_step_runs, judge_shape, judge_turn
from elicit.report.trajectories.data import TrajectoryCurve
from elicit.report.trajectories.text import write_danger_zone, write_shape_label, write_turn

DANGER_LABEL = "danger zone"
MAX_LINES = 7
"""At most so many arms a panel; the others are in the table."""
_WIDE, _NARROW, _TALL, _LANE = 980, 380, 210, 7
_HEAD, _FOOT = 30, 40
"""Above a panel its title, below it the axis."""


class _PanelBox(NamedTuple):
    """The place of a panel in the drawing."""

    x: float
    y: float
    right: float
    """Right end of the plot."""
    edge: float
    """Right end of the words."""
    narrow: bool


def render_accuracy_curves(tasks: Sequence[Sequence[TrajectoryCurve]], *, label: str) -> str:
    """All panels: two side by side for a desk, below each other for a phone.

    Args:
        tasks: the curves of each panel.
    """
    panel_curves = [list(curves[:MAX_LINES]) for curves in tasks]
    column_count = 2 if len(panel_curves) > 1 else 1
    share = _WIDE / column_count
    wide: list[str] = []
    wide_y = 0.0
    for row in range(0, len(panel_curves), column_count):
        group = panel_curves[row : row + column_count]
        for i, curves in enumerate(group):
            left = i * share + 40
            right = left + (share - 40) * (0.57 if column_count == 2 else 0.66)
            wide += _draw_curve_panel(curves, _PanelBox(left, wide_y + _HEAD, right, (i + 1) * share - 6, narrow=False))
        wide_y += _HEAD + _TALL + _FOOT + max(_compute_lane_height(curves) for curves in group)
    narrow: list[str] = []
    narrow_y = 0.0
    for curves in panel_curves:
        narrow += _draw_curve_panel(curves, _PanelBox(36, narrow_y + _HEAD, 366, 366, narrow=True))
        narrow_y += _HEAD + _TALL + _FOOT + _compute_lane_height(curves) + 17 * len(curves) + 14
    return svg.wrap_wide_and_narrow(
        svg.render_svg(_WIDE, wide_y, wide, label=label), svg.render_svg(_NARROW, narrow_y, narrow, label=label)
    )


def _compute_lane_height(curves: Sequence[TrajectoryCurve]) -> float:
    return _LANE * sum(bool(curve.danger_steps) for curve in curves)


def _draw_curve_panel(curves: Sequence[TrajectoryCurve], box: _PanelBox) -> list[str]:
    steps = sorted({step for curve in curves for step in curve.steps})
    x_axis = build_step_axis(box.x, box.right, steps)
    low, high = fit_axis_range(_collect_bounds(curves), minimum_span=0.2, limits=(0.0, 1.0))
    y_axis = ValueAxis(box.y, box.y + _TALL, low, high)
    first = curves[0]
    role = "the run's own task, " if first.target else "another task, "
    if 8 * len(first.label) + 5.7 * len(f"{role}accuracy %") + 8 > box.right - box.x:
        role = ""  # a long name leaves no room
    body = [svg.draw_text(box.x, box.y - 12, fold_onto_line(first.label, 36), weight=650, size=13, title=first.label)]
    body.append(
        svg.draw_text(box.right, box.y - 12, f"{role}accuracy %", anchor="end", size=11, opacity=0.7),
    )
    body += _draw_danger_zones(curves, x_axis, y_axis, steps)
    body += _draw_curve_grid(curves, x_axis, y_axis)
    lanes = _TALL + _compute_lane_height(curves)
    body += x_axis.draw_ticks(steps, box.y + lanes)
    axis = "training steps (logarithmic; 0 is the base)"
    body.append(svg.draw_text((box.x + box.right) / 2, box.y + lanes + 31, axis, anchor="middle", size=11, opacity=0.7))
    for curve in curves:
        body += _draw_curve_line(curve, x_axis, y_axis, without_tooltips=box.narrow)
    body += [part for curve in curves for part in _draw_turn(curve, x_axis, y_axis, without_tooltips=box.narrow)]
    return body + (_draw_labels_below(curves, box, lanes) if box.narrow else _draw_labels_beside(curves, y_axis, box))


def _collect_bounds(curves: Sequence[TrajectoryCurve]) -> list[float]:
    figures = [figure for curve in curves for _, _, figure in curve.measured_points]
    return [bound for figure in figures for bound in figure[:3] if bound is not None]


def _draw_curve_grid(curves: Sequence[TrajectoryCurve], x_axis: StepAxis, y_axis: ValueAxis) -> list[str]:
    base = next((curve.accuracy[0].value for curve in curves if curve.steps[:1] == (0.0,)), None)
    body = []
    for tick in svg.choose_ticks(y_axis.low, y_axis.high, count=5):
        y = y_axis.to_y(tick)
        body.append(svg.draw_line(x_axis.left, y, x_axis.right, y, opacity=0.45 if tick == 0 else 0.13))
        places = 0 if round(100 * tick, 6).is_integer() else 1
        if base is None or abs(y - y_axis.to_y(base)) > 10:
            body.append(
                svg.draw_text(x_axis.left - 6, y + 4, format_percent(tick, places), anchor="end", size=11, opacity=0.75)
            )
    if base is not None:
        y = y_axis.to_y(base)
        title = f"the base: {format_percent(base)} %"
        body.append(svg.draw_line(x_axis.left, y, x_axis.right, y, dash="4 3", width=1.2, opacity=0.75, title=title))
        body.append(svg.draw_text(x_axis.left - 6, y + 4, "base", anchor="end", size=11, weight=600, title=title))
    return body


def _draw_danger_zones(
    curves: Sequence[TrajectoryCurve], x_axis: StepAxis, y_axis: ValueAxis, steps: Sequence[float]
) -> list[str]:
    """Bars below the panel; through the panel where a single arm is in danger."""
    endangered_curves = [curve for curve in curves if curve.danger_steps]
    body = []
    for i, curve in enumerate(endangered_curves):
        for low, high in find_step_runs(curve.danger_steps, curve.steps):
            left, right = x_axis.span_of(low, high, curve.steps)
            y = y_axis.bottom + 1 + i * _LANE
            body.append(svg.draw_rectangle(left, y, right - left, _LANE - 2, colour=curve.style.colour, opacity=0.85))
            if len(endangered_curves) == 1:
                body.append(
                    svg.draw_rectangle(
                        left,
                        y_axis.top,
                        right - left,
                        y_axis.bottom - y_axis.top,
                        colour=curve.style.colour,
                        opacity=0.1,
                    )
                )
                if right - left > 70:
                    body.append(
                        svg.draw_text((left + right) / 2, y_axis.top + 12, DANGER_LABEL, anchor="middle", size=11)
                    )
    return body


def _draw_curve_line(
    curve: TrajectoryCurve, x_axis: StepAxis, y_axis: ValueAxis, *, without_tooltips: bool
) -> list[str]:
    measured_points = curve.measured_points
    colour = curve.style.colour
    points = [(x_axis.to_x(step), y_axis.to_y(figure.value or 0.0)) for _, step, figure in measured_points]
    bounded = [(x_axis.to_x(step), figure.low, figure.high) for _, step, figure in measured_points]
    body = []
    lower = [(x, y_axis.to_y(low)) for x, low, _ in bounded if low is not None]
    upper = [(x, y_axis.to_y(high)) for x, _, high in bounded if high is not None]
    if len(lower) > 1 and len(lower) == len(upper):
        body.append(draw_band(lower, upper, colour=colour))
    if len(points) > 1:
        body.append(svg.draw_path(points, colour=colour, width=1.9, dash=curve.style.dash))
    for (i, step, figure), (x, y) in zip(measured_points, points, strict=True):
        data = {"arm": curve.arm.name, "key": f"{curve.summary_key}.accuracy.{i}", "value": repr(figure.value)}
        title = (
            "" if without_tooltips else f"{curve.arm.name} at step {format_number(step, 0)}: {_format_level(figure)}"
        )
        body.append(
            svg.draw_mark(
                curve.style.mark, x, y, colour=colour, size=3, title=title, data=None if without_tooltips else data
            ),
        )
    return body


def _draw_turn(curve: TrajectoryCurve, x_axis: StepAxis, y_axis: ValueAxis, *, without_tooltips: bool) -> list[str]:
    """A ringed cross at the trough or peak: where, with its interval across, and how far from the base, upright."""
    turn, base = judge_turn(curve), curve.accuracy[0].value
    if turn is None or turn.step.value is None or base is None:
        return []
    size, step = turn.size, turn.step
    sign = -1 if turn.is_dip else 1
    x, y = x_axis.to_x(step.value or 0.0), y_axis.to_y(base + sign * (size.value or 0.0))
    colour = curve.style.colour
    body = []
    if step.low is not None and step.high is not None and step.low < step.high:
        body.append(
            svg.draw_whisker(
                x_axis.to_x(step.low), x_axis.to_x(step.high), y, cap=3.5, colour=colour, width=1.6, opacity=1
            )
        )
    if size.low is not None and size.high is not None:
        body.append(
            svg.draw_line(
                x,
                y_axis.to_y(base + sign * size.low),
                x,
                y_axis.to_y(base + sign * size.high),
                colour=colour,
                width=1.6,
            )
        )
    title = "" if without_tooltips else f"{curve.arm.name}, {'trough' if turn.is_dip else 'peak'}: {write_turn(turn)}"
    data = {"arm": curve.arm.name, "key": f"{curve.summary_key}.curve.turn.size", "value": repr(size.value)}
    ring = svg.draw_mark(
        "circle", x, y, colour=colour, size=6.5, title=title, hollow=True, data=None if without_tooltips else data
    )
    return [*body, ring]


def _format_level(figure: OptionalEstimate) -> str:
    return f"{format_percent(figure.value)} % {format_interval(figure)}".strip()


def _draw_labels_beside(curves: Sequence[TrajectoryCurve], y_axis: ValueAxis, box: _PanelBox) -> list[str]:
    """Names with shapes at the right edge, near where their lines end."""
    body = []
    measured_curves = [curve for curve in curves if curve.measured_points]
    ends = [y_axis.to_y(curve.measured_points[-1][2].value or 0.0) for curve in measured_curves]
    label_heights = [y + 1e-6 * i for i, y in enumerate(ends)]
    limit = int((box.edge - box.right - 22) / 6.1)
    for curve, end, y in zip(
        measured_curves, ends, svg.spread_labels(label_heights, 29, y_axis.top + 6, y_axis.bottom - 14), strict=True
    ):
        colour = curve.style.colour
        body.append(svg.draw_line(box.right + 3, end, box.right + 14, y, colour=colour, width=0.9, opacity=0.6))
        name = fold_onto_line(curve.arm.name, limit - 2)
        body.append(svg.draw_mark(curve.style.mark, box.right + 21, y, colour=colour, size=3.4))
        body.append(svg.draw_text(box.right + 30, y + 4, name, colour=colour, weight=650, title=curve.arm.name))
        title = write_danger_zone(curve.danger_steps, curve.steps)
        body.append(
            svg.draw_text(box.right + 30, y + 17, write_shape_label(judge_shape(curve)), size=11.5, title=title)
        )
    return body


def _draw_labels_below(curves: Sequence[TrajectoryCurve], box: _PanelBox, lanes: float) -> list[str]:
    """Names with shapes below the panel, for a phone."""
    body = []
    for i, curve in enumerate(curves):
        y = box.y + lanes + _FOOT + 12 + 17 * i
        words = write_shape_label(judge_shape(curve))
        name = fold_onto_line(curve.arm.name, max(8, 50 - len(words)))
        body.append(svg.draw_mark(curve.style.mark, box.x - 22, y - 4, colour=curve.style.colour, size=3.6))
        body.append(svg.draw_text(box.x - 12, y, f"{name}: {words}", size=12))
    return body
