"""The forest plot: every arm's paired difference to SFT, one panel a model, all on one scale.

Families of mechanism stand together, controls in small rows under their arm. The shaded band is the gap from the base
to the ceiling, where the summary does not withhold it. Without an SFT arm the differences are to the base, and the axis
says so. See `svg` for why it is drawn by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from elicit.report.charts import row_chart, svg
from elicit.report.charts.row_chart import Chart, ChartColumn, ChartPoint, ChartRow
from elicit.report.data.number_format import format_interval, format_p_value, format_percent, format_sample_size
from elicit.report.data.summary_view import Arm, ModelPanel, PairedDifference, read_panels
from elicit.text import reveal_hidden

ReferenceKey = Literal["vs_sft", "vs_base"]
_PLOT_RANGE = (330.0, 745.0)


def render_forest_fragment(summary: Mapping[str, Any]) -> str:
    """The plot with its caption, for a notebook."""
    key = choose_reference(summary)
    return (
        f'<figure style="margin:0;overflow-x:auto">{render_forest_svg(summary)}<figcaption '
        'style="font-size:.85em;opacity:.8">'
        f"{write_forest_caption(summary, key)}</figcaption></figure>"
    )


def render_forest_file(summary: Mapping[str, Any]) -> str:
    """The plot as a file of its own."""
    return svg.to_standalone_file(render_forest_svg(summary, margin=18))


def choose_reference(summary: Mapping[str, Any]) -> ReferenceKey:
    """SFT where any arm has a difference to it, else the base."""
    arms = [arm for panel in read_panels(summary) for arm in panel.arms]
    return "vs_sft" if any(arm.read_difference("vs_sft").estimate.value is not None for arm in arms) else "vs_base"


def write_forest_caption(summary: Mapping[str, Any], key: ReferenceKey) -> str:
    """The caption: kind of interval, tests and seeds."""
    tests: dict[str, None] = {}
    for panel in read_panels(summary):
        tests.update({arm.read_difference(key).test: None for arm in panel.arms if arm.read_difference(key).test})
    test_names = ", ".join(reveal_hidden(test) for test in tests) or "none"
    seeds = summary.get("seeds")
    limit_note = f" LIMITED to {summary['limit']} test problems." if summary.get("limit") is not None else ""
    return (
        f"Paired difference in accuracy to {'SFT' if key == 'vs_sft' else 'the base'}, in percentage points, with 95 % "
        f"intervals. Tests: {test_names}; p after Holm over all that a model's verdict compares. Run seeds: {seeds}; "
        f"arms that do not depend on a seed have one run.{limit_note} Shaded: from the base to the ceiling. Hollow: "
        "controls, under the arm they control."
    )


def render_forest_svg(summary: Mapping[str, Any], margin: float = 0) -> str:
    """The SVG of all models."""
    model_panels, key = read_panels(summary), choose_reference(summary)
    scale = compute_forest_scale(model_panels, key)
    y, body = margin, []
    for panel in model_panels:
        marks, y = row_chart.draw_chart(_build_forest_chart(panel, key, scale, titled=True), y)
        body += marks
        y += 14
    if not model_panels:
        y += 24
        body.append(svg.draw_text(0, y, "The summary holds no model."))
    inner = f'<g transform="translate({margin:g} 0)">' + "".join(body) + "</g>" if margin else "".join(body)
    font = f' font-family="{svg.FONT}"'  # in a file or a notebook there is none to inherit
    return svg.render_svg(row_chart.WIDE + 2 * margin, y + margin, [inner], label=_describe_forest(key), style=font)


def render_forest(panel: ModelPanel, key: ReferenceKey, scale: tuple[float, float]) -> str:
    """One model's plot, for the page."""
    return row_chart.render_chart(
        _build_forest_chart(panel, key, scale, titled=False), label=f"{_describe_forest(key)}, on {panel.model}"
    )


def _describe_forest(key: ReferenceKey) -> str:
    return f"Forest plot: paired difference to {'SFT' if key == 'vs_sft' else 'the base'} of every arm"


