"""A chart of early warning: the loss of another task as measured and as gradients foretold it, while an arm trains.

Below the loss stands the cosine of the two tasks' gradients. Many looks are drawn as few: evenly over the logarithm of
the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import one_line
from elicit.report.data.number_format import plain
from elicit.report.data.summary_view import Arm, Figure, dig, estimate, number
from elicit.report.trajectories.axis import Heights, Steps, range_of, steps_axis

POINTS = 80
"""At most so many points a line: looks are as many as training steps."""
_WIDTH, _HEIGHT = 380, 304
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 366, 46, 190
_BELOW, _FLOOR = 206, 264
MEASURED, FORETOLD = svg.GREY, svg.BLUE
_Line = list[tuple[int, float, float]]
"""(index, step, value)."""


class Watched(NamedTuple):
    """One arm on one task that was watched while it trained."""

    arm: Arm
    label: str
    data: Mapping[str, Any]
    steps: tuple[float | None, ...]
    every: Mapping[str, Any]
    """What stands beside the tasks: seeds, cost."""

    def line(self, key: str, *, since: bool = False) -> _Line:
        """What was seen at every look; with `since` its change since the first."""
        values = [number(value) for value in entries(self.data.get(key))]
        if len(values) != len(self.steps):
            return []
        pairs = enumerate(zip(self.steps, values, strict=True))
        known = [(i, step, value) for i, (step, value) in pairs if step is not None and value is not None]
        start = known[0][2] if known and since else 0.0
        return [(i, step, value - start) for i, step, value in known]

    @property
    def trough(self) -> Figure:
        return estimate(self.data.get("trough"))

    def places(self, *keys: str) -> list[float | None]:
        """One step a seed; None where a seed has none."""
        return [number(step) for step in entries(dig(self.data, *keys))]


def chart(one: Watched, told: str) -> str:
    """The figure; `told` is what a screen reader says of it. Empty where nothing was seen."""
    loss, integral = one.line("loss", since=True), one.line("integral")
    if not loss and not integral:
        return ""
    steps = [step for step in one.steps if step is not None]
    across = steps_axis(_LEFT, _RIGHT, steps)
    values = [value for line in (loss, integral) for _, _, value in line]
    up = Heights(_TOP, _BOTTOM, *range_of([0.0, *values], least=0.02, within=(float("-inf"), float("inf"))))
    title = f"{one.arm.name} on {one.label}"
    body = [svg.text(0, 12, one_line(title, 56), weight=650, title=title)]
    body += [svg.line(0, 25, 20, 25, colour=MEASURED, width=2), svg.text(25, 29, "measured", size=11)]
    body += [svg.line(92, 25, 112, 25, colour=FORETOLD, width=2, dash="5 2"), svg.text(117, 29, "foretold", size=11)]
    body.append(svg.text(_RIGHT, 29, "change of loss, nats a token", anchor="end", size=11, opacity=0.7))
    body += _trough(one, across)
    body += _levels(up)
    for line, key, colour, dash in ((loss, "loss", MEASURED, ""), (integral, "integral", FORETOLD, "5 2")):
        body += _drawn(one, line, key, across, up, colour, dash)
    for step in one.places("crossing", "steps"):
        if step is not None:
            x = across.x(step)
            said = f"{one.arm.name} on {one.label}: the foretold loss turns at step {plain(step, 0)}"
            data = {"arm": one.arm.name, "key": "warning.crossing", "value": repr(step)}
            body.append(svg.line(x, _TOP, x, _FLOOR, colour=FORETOLD, width=1.3, title=said, data=data))
    body += _cosine(one, across)
    marks = [step for i, step in enumerate(steps) if i in (0, len(steps) - 1)]
    body += across.ticks([*marks, *_doubling(across)], _FLOOR, size=10.5)
    axis = "training steps (logarithmic; 0 is the base)"
    body.append(svg.text((_LEFT + _RIGHT) / 2, _FLOOR + 31, axis, anchor="middle", size=11, opacity=0.7))
    return svg.svg(_WIDTH, _HEIGHT, body, label=f"{title}: loss as measured and as foretold. {told}")


def _levels(up: Heights) -> list[str]:
    body = []
    for tick in svg.ticks(up.low, up.high, about=4):
        y = up.y(tick)
        body.append(svg.line(_LEFT, y, _RIGHT, y, opacity=0.5 if tick == 0 else 0.13))
        name = plain(tick, 2, signed=True)
        body.append(svg.text(_LEFT - 5, y + 4, name, anchor="end", size=10.5, opacity=0.75))
    return body


def _trough(one: Watched, across: Steps) -> list[str]:
    """Where accuracy is lowest: between which checkpoints, and the step."""
    bracket = [number(step) for step in entries(one.data.get("bracket"))]
    if len(bracket) != 2 or one.trough.value is None:
        return []
    low, high = (across.x(step or 0.0) for step in bracket)
    x = across.x(one.trough.value)
    data = {"arm": one.arm.name, "key": f"warning.tasks.{one.label}.trough", "value": repr(one.trough.value)}
    said = f"trough of accuracy at step {plain(one.trough.value, 0)}"
    return [
        svg.box(low, _TOP, high - low, _FLOOR - _TOP, colour=svg.ORANGE, opacity=0.13),
        svg.line(x, _TOP, x, _FLOOR, colour=svg.ORANGE, width=1.6, dash="2 2", title=said, data=data),
        svg.text(x, _TOP - 4, "trough", anchor="middle", size=11, colour=svg.ORANGE),
    ]


def _cosine(one: Watched, across: Steps) -> list[str]:
    line = one.line("cosine")
    if not line:
        return []
    most = max(0.1, *(abs(value) for _, _, value in line))
    up = Heights(_BELOW + 6, _FLOOR - 5, -most, most)
    body = [svg.line(_LEFT, up.y(0), _RIGHT, up.y(0), opacity=0.5)]
    body += [
        svg.text(_LEFT - 5, up.y(tick) + 4, plain(tick, 1, signed=True), anchor="end", size=10, opacity=0.7)
        for tick in (-most, 0.0, most)
    ]
    body.append(svg.text(_RIGHT, _BELOW - 3, "cosine of the gradients", anchor="end", size=10.5, opacity=0.7))
    return body + _drawn(one, line, "cosine", across, up, svg.PURPLE, "")


def _drawn(one: Watched, line: _Line, key: str, across: Steps, up: Heights, colour: str, dash: str) -> list[str]:
    if not line:
        return []
    places = [(across.x(step), up.y(value)) for _, step, value in _thinned(line)]
    body = [svg.path(places, colour=colour, width=1.8, dash=dash)] if len(places) > 1 else []
    i, step, value = line[-1]
    raw = number(entries(one.data.get(key))[i])
    title = f"{one.arm.name} on {one.label}, {key}: {plain(value, 3, signed=True)} at step {plain(step, 0)}"
    data = {"arm": one.arm.name, "key": f"warning.tasks.{one.label}.{key}.{i}", "value": repr(raw)}
    return [*body, svg.mark("circle", across.x(step), up.y(value), colour=colour, size=2.6, title=title, data=data)]


def _thinned(line: _Line) -> _Line:
    """About evenly over the logarithm of the step: as many early looks as late ones."""
    if len(line) <= POINTS:
        return line
    across = steps_axis(0.0, float(POINTS), [step for _, step, _ in line])
    kept = [line[0]]
    kept += [b for a, b in pairwise(line) if int(across.x(a[1])) != int(across.x(b[1]))]
    return kept if kept[-1] == line[-1] else [*kept, line[-1]]


def _doubling(across: Steps) -> list[float]:
    """Ticks where looks are too many to have one each."""
    steps = [across.first]
    while steps[-1] * 2 < across.last:
        steps.append(steps[-1] * 2)
    return steps


def entries(value: Any) -> Sequence[Any]:
    """A list, or nothing."""
    return value if isinstance(value, list | tuple) else ()
