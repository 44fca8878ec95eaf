"""The gap recovered by every arm, with its controls and every ceiling that was measured, on one scale.

0 is the base and 1 the ceiling that gaps are measured to. The other ceilings (the base's pass@K, a reference) stand
where their accuracy lies on that scale; their bands are the intervals of their own levels. Where the summary withholds
the gap, points over the base are drawn instead, and the figure says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from elicit.report.charts import row_chart
from elicit.report.charts.row_chart import Chart, Column, Point, Row, Rule
from elicit.report.data.number_format import ceiling_name, counted, fraction, interval, percent, plain
from elicit.report.data.summary_view import Arm, Figure, Panel, estimate
from elicit.text import escape


class _Measure(NamedTuple):
    """What the x axis is."""

    key: str
    figure: Callable[[Arm], Figure]
    level: Callable[[float], float]
    """An accuracy on this axis."""
    write: Callable[[Figure], str]
    tick: Callable[[float], str]
    axis: str


def figure(panel: Panel) -> str:
    """One model's chart with a note; a sentence where nothing can be drawn."""
    measure = _measure(panel)
    if measure is None:
        return "<p>Without the base there is no gap to recover.</p>"
    shown = [arm for arm in panel.arms if arm.role not in ("base", "ceiling") and _root(panel, arm).role != "ceiling"]
    rules = _rules(panel, measure)
    values = [0.0, *(rule.value for rule in rules)]
    for arm in shown:
        found = measure.figure(arm)
        values += [bound for bound in (found.value, found.low, found.high) if bound is not None]
    span = max(values) - min(values)
    chart = Chart(
        rows=list(row_chart.grouped(panel, lambda arm: _row(arm, measure), shown)),
        low=max(min(values) - 0.03 * span - 0.005, -1.0),
        high=min(max(values) + 0.03 * span + 0.005, 2.0),
        write=measure.tick,
        columns=[Column(measure.axis.split(",")[0] + " [95 %]", 980)],
        rules=rules,
        zero="base",
        axis=measure.axis,
        plot=(250, 805),
    )
    label = f"{measure.axis} of every arm on {panel.model}, with its controls and the ceilings"
    return f"<figure>{row_chart.figure(chart, label=label)}{_note(panel, measure)}</figure>"


def _root(panel: Panel, arm: Arm) -> Arm:
    """The arm that a control, or a control's control, comes from."""
    known = {one.name: one for one in panel.arms}
    while arm.parent is not None:
        arm = known[arm.parent]
    return arm


def _measure(panel: Panel) -> _Measure | None:
    base = panel.base
    if base is None or base.accuracy.value is None:
        return None
    low, top = base.accuracy.value, panel.top
    high = None if top is None else estimate(top).value
    if high is not None and high > low and any(arm.gap.value is not None for arm in panel.arms):
        named = "" if top is None else f", 1 = {ceiling_name(top)}"
        return _Measure(
            "gap_recovered",
            lambda arm: arm.gap,
            lambda level: (level - low) / (high - low),
            fraction,
            lambda tick: plain(tick, 1 if (10 * tick).is_integer() else 2),
            f"gap recovered, 0 = base{named}",
        )
    return _Measure(
        "vs_base",
        lambda arm: arm.versus("vs_base").figure,
        lambda level: level - low,
        lambda figure: f"{percent(figure.value, signed=True)} {interval(figure, signed=True)}".strip(),
        lambda tick: percent(tick, 0 if (100 * tick).is_integer() else 1, signed=True),
        "points over the base, no gap",
    )


def _rules(panel: Panel, measure: _Measure) -> list[Rule]:
    """Every ceiling on this axis."""
    found = []
    for i, ceiling in enumerate(panel.ceilings):
        level = estimate(ceiling)
        if level.value is None:
            continue
        low, high = (None if bound is None else measure.level(bound) for bound in (level.low, level.high))
        name = ceiling_name(ceiling)
        title = f"ceiling: {name}, {percent(level.value)} % {interval(level)}, {counted(level)}"
        data = {"arm": str(ceiling.get("arm") or ""), "key": f"ceilings.{i}", "value": repr(level.value)}
        found.append(Rule(measure.level(level.value), f"{name} {percent(level.value, 0)} %", low, high, title, data))
    return found


def _row(arm: Arm, measure: _Measure) -> Row:
    found = measure.figure(arm)
    title = f"{arm.name}: {measure.write(found)}, {counted(found)}"
    points = (Point(found, arm, measure.key, title, hollow=arm.role == "control"),) if found.value is not None else ()
    text = measure.write(found) if found.value is not None else arm.status if arm.status != "done" else "not known"
    return Row(
        "main" if arm.parent is None else "control",
        arm.short + (" ✓" if arm.verifier else ""),
        arm.name,
        points,
        (text,),
    )


def _note(panel: Panel, measure: _Measure) -> str:
    parts = ["Bars: 95 % intervals. Hollow: controls, under the arm they control."]
    if measure.key != "gap_recovered":
        parts.insert(
            0, "The gap is withheld: the ceiling does not clearly exceed the base, so a share of it would mean nothing."
        )
    elif panel.ceilings:
        parts.append("Dashed: ceilings with the intervals of their levels.")
    if not panel.ceilings:
        parts.append("No ceiling was measured.")
    if any(arm.verifier for arm in panel.arms):
        parts.append("✓ consults the verifier while answering: no rival of the others.")
    return f"<figcaption>{escape(' '.join(parts))}</figcaption>"
