"""A chart of rows: one arm a row with its interval on a common scale, families as headings, controls under their arm.

The forest plot, the gap and the teaching leak are all drawn by it. Each is drawn for a desk (names, points and figures
side by side) and for a phone (a row of words above a row of points), because a scaled-down chart cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.families import Family
from elicit.report.data.summary_view import Arm, Figure, Panel
from elicit.text import visible

WIDE, NARROW = 980, 380
_CHARACTER = 6.3
"""Width of a character of 12 units, on average."""


class Point(NamedTuple):
    """One figure in a row."""

    figure: Figure
    arm: Arm
    key: str
    """Where the figure stands in the arm's summary, for `data-key`."""
    title: str
    hollow: bool = False
    faint: bool = False
    """Smaller, for what stands behind the main point."""
    shape: svg.Mark | None = None


class Row(NamedTuple):
    kind: Literal["head", "main", "control"]
    label: str
    title: str = ""
    points: tuple[Point, ...] = ()
    texts: tuple[str, ...] = ()
    """One for each column."""
    colour: str = "currentColor"


class Rule(NamedTuple):
    """A vertical line with a name: a ceiling."""

    value: float
    label: str
    low: float | None = None
    high: float | None = None
    title: str = ""
    data: Mapping[str, object] = {}


class Column(NamedTuple):
    """Words beside the points; on a phone only those of `narrow` are kept."""

    head: str
    x: float
    narrow: bool = True


class Chart(NamedTuple):
    rows: Sequence[Row]
    low: float
    high: float
    write: Callable[[float], str]
    """A tick's words."""
    columns: Sequence[Column] = ()
    rules: Sequence[Rule] = ()
    zero: str = ""
    """What 0 is."""
    axis: str = ""
    plot: tuple[float, float] = (330, 745)
    """From where to where the points are drawn at a desk."""
    shade: tuple[float, float] | None = None
    title: str = ""
    note: str = ""


