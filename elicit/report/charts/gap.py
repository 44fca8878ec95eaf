"""The gap recovered by every arm, with its controls and every ceiling that was measured, on one scale.

0 is the base and 1 the ceiling that gaps are measured to. The other ceilings (the base's pass@K, a reference) stand
where their accuracy lies on that scale; their bands are the intervals of their own levels. Where the summary withholds
the gap, points over the base are drawn instead, and the figure says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from elicit.report.charts import row_chart
from elicit.report.charts.row_chart import Chart, ChartColumn, ChartPoint, ChartRow, Rule
from elicit.report.data.number_format import (
    format_fraction,
    format_interval,
    format_number,
    format_percent,
    format_sample_size,
    name_ceiling,
)
from elicit.report.data.summary_view import Arm, ModelPanel, OptionalEstimate, parse_estimate
from elicit.text import escape_html


class _GapAxis(NamedTuple):
    """The quantity on the x axis."""

    key: str
    get_estimate: Callable[[Arm], OptionalEstimate]
    place_accuracy: Callable[[float], float]
    """An accuracy on this axis."""
    format_estimate: Callable[[OptionalEstimate], str]
    format_tick: Callable[[float], str]
    label: str


def render_gap_chart(panel: ModelPanel) -> str:
    """One model's chart with a note; a sentence where nothing can be drawn."""
    gap_axis = _choose_gap_axis(panel)
    if gap_axis is None:
        return "<p>Without the base, the gap is not known.</p>"
    chart_arms = [
        arm
        for arm in panel.arms
        if arm.role not in ("base", "ceiling") and _find_root_arm(panel, arm).role != "ceiling"
    ]
    rules = _build_ceiling_rules(panel, gap_axis)
    values = [0.0, *(rule.value for rule in rules)]
    for arm in chart_arms:
        result = gap_axis.get_estimate(arm)
        values += [bound for bound in (result.value, result.low, result.high) if bound is not None]
    span = max(values) - min(values)
    chart = Chart(
        rows=list(row_chart.group_by_family(panel, lambda arm: _build_gap_row(arm, gap_axis), chart_arms)),
        low=max(min(values) - 0.03 * span - 0.005, -1.0),
        high=min(max(values) + 0.03 * span + 0.005, 2.0),
        format_tick=gap_axis.format_tick,
        columns=[ChartColumn(gap_axis.label.split(",")[0] + " [95 %]", 980)],
        rules=rules,
        zero_label="base",
        axis_label=gap_axis.label,
        plot=(250, 805),
    )
    label = f"{gap_axis.label} of every arm on {panel.model}, with its controls and the ceilings"
    return f"<figure>{row_chart.render_chart(chart, label=label)}{_write_gap_note(panel, gap_axis)}</figure>"


def _find_root_arm(panel: ModelPanel, arm: Arm) -> Arm:
    """The arm that a control, or a control's control, comes from."""
    arms_by_name = {candidate.name: candidate for candidate in panel.arms}
    while arm.parent is not None:
        arm = arms_by_name[arm.parent]
    return arm


def _choose_gap_axis(panel: ModelPanel) -> _GapAxis | None:
    base = panel.base
    if base is None or base.accuracy.value is None:
        return None
    low, top = base.accuracy.value, panel.main_ceiling
    high = None if top is None else parse_estimate(top).value
    if high is not None and high > low and any(arm.gap.value is not None for arm in panel.arms):
        ceiling_label = "" if top is None else f", 1 = {name_ceiling(top)}"
        return _GapAxis(
            "gap_recovered",
            lambda arm: arm.gap,
            lambda level: (level - low) / (high - low),
            format_fraction,
            lambda tick: format_number(tick, 1 if (10 * tick).is_integer() else 2),
            f"gap recovered, 0 = base{ceiling_label}",
        )
    return _GapAxis(
        "vs_base",
        lambda arm: arm.read_difference("vs_base").estimate,
        lambda level: level - low,
        lambda figure: f"{format_percent(figure.value, signed=True)} {format_interval(figure, signed=True)}".strip(),
        lambda tick: format_percent(tick, 0 if (100 * tick).is_integer() else 1, signed=True),
        "points over the base, no gap",
    )


def _build_ceiling_rules(panel: ModelPanel, gap_axis: _GapAxis) -> list[Rule]:
    """Every ceiling on this axis."""
    rules = []
    for i, ceiling in enumerate(panel.ceilings):
        level = parse_estimate(ceiling)
        if level.value is None:
            continue
        low, high = (None if bound is None else gap_axis.place_accuracy(bound) for bound in (level.low, level.high))
        name = name_ceiling(ceiling)
        title = (
            f"ceiling: {name}, {format_percent(level.value)} % {format_interval(level)}, {format_sample_size(level)}"
        )
        data = {"arm": str(ceiling.get("arm") or ""), "key": f"ceilings.{i}", "value": repr(level.value)}
        rules.append(
            Rule(
                gap_axis.place_accuracy(level.value),
                f"{name} {format_percent(level.value, 0)} %",
                low,
                high,
                title,
                data,
            )
        )
    return rules


def _build_gap_row(arm: Arm, gap_axis: _GapAxis) -> ChartRow:
    result = gap_axis.get_estimate(arm)
    title = f"{arm.name}: {gap_axis.format_estimate(result)}, {format_sample_size(result)}"
    points = (
        (ChartPoint(result, arm, gap_axis.key, title, hollow=arm.role == "control"),)
        if result.value is not None
        else ()
    )
    text = (
        gap_axis.format_estimate(result)
        if result.value is not None
        else arm.status
        if arm.status != "done"
        else "not known"
    )
    return ChartRow(
        "main" if arm.parent is None else "control",
        arm.short_name + (" ✓" if arm.verifier else ""),
        arm.name,
        points,
        (text,),
    )


def _write_gap_note(panel: ModelPanel, gap_axis: _GapAxis) -> str:
    parts = ["Bars: 95 % intervals. Hollow: controls, under the arm they control."]
    if gap_axis.key != "gap_recovered":
        parts.insert(
            0, "The gap is withheld: the ceiling does not clearly exceed the base, so a share of it would mean nothing."
        )
    elif panel.ceilings:
        parts.append("Dashed: ceilings with the intervals of their levels.")
    if not panel.ceilings:
        parts.append("No ceiling was measured.")
    if any(arm.verifier for arm in panel.arms):
        parts.append("✓ consults the verifier while answering, so it is not compared with the others.")
    return f"<figcaption>{escape_html(' '.join(parts))}</figcaption>"
