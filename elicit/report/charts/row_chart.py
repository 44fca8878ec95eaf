"""A chart of rows: one arm a row with its interval on a common scale, families as headings, controls under their arm.

The forest plot, the gap and the teaching leak are all drawn by it. Each is drawn for a desk (names, points and figures
side by side) and for a phone (a row of words above a row of points), because a scaled-down chart cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.families import MechanismFamily
from elicit.report.data.summary_view import Arm, ModelPanel, OptionalEstimate
from elicit.text import reveal_hidden

WIDE, NARROW = 980, 380
_CHARACTER_WIDTH = 6.3
"""Width of a character of 12 units, on average."""


class ChartPoint(NamedTuple):
    """One figure in a row."""

    figure: OptionalEstimate
    arm: Arm
    key: str
    """The path of the figure in the arm's summary, for `data-key`."""
    title: str
    hollow: bool = False
    faint: bool = False
    """Smaller, for what stands behind the main point."""
    shape: svg.MarkShape | None = None


class ChartRow(NamedTuple):
    kind: Literal["head", "main", "control"]
    label: str
    title: str = ""
    points: tuple[ChartPoint, ...] = ()
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


class ChartColumn(NamedTuple):
    """Words beside the points; on a phone only those of `narrow` are kept."""

    head: str
    x: float
    narrow: bool = True


class Chart(NamedTuple):
    rows: Sequence[ChartRow]
    low: float
    high: float
    format_tick: Callable[[float], str]
    """A tick's words."""
    columns: Sequence[ChartColumn] = ()
    rules: Sequence[Rule] = ()
    zero_label: str = ""
    """The name of 0."""
    axis_label: str = ""
    plot: tuple[float, float] = (330, 745)
    """From where to where the points are drawn at a desk."""
    shade: tuple[float, float] | None = None
    title: str = ""
    note: str = ""