class _Place(NamedTuple):
    """Where things are in one of the two drawings."""

    low: float
    high: float
    left: float
    right: float
    width: float
    narrow: bool

    def x(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.left + (inside - self.low) / max(self.high - self.low, 1e-9) * (self.right - self.left)

    def height(self, row: Row) -> float:
        wide, narrow = {"head": (24, 26), "main": (23, 40), "control": (17, 34)}[row.kind]
        return narrow if self.narrow else wide


def grouped(panel: Panel, row: Callable[[Arm], Row], arms: Iterable[Arm] | None = None) -> Iterator[Row]:
    """Rows with a heading where a family begins."""
    last: Family | None = None
    for arm in panel.arms if arms is None else arms:
        if last is None or arm.family.key != last.key:
            last = arm.family
            yield Row("head", last.name, colour=last.colour)
        yield row(arm)


def draw(chart: Chart, y: float = 0, *, narrow: bool = False) -> tuple[list[str], float]:
    """(marks, where the drawing ends) from the height `y` on."""
    left, right = (10, NARROW - 10) if narrow else chart.plot
    place = _Place(chart.low, chart.high, left, right, NARROW if narrow else WIDE, narrow)
    body: list[str] = []
    if chart.title:
        body.append(svg.text(0, y + 14, _clip(chart.title, 46 if narrow else 60), size=14, weight=650))
        y += 20
    if chart.note:
        body.append(svg.text(0, y + 10, _clip(chart.note, 60 if narrow else 120), size=11.5, opacity=0.7))
        y += 16
    heads, y = _heads(chart, place, y)
    top = y
    rows: list[str] = []
    spans: list[tuple[float, float]] = []
    for row in chart.rows:
        rows += _row(row, chart, place, y)
        y += place.height(row)
        if row.kind != "head":
            spans.append((y - 22, y))
    grid = _grid(chart, place, top, y, spans if narrow else [(top, y)])
    return [*body, *heads, *grid, *rows], y + (34 if chart.axis else 20)


def picture(chart: Chart, *, label: str, narrow: bool = False) -> str:
    """The chart as an SVG of its own."""
    body, height = draw(chart, narrow=narrow)
    return svg.svg(NARROW if narrow else WIDE, height, body, label=label)


def figure(chart: Chart, *, label: str) -> str:
    """Both drawings, for a page."""
    return svg.both(picture(chart, label=label), picture(chart, label=label, narrow=True))


def _heads(chart: Chart, place: _Place, y: float) -> tuple[list[str], float]:
    """Names of columns, of 0 and of rules; rules that would overlap take lines of their own."""
    body: list[str] = []
    levels: list[float] = []
    marks = [(place.x(0), chart.zero)] if chart.zero else []
    marks += [(place.x(rule.value), rule.label) for rule in chart.rules]
    for x, name in sorted(marks):
        half = len(name) * _CHARACTER / 2
        middle = min(max(x, place.left - 30 + half if not place.narrow else half), place.right + 30 - half)
        if place.narrow:
            middle = min(max(x, half), place.width - half)
        level = next((i for i, end in enumerate(levels) if middle - half > end + 6), len(levels))
        if level == len(levels):
            levels.append(0.0)
        levels[level] = middle + half
        body.append(svg.text(middle, y + 11 + 13 * level, name, anchor="middle", size=11, opacity=0.8))
    depth = 13 * max(len(levels), 1)
    if not place.narrow:
        body += [
            svg.text(column.x, y + depth - 2, column.head, anchor="end", size=11, opacity=0.7)
            for column in chart.columns
        ]
    return body, y + depth + 4


def _grid(chart: Chart, place: _Place, top: float, bottom: float, spans: Sequence[tuple[float, float]]) -> list[str]:
    """Ticks, rules and the shade. On a phone lines leave out the rows of words."""
    body = []
    if chart.shade is not None:
        low, high = place.x(chart.shade[0]), place.x(chart.shade[1])
        body.append(svg.box(low, top, high - low, bottom - top, colour=svg.GREEN, opacity=0.09))
    for tick in svg.ticks(chart.low, chart.high, 4 if place.narrow else 6):
        x = place.x(tick)
        body.append(svg.uprights(x, spans, opacity=0.75 if tick == 0 else 0.13))
        body.append(svg.text(x, bottom + 14, chart.write(tick), anchor="middle", size=11, opacity=0.75))
    for rule in chart.rules:
        x = place.x(rule.value)
        if rule.low is not None and rule.high is not None:
            low, high = place.x(rule.low), place.x(rule.high)
            body.append(svg.box(low, top, high - low, bottom - top, colour="currentColor", opacity=0.07))
        if place.narrow:
            body.append(svg.uprights(x, spans, opacity=0.6))
            continue
        body.append(
            svg.line(x, top - 3, x, bottom, width=1.3, opacity=0.8, dash="5 3", title=rule.title, data=rule.data)
        )
    if chart.axis:
        middle = (place.left + place.right) / 2
        body.append(svg.text(middle, bottom + 29, chart.axis, anchor="middle", size=11.5, opacity=0.75))
    return body


def _row(row: Row, chart: Chart, place: _Place, y: float) -> list[str]:
    height = place.height(row)
    if row.kind == "head":
        return [svg.text(0, y + height - 6, row.label, size=11, weight=650, colour=row.colour)]
    control = row.kind == "control"
    size, inset = (11, 16) if control else (12, 0)
    words = y + (13 if place.narrow else height / 2 + 4)
    points = y + (height - 11 if place.narrow else height / 2)
    kept = [
        (column, text)
        for column, text in zip(chart.columns, row.texts, strict=False)
        if text and (column.narrow or not place.narrow)
    ]
    room = 46 if not place.narrow else max(10, 58 - sum(len(text) + 2 for _, text in kept))
    limit = min(room, int((place.left - inset - 8) / (size * 0.53)) if not place.narrow else room)
    if not place.narrow and chart.columns and chart.columns[0].x < place.left:
        limit = int((chart.columns[0].x - 90 - inset) / (size * 0.53))
    body = [svg.text(inset, words, _clip(row.label, limit), size=size, opacity=0.85 if control else 1, title=row.title)]
    if place.narrow:
        spoken = " · ".join(text for _, text in kept)
        body.append(svg.text(place.width, words, spoken, anchor="end", size=size - 0.5))
    else:
        body += [svg.text(column.x, words, text, anchor="end", size=size) for column, text in kept]
    for point in row.points:
        body += _point(point, place, points, control=control)
    return body


def _point(point: Point, place: _Place, y: float, *, control: bool) -> list[str]:
    figure, colour = point.figure, point.arm.family.colour
    if figure.value is None:
        return []
    if control and point.arm.role == "control":
        colour = svg.GREY
    body: list[str] = []
    behind = control or point.faint
    if figure.bounded:
        low = place.x(place.low if figure.low is None else figure.low)
        high = place.x(place.high if figure.high is None else figure.high)
        cap, width, opacity = (2.5, 1.3, 0.8) if behind else (4, 2, 1)
        body.append(svg.whisker(low, high, y, cap=cap, colour=colour, width=width, opacity=opacity))
    body.append(
        svg.mark(
            point.shape or point.arm.family.shape,
            place.x(figure.value),
            y,
            colour=colour,
            size=3.8 if behind else 5,
            title="" if place.narrow else point.title,  # a phone has no pointer to hover with
            hollow=point.hollow,
            data=None if place.narrow else {"arm": point.arm.name, "key": point.key, "value": repr(figure.value)},
        )
    )
    return body


def _clip(name: str, limit: int) -> str:
    shown = visible(name)
    return shown if len(shown) <= limit else shown[: max(1, limit - 1)] + "…"
