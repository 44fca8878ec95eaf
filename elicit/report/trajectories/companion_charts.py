"""Small charts of other measures over training: a line an arm, in the style it has in the main figure.

Response length, finished answers and traces tell form from ability; the loss, token accuracy and entropy are what a
training run shows for free. A dotted upright is where an arm's accuracy on that task turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.number_format import format_amount, format_number
from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.trajectories.axis import ValueAxis, build_step_axis, fit_axis_range
from elicit.report.trajectories.data import ArmTrajectory, LineStyle, TrajectoryCurve

_WIDTH, _HEIGHT = 148, 118
_LEFT, _RIGHT, _TOP, _BOTTOM = 33, 139, 22, 92


class _CompanionMeasure(NamedTuple):
    title: str
    share: bool


_MEASURES = {
    "tokens": _CompanionMeasure("answer length, tokens", False),
    "finished_rate": _CompanionMeasure("finished by itself, %", True),
    "answered_rate": _CompanionMeasure("with a readable answer, %", True),
    "trace_rate": _CompanionMeasure("shows its work, %", True),
    "valid_trace_rate": _CompanionMeasure("every step valid, %", True),
    "loss": _CompanionMeasure("loss on solutions, nats", False),
    "token_accuracy": _CompanionMeasure("token accuracy, %", True),
    "entropy": _CompanionMeasure("entropy, nats", False),
}


class _CompanionLine(NamedTuple):
    arm: str
    style: LineStyle
    key: str
    steps: tuple[float, ...]
    figures: tuple[OptionalEstimate, ...]
    turn: float | None = None


def render_task_companions(curves: Sequence[TrajectoryCurve]) -> str:
    """The companions of one task; empty where none was measured."""
    charts = []
    for key, measure in _MEASURES.items():
        lines = [
            _CompanionLine(
                curve.arm.name,
                curve.style,
                f"{curve.summary_key}.{key}",
                curve.steps,
                curve.measures[key],
                curve.turn.step.value if curve.turn else None,
            )
            for curve in curves
        ]
        charts.append(_render_companion_chart(measure, lines, scope=f"on {curves[0].label}"))
    markup = "".join(charts)
    return f'<div class="charts">{markup}</div>' if markup else ""


def render_kl_chart(trajectories: Sequence[ArmTrajectory]) -> str:
    """KL of the arm to the base on the run's own task; empty where it was not measured."""
    lines = [
        _CompanionLine(trajectory.arm.name, trajectory.style, "trajectory.kl", trajectory.steps, trajectory.kl)
        for trajectory in trajectories
    ]
    return _render_companion_chart(_CompanionMeasure("KL(arm‖base), nats", False), lines, scope="on the run's own task")


def _render_companion_chart(measure: _CompanionMeasure, lines: Sequence[_CompanionLine], *, scope: str) -> str:
    measured_lines = [line for line in lines if any(figure.value is not None for figure in line.figures)]
    if not measured_lines:
        return ""
    values = [figure.value for line in measured_lines for figure in line.figures if figure.value is not None]
    ends = (
        (0.0, 1.0)
        if measure.share
        else fit_axis_range(values, minimum_span=1e-3, limits=(min(0.0, *values), float("inf")))
    )
    y_axis = ValueAxis(_TOP, _BOTTOM, *ends)
    steps = sorted({step for line in measured_lines for step in line.steps})
    x_axis = build_step_axis(_LEFT, _RIGHT, steps)
    format_value: Callable[[float], str] = (
        (lambda v: format_number(100 * v, 0)) if measure.share else _format_companion_value
    )
    body = [svg.draw_text(0, 12, measure.title, size=11, weight=600)]
    for tick in (0.0, 0.5, 1.0) if measure.share else svg.choose_ticks(*ends, count=3):
        body.append(svg.draw_line(_LEFT, y_axis.to_y(tick), _RIGHT, y_axis.to_y(tick), opacity=0.16))
        body.append(
            svg.draw_text(_LEFT - 5, y_axis.to_y(tick) + 4, format_value(tick), anchor="end", size=10.5, opacity=0.75)
        )
    body += x_axis.draw_ticks(steps, _BOTTOM, size=10)
    for line in measured_lines:
        if line.turn is not None:
            x = x_axis.to_x(line.turn)
            body.append(
                svg.draw_line(x, _TOP, x, _BOTTOM, colour=line.style.colour, dash="2 2", width=1.2, opacity=0.8)
            )
    for line in measured_lines:
        body += _draw_companion_line(line, measure, x_axis.to_x, y_axis.to_y, format_value)
    names = ", ".join(line.arm for line in measured_lines)
    return svg.render_svg(_WIDTH, _HEIGHT, body, label=f"{measure.title} {scope} over training steps: {names}")


def _draw_companion_line(
    line: _CompanionLine,
    measure: _CompanionMeasure,
    to_x: Callable[[float], float],
    to_y: Callable[[float], float],
    format_value: Callable[[float], str],
) -> list[str]:
    measured_points = [
        (i, step, figure.value)
        for i, (step, figure) in enumerate(zip(line.steps, line.figures, strict=True))
        if figure.value is not None
    ]
    points = [(to_x(step), to_y(value)) for _, step, value in measured_points]
    style = line.style
    body = [svg.draw_path(points, colour=style.colour, width=1.5, dash=style.dash)] if len(points) > 1 else []
    series_text = ", ".join(f"{format_value(value)} at {format_number(step, 0)}" for _, step, value in measured_points)
    for (i, _, value), point in zip(measured_points, points, strict=True):
        is_last = i == measured_points[-1][0]
        title = f"{line.arm}, {measure.title}: {series_text}" if is_last else ""
        data = {"arm": line.arm, "key": f"{line.key}.{i}", "value": repr(value)}
        body.append(
            svg.draw_mark(style.mark, *point, colour=style.colour, size=2.6 if is_last else 1.7, title=title, data=data)
        )
    return body


def _format_companion_value(value: float) -> str:
    if abs(value) >= 1000:
        return format_amount(value)
    return format_number(value, 0 if abs(value) >= 20 or value == 0 else 1 if abs(value) >= 3 else 2)
