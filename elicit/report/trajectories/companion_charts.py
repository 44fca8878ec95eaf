"""What moves beside accuracy over training: small charts, a line an arm, the same arms in the same looks.

Response length, finished answers and traces tell form from ability; the loss, token accuracy and entropy are what a
training run shows for free. A dotted upright is where an arm's accuracy on that task turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.number_format import big, plain
from elicit.report.data.summary_view import Figure
from elicit.report.trajectories.axis import Heights, range_of, steps_axis
from elicit.report.trajectories.data import Curve, Followed, Look

_WIDTH, _HEIGHT = 148, 118
_LEFT, _RIGHT, _TOP, _BOTTOM = 33, 139, 22, 92


class _Measure(NamedTuple):
    title: str
    share: bool


_MEASURES = {
    "tokens": _Measure("answer length, tokens", False),
    "finished_rate": _Measure("finished by itself, %", True),
    "answered_rate": _Measure("with a readable answer, %", True),
    "trace_rate": _Measure("shows its work, %", True),
    "valid_trace_rate": _Measure("every step valid, %", True),
    "loss": _Measure("loss on solutions, nats", False),
    "token_accuracy": _Measure("token accuracy, %", True),
    "entropy": _Measure("entropy, nats", False),
}


class _Line(NamedTuple):
    arm: str
    look: Look
    key: str
    steps: tuple[float, ...]
    figures: tuple[Figure, ...]
    turn: float | None = None


def of_task(curves: Sequence[Curve]) -> str:
    """The companions of one task; empty where none was measured."""
    charts = []
    for key, measure in _MEASURES.items():
        lines = [
            _Line(
                curve.arm.name,
                curve.look,
                f"{curve.place}.{key}",
                curve.steps,
                curve.measures[key],
                curve.turn.step.value if curve.turn else None,
            )
            for curve in curves
        ]
        charts.append(_chart(measure, lines, where=f"on {curves[0].label}"))
    drawn = "".join(charts)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def of_arms(arms: Sequence[Followed]) -> str:
    """How far answers to the run's own task are from what the base would say; empty where it was not measured."""
    lines = [_Line(one.arm.name, one.look, "trajectory.kl", one.steps, one.kl) for one in arms]
    return _chart(_Measure("KL(arm‖base), nats", False), lines, where="on the run's own task")


def _chart(measure: _Measure, lines: Sequence[_Line], *, where: str) -> str:
    known = [line for line in lines if any(figure.value is not None for figure in line.figures)]
    if not known:
        return ""
    values = [figure.value for line in known for figure in line.figures if figure.value is not None]
    ends = (0.0, 1.0) if measure.share else range_of(values, least=1e-3, within=(min(0.0, *values), float("inf")))
    up = Heights(_TOP, _BOTTOM, *ends)
    steps = sorted({step for line in known for step in line.steps})
    across = steps_axis(_LEFT, _RIGHT, steps)
    write: Callable[[float], str] = (lambda v: plain(100 * v, 0)) if measure.share else _short
    body = [svg.text(0, 12, measure.title, size=11, weight=600)]
    for tick in (0.0, 0.5, 1.0) if measure.share else svg.ticks(*ends, about=3):
        body.append(svg.line(_LEFT, up.y(tick), _RIGHT, up.y(tick), opacity=0.16))
        body.append(svg.text(_LEFT - 5, up.y(tick) + 4, write(tick), anchor="end", size=10.5, opacity=0.75))
    body += across.ticks(steps, _BOTTOM, size=10)
    for line in known:
        if line.turn is not None:
            x = across.x(line.turn)
            body.append(svg.line(x, _TOP, x, _BOTTOM, colour=line.look.colour, dash="2 2", width=1.2, opacity=0.8))
    for line in known:
        body += _drawn(line, measure, across.x, up.y, write)
    names = ", ".join(line.arm for line in known)
    return svg.svg(_WIDTH, _HEIGHT, body, label=f"{measure.title} {where} over training steps: {names}")


def _drawn(
    line: _Line,
    measure: _Measure,
    x: Callable[[float], float],
    y: Callable[[float], float],
    write: Callable[[float], str],
) -> list[str]:
    found = [
        (i, step, figure.value)
        for i, (step, figure) in enumerate(zip(line.steps, line.figures, strict=True))
        if figure.value is not None
    ]
    places = [(x(step), y(value)) for _, step, value in found]
    look = line.look
    body = [svg.path(places, colour=look.colour, width=1.5, dash=look.dash)] if len(places) > 1 else []
    said = ", ".join(f"{write(value)} at {plain(step, 0)}" for _, step, value in found)
    for (i, _, value), place in zip(found, places, strict=True):
        last = i == found[-1][0]
        title = f"{line.arm}, {measure.title}: {said}" if last else ""
        data = {"arm": line.arm, "key": f"{line.key}.{i}", "value": repr(value)}
        body.append(svg.mark(look.mark, *place, colour=look.colour, size=2.6 if last else 1.7, title=title, data=data))
    return body


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return big(value)
    return plain(value, 0 if abs(value) >= 20 or value == 0 else 1 if abs(value) >= 3 else 2)