def compute_forest_scale(model_panels: Sequence[ModelPanel], key: ReferenceKey) -> tuple[float, float]:
    """One scale for all panels, with some air, within -100 to 100 points."""
    values = [0.0]
    for panel in model_panels:
        for arm in panel.arms:
            estimate = arm.read_difference(key).estimate
            values += [bound for bound in (estimate.value, estimate.low, estimate.high) if bound is not None]
    low, high = min(values), max(values)
    margin = max(0.04 * (high - low), 0.01)
    return max(low - margin, -1.05), min(high + margin, 1.05)


def _build_forest_chart(panel: ModelPanel, key: ReferenceKey, scale: tuple[float, float], *, titled: bool) -> Chart:
    reference_name = "SFT" if key == "vs_sft" else "base"
    return Chart(
        rows=list(row_chart.group_by_family(panel, lambda arm: _build_forest_row(arm, key))),
        low=scale[0],
        high=scale[1],
        format_tick=_format_points_tick,
        columns=[
            ChartColumn("accuracy", 300, narrow=False),
            ChartColumn(f"points to {reference_name} [95 %]", 905),
            ChartColumn("Holm p", 980, narrow=False),
        ],
        zero_label=f"0 = {reference_name}",
        plot=_PLOT_RANGE,
        shade=_compute_gap_band(panel, key),
        title=panel.model if titled else "",
        note=f"{panel.task}, n = {panel.n} problems",
    )


def _format_points_tick(value: float) -> str:
    return format_percent(value, 0 if (100 * value).is_integer() else 1, signed=True)


def _compute_gap_band(panel: ModelPanel, key: ReferenceKey) -> tuple[float, float] | None:
    """The gap from the base to the ceiling, where it is not withheld."""
    ceiling = next(
        (arm for arm in panel.arms if panel.main_ceiling is not None and arm.name == panel.main_ceiling.get("arm")),
        None,
    )
    if ceiling is None or panel.base is None or all(arm.gap.value is None for arm in panel.arms):
        return None
    high = ceiling.read_difference(key).estimate.value
    low = panel.base.read_difference(key).estimate.value if key == "vs_sft" else 0.0
    return None if low is None or high is None else (low, high)


def _build_forest_row(arm: Arm, key: ReferenceKey) -> ChartRow:
    verifier_mark = " ✓" if arm.verifier else ""
    accuracy_text = f"{format_percent(arm.accuracy.value)} %" if arm.accuracy.value is not None else "–"
    difference = arm.read_difference(key)
    if arm.role == ("reference" if key == "vs_sft" else "base") and arm.accuracy.value is not None:
        points: tuple[ChartPoint, ...] = (
            ChartPoint(difference.estimate._replace(value=0.0, bounded=False), arm, "", f"{arm.name}: 0"),
        )
        texts = [accuracy_text, "reference", ""]
    elif difference.estimate.value is None:
        points, texts = (), [accuracy_text, arm.status if arm.status != "done" else "not known", ""]
    else:
        points = (
            ChartPoint(difference.estimate, arm, key, _format_tooltip(arm, difference), hollow=arm.role == "control"),
        )
        difference_text = (
            f"{format_percent(difference.estimate.value, signed=True)} "
            f"{format_interval(difference.estimate, signed=True)}"
        )
        texts = [accuracy_text, difference_text.strip(), format_p_value(difference.p_holm)]
    kind: Literal["main", "control"] = "main" if arm.parent is None else "control"
    title = f"{arm.name}: {arm.data.get('method')}{', consults the verifier' if arm.verifier else ''}"
    return ChartRow(kind, arm.short_name + verifier_mark, title, points, tuple(texts))


def _format_tooltip(arm: Arm, difference: PairedDifference) -> str:
    seeds = " against ".join(str(count) for count in difference.seeds)
    estimate = difference.estimate
    return (
        f"{arm.name}: {format_percent(estimate.value, signed=True)} points {format_interval(estimate, signed=True)}; "
        f"{difference.test}; "
        f"{format_sample_size(estimate)}; seeds {seeds}; p = {format_p_value(difference.p)}, Holm "
        f"{format_p_value(difference.p_holm)}. {difference.note}"
    ).strip()