class _Layout(NamedTuple):
    """Coordinates of one of the two drawings."""

    low: float
    high: float
    left: float
    right: float
    width: float
    narrow: bool

    def to_x(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.left + (inside - self.low) / max(self.high - self.low, 1e-9) * (self.right - self.left)

    def row_height(self, row: ChartRow) -> float:
        wide, narrow = {"head": (24, 26), "main": (23, 40), "control": (17, 34)}[row.kind]
        return narrow if self.narrow else wide


def group_by_family(
    panel: ModelPanel, build_row: Callable[[Arm], ChartRow], arms: Iterable[Arm] | None = None
) -> Iterator[ChartRow]:
    """Rows with a heading where a family begins."""
    last_family: MechanismFamily | None = None
    for arm in panel.arms if arms is None else arms:
        if last_family is None or arm.family.key != last_family.key:
            last_family = arm.family
            yield ChartRow("head", last_family.name, colour=last_family.colour)
        yield build_row(arm)


def draw_chart(chart: Chart, y: float = 0, *, narrow: bool = False) -> tuple[list[str], float]:
    """(marks, where the drawing ends) from the height `y` on."""
    left, right = (10, NARROW - 10) if narrow else chart.plot
    layout = _Layout(chart.low, chart.high, left, right, NARROW if narrow else WIDE, narrow)
    body: list[str] = []
    if chart.title:
        body.append(svg.draw_text(0, y + 14, _clip_label(chart.title, 46 if narrow else 60), size=14, weight=650))
        y += 20
    if chart.note:
        body.append(svg.draw_text(0, y + 10, _clip_label(chart.note, 60 if narrow else 120), size=11.5, opacity=0.7))
        y += 16
    heads, y = _draw_headings(chart, layout, y)
    top = y
    rows: list[str] = []
    spans: list[tuple[float, float]] = []
    for row in chart.rows:
        rows += _draw_chart_row(row, chart, layout, y)
        y += layout.row_height(row)
        if row.kind != "head":
            spans.append((y - 22, y))
    grid = _draw_chart_grid(chart, layout, top, y, spans if narrow else [(top, y)])
    return [*body, *heads, *grid, *rows], y + (34 if chart.axis_label else 20)


def render_chart_svg(chart: Chart, *, label: str, narrow: bool = False) -> str:
    """The chart as an SVG of its own."""
    body, height = draw_chart(chart, narrow=narrow)
    return svg.render_svg(NARROW if narrow else WIDE, height, body, label=label)


def render_chart(chart: Chart, *, label: str) -> str:
    """Both drawings, for a page."""
    return svg.wrap_wide_and_narrow(
        render_chart_svg(chart, label=label), render_chart_svg(chart, label=label, narrow=True)
    )


def _draw_headings(chart: Chart, layout: _Layout, y: float) -> tuple[list[str], float]:
    """Names of columns, of 0 and of rules; rules that would overlap take lines of their own."""
    body: list[str] = []
    levels: list[float] = []
    marks = [(layout.to_x(0), chart.zero_label)] if chart.zero_label else []
    marks += [(layout.to_x(rule.value), rule.label) for rule in chart.rules]
    for x, name in sorted(marks):
        half = len(name) * _CHARACTER_WIDTH / 2
        middle = min(max(x, layout.left - 30 + half if not layout.narrow else half), layout.right + 30 - half)
        if layout.narrow:
            middle = min(max(x, half), layout.width - half)
        level = next((i for i, end in enumerate(levels) if middle - half > end + 6), len(levels))
        if level == len(levels):
            levels.append(0.0)
        levels[level] = middle + half
        body.append(svg.draw_text(middle, y + 11 + 13 * level, name, anchor="middle", size=11, opacity=0.8))
    depth = 13 * max(len(levels), 1)
    if not layout.narrow:
        body += [
            svg.draw_text(column.x, y + depth - 2, column.head, anchor="end", size=11, opacity=0.7)
            for column in chart.columns
        ]
    return body, y + depth + 4


def _draw_chart_grid(
    chart: Chart, layout: _Layout, top: float, bottom: float, spans: Sequence[tuple[float, float]]
) -> list[str]:
    """Ticks, rules and the shade. On a phone lines leave out the rows of words."""
    body = []
    if chart.shade is not None:
        low, high = layout.to_x(chart.shade[0]), layout.to_x(chart.shade[1])
        body.append(svg.draw_rectangle(low, top, high - low, bottom - top, colour=svg.GREEN, opacity=0.09))
    for tick in svg.choose_ticks(chart.low, chart.high, 4 if layout.narrow else 6):
        x = layout.to_x(tick)
        body.append(svg.draw_vertical_line(x, spans, opacity=0.75 if tick == 0 else 0.13))
        body.append(svg.draw_text(x, bottom + 14, chart.format_tick(tick), anchor="middle", size=11, opacity=0.75))
    for rule in chart.rules:
        x = layout.to_x(rule.value)
        if rule.low is not None and rule.high is not None:
            low, high = layout.to_x(rule.low), layout.to_x(rule.high)
            body.append(svg.draw_rectangle(low, top, high - low, bottom - top, colour="currentColor", opacity=0.07))
        if layout.narrow:
            body.append(svg.draw_vertical_line(x, spans, opacity=0.6))
            continue
        body.append(
            svg.draw_line(x, top - 3, x, bottom, width=1.3, opacity=0.8, dash="5 3", title=rule.title, data=rule.data)
        )
    if chart.axis_label:
        middle = (layout.left + layout.right) / 2
        body.append(svg.draw_text(middle, bottom + 29, chart.axis_label, anchor="middle", size=11.5, opacity=0.75))
    return body


def _draw_chart_row(row: ChartRow, chart: Chart, layout: _Layout, y: float) -> list[str]:
    height = layout.row_height(row)
    if row.kind == "head":
        return [svg.draw_text(0, y + height - 6, row.label, size=11, weight=650, colour=row.colour)]
    control = row.kind == "control"
    size, inset = (11, 16) if control else (12, 0)
    text_y = y + (13 if layout.narrow else height / 2 + 4)
    mark_y = y + (height - 11 if layout.narrow else height / 2)
    visible_texts = [
        (column, text)
        for column, text in zip(chart.columns, row.texts, strict=False)
        if text and (column.narrow or not layout.narrow)
    ]
    room = 46 if not layout.narrow else max(10, 58 - sum(len(text) + 2 for _, text in visible_texts))
    limit = min(room, int((layout.left - inset - 8) / (size * 0.53)) if not layout.narrow else room)
    if not layout.narrow and chart.columns and chart.columns[0].x < layout.left:
        limit = int((chart.columns[0].x - 90 - inset) / (size * 0.53))
    body = [
        svg.draw_text(
            inset, text_y, _clip_label(row.label, limit), size=size, opacity=0.85 if control else 1, title=row.title
        )
    ]
    if layout.narrow:
        joined_text = " · ".join(text for _, text in visible_texts)
        body.append(svg.draw_text(layout.width, text_y, joined_text, anchor="end", size=size - 0.5))
    else:
        body += [svg.draw_text(column.x, text_y, text, anchor="end", size=size) for column, text in visible_texts]
    for point in row.points:
        body += _draw_chart_point(point, layout, mark_y, control=control)
    return body


def _draw_chart_point(point: ChartPoint, layout: _Layout, y: float, *, control: bool) -> list[str]:
    estimate, colour = point.figure, point.arm.family.colour
    if estimate.value is None:
        return []
    if control and point.arm.role == "control":
        colour = svg.GREY
    body: list[str] = []
    is_small = control or point.faint
    if estimate.bounded:
        low = layout.to_x(layout.low if estimate.low is None else estimate.low)
        high = layout.to_x(layout.high if estimate.high is None else estimate.high)
        cap, width, opacity = (2.5, 1.3, 0.8) if is_small else (4, 2, 1)
        body.append(svg.draw_whisker(low, high, y, cap=cap, colour=colour, width=width, opacity=opacity))
    body.append(
        svg.draw_mark(
            point.shape or point.arm.family.shape,
            layout.to_x(estimate.value),
            y,
            colour=colour,
            size=3.8 if is_small else 5,
            title="" if layout.narrow else point.title,  # a phone has no pointer to hover with
            hollow=point.hollow,
            data=None if layout.narrow else {"arm": point.arm.name, "key": point.key, "value": repr(estimate.value)},
        )
    )
    return body


def _clip_label(name: str, limit: int) -> str:
    text = reveal_hidden(name)
    return text if len(text) <= limit else text[: max(1, limit - 1)] + "…"
