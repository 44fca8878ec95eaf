"""A chart of early warning: the loss of another task as measured and as gradients foretold it, while an arm trains.

Below the loss stands the cosine of the two tasks' gradients. Many looks are drawn as few: evenly over the logarithm of
the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import format_number
from elicit.report.data.summary_view import Arm, OptionalEstimate, get_nested, parse_estimate, read_finite_number
from elicit.report.trajectories.axis import StepAxis, ValueAxis, build_step_axis, fit_axis_range

MAX_POINTS = 80
"""At most so many points a line: looks are as many as training steps."""
_WIDTH, _HEIGHT = 380, 304
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 366, 46, 190
_BELOW, _FLOOR = 206, 264
MEASURED, FORETOLD = svg.GREY, svg.BLUE
_Line = list[tuple[int, float, float]]
"""(index, step, value)."""


class WatchedTask(NamedTuple):
    """One arm on one task that was watched while it trained."""

    arm: Arm
    label: str
    data: Mapping[str, Any]
    steps: tuple[float | None, ...]
    warning_data: Mapping[str, Any]
    """Seeds and cost, next to the tasks."""

    def read_line(self, key: str, *, from_first: bool = False) -> _Line:
        """The signal at every look; with `from_first` its change since the first."""
        values = [read_finite_number(value) for value in list_or_empty(self.data.get(key))]
        if len(values) != len(self.steps):
            return []
        pairs = enumerate(zip(self.steps, values, strict=True))
        points = [(i, step, value) for i, (step, value) in pairs if step is not None and value is not None]
        start = points[0][2] if points and from_first else 0.0
        return [(i, step, value - start) for i, step, value in points]

    @property
    def trough(self) -> OptionalEstimate:
        return parse_estimate(self.data.get("trough"))

    def read_steps(self, *keys: str) -> list[float | None]:
        """One step a seed; None where a seed has none."""
        return [read_finite_number(step) for step in list_or_empty(get_nested(self.data, *keys))]


def render_forecast_chart(watched_task: WatchedTask, description: str) -> str:
    """The figure; `description` is what a screen reader says of it. Empty where nothing was seen."""
    loss, integral = watched_task.read_line("loss", from_first=True), watched_task.read_line("integral")
    if not loss and not integral:
        return ""
    steps = [step for step in watched_task.steps if step is not None]
    x_axis = build_step_axis(_LEFT, _RIGHT, steps)
    values = [value for line in (loss, integral) for _, _, value in line]
    y_axis = ValueAxis(
        _TOP, _BOTTOM, *fit_axis_range([0.0, *values], minimum_span=0.02, limits=(float("-inf"), float("inf")))
    )
    title = f"{watched_task.arm.name} on {watched_task.label}"
    body = [svg.draw_text(0, 12, fold_onto_line(title, 56), weight=650, title=title)]
    body += [svg.draw_line(0, 25, 20, 25, colour=MEASURED, width=2), svg.draw_text(25, 29, "measured", size=11)]
    body += [
        svg.draw_line(92, 25, 112, 25, colour=FORETOLD, width=2, dash="5 2"),
        svg.draw_text(117, 29, "foretold", size=11),
    ]
    body.append(svg.draw_text(_RIGHT, 29, "change of loss, nats a token", anchor="end", size=11, opacity=0.7))
    body += _draw_trough(watched_task, x_axis)
    body += _draw_value_grid(y_axis)
    for line, key, colour, dash in ((loss, "loss", MEASURED, ""), (integral, "integral", FORETOLD, "5 2")):
        body += _draw_forecast_line(watched_task, line, key, x_axis, y_axis, colour, dash)
    for step in watched_task.read_steps("crossing", "steps"):
        if step is not None:
            x = x_axis.to_x(step)
            crossing_title = (
                f"{watched_task.arm.name} on {watched_task.label}: the foretold loss turns at step "
                f"{format_number(step, 0)}"
            )
            data = {"arm": watched_task.arm.name, "key": "warning.crossing", "value": repr(step)}
            body.append(svg.draw_line(x, _TOP, x, _FLOOR, colour=FORETOLD, width=1.3, title=crossing_title, data=data))
    body += _draw_cosine(watched_task, x_axis)
    marks = [step for i, step in enumerate(steps) if i in (0, len(steps) - 1)]
    body += x_axis.draw_ticks([*marks, *_choose_doubling_ticks(x_axis)], _FLOOR, size=10.5)
    axis = "training steps (logarithmic; 0 is the base)"
    body.append(svg.draw_text((_LEFT + _RIGHT) / 2, _FLOOR + 31, axis, anchor="middle", size=11, opacity=0.7))
    return svg.render_svg(_WIDTH, _HEIGHT, body, label=f"{title}: loss as measured and as foretold. {description}")


def _draw_value_grid(y_axis: ValueAxis) -> list[str]:
    body = []
    for tick in svg.choose_ticks(y_axis.low, y_axis.high, count=4):
        y = y_axis.to_y(tick)
        body.append(svg.draw_line(_LEFT, y, _RIGHT, y, opacity=0.5 if tick == 0 else 0.13))
        name = format_number(tick, 2, signed=True)
        body.append(svg.draw_text(_LEFT - 5, y + 4, name, anchor="end", size=10.5, opacity=0.75))
    return body


def _draw_trough(watched_task: WatchedTask, x_axis: StepAxis) -> list[str]:
    """The lowest accuracy: the checkpoints around it, and the step."""
    bracket = [read_finite_number(step) for step in list_or_empty(watched_task.data.get("bracket"))]
    if len(bracket) != 2 or watched_task.trough.value is None:
        return []
    low, high = (x_axis.to_x(step or 0.0) for step in bracket)
    x = x_axis.to_x(watched_task.trough.value)
    data = {
        "arm": watched_task.arm.name,
        "key": f"warning.tasks.{watched_task.label}.trough",
        "value": repr(watched_task.trough.value),
    }
    title = f"trough of accuracy at step {format_number(watched_task.trough.value, 0)}"
    return [
        svg.draw_rectangle(low, _TOP, high - low, _FLOOR - _TOP, colour=svg.ORANGE, opacity=0.13),
        svg.draw_line(x, _TOP, x, _FLOOR, colour=svg.ORANGE, width=1.6, dash="2 2", title=title, data=data),
        svg.draw_text(x, _TOP - 4, "trough", anchor="middle", size=11, colour=svg.ORANGE),
    ]


def _draw_cosine(watched_task: WatchedTask, x_axis: StepAxis) -> list[str]:
    line = watched_task.read_line("cosine")
    if not line:
        return []
    maximum = max(0.1, *(abs(value) for _, _, value in line))
    y_axis = ValueAxis(_BELOW + 6, _FLOOR - 5, -maximum, maximum)
    body = [svg.draw_line(_LEFT, y_axis.to_y(0), _RIGHT, y_axis.to_y(0), opacity=0.5)]
    body += [
        svg.draw_text(
            _LEFT - 5, y_axis.to_y(tick) + 4, format_number(tick, 1, signed=True), anchor="end", size=10, opacity=0.7
        )
        for tick in (-maximum, 0.0, maximum)
    ]
    body.append(svg.draw_text(_RIGHT, _BELOW - 3, "cosine of the gradients", anchor="end", size=10.5, opacity=0.7))
    return body + _draw_forecast_line(watched_task, line, "cosine", x_axis, y_axis, svg.PURPLE, "")


def _draw_forecast_line(
    watched_task: WatchedTask, line: _Line, key: str, x_axis: StepAxis, y_axis: ValueAxis, colour: str, dash: str
) -> list[str]:
    if not line:
        return []
    points = [(x_axis.to_x(step), y_axis.to_y(value)) for _, step, value in _thin_line(line)]
    body = [svg.draw_path(points, colour=colour, width=1.8, dash=dash)] if len(points) > 1 else []
    i, step, value = line[-1]
    raw = read_finite_number(list_or_empty(watched_task.data.get(key))[i])
    title = (
        f"{watched_task.arm.name} on {watched_task.label}, {key}: {format_number(value, 3, signed=True)} at step "
        f"{format_number(step, 0)}"
    )
    data = {"arm": watched_task.arm.name, "key": f"warning.tasks.{watched_task.label}.{key}.{i}", "value": repr(raw)}
    return [
        *body,
        svg.draw_mark("circle", x_axis.to_x(step), y_axis.to_y(value), colour=colour, size=2.6, title=title, data=data),
    ]


def _thin_line(line: _Line) -> _Line:
    """About evenly over the logarithm of the step: as many early looks as late ones."""
    if len(line) <= MAX_POINTS:
        return line
    x_axis = build_step_axis(0.0, float(MAX_POINTS), [step for _, step, _ in line])
    points = [line[0]]
    points += [b for a, b in pairwise(line) if int(x_axis.to_x(a[1])) != int(x_axis.to_x(b[1]))]
    return points if points[-1] == line[-1] else [*points, line[-1]]


def _choose_doubling_ticks(x_axis: StepAxis) -> list[float]:
    """Ticks where looks are too many to have one each."""
    steps = [x_axis.first]
    while steps[-1] * 2 < x_axis.last:
        steps.append(steps[-1] * 2)
    return steps


def list_or_empty(value: Any) -> Sequence[Any]:
    """A list, or nothing."""
    return value if isinstance(value, list | tuple) else ()
