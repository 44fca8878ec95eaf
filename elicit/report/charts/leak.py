"""Teaching leak: what every arm gains on a model that has the ability, and on one that never had it.

What an arm gains on the second cannot have been brought out; it was taught (or guessed at better).
"""

from __future__ import annotations

from elicit.report.charts import row_chart
from elicit.report.charts.row_chart import Chart, ChartColumn, ChartPoint, ChartRow
from elicit.report.data.number_format import format_interval, format_p_value, format_percent
from elicit.report.data.summary_view import Arm, ModelPanel, get_nested
from elicit.text import escape_html


def render_leak_chart(panel: ModelPanel) -> str:
    """One capable model's chart; empty where no arm was also run on an incapable one."""
    leak_arms = [
        arm for arm in panel.arms if arm.read_difference("leak").estimate.value is not None and arm.role != "ceiling"
    ]
    if not leak_arms:
        return ""
    values = [0.0]
    for arm in leak_arms:
        for estimate in (arm.read_difference("leak").estimate, arm.read_difference("vs_base").estimate):
            values += [bound for bound in (estimate.value, estimate.low, estimate.high) if bound is not None]
    span = max(max(values) - min(values), 0.01)
    incapable_models = ", ".join(
        dict.fromkeys(str(get_nested(arm.data, "leak", "model") or "an incapable model") for arm in leak_arms)
    )
    chart = Chart(
        rows=list(row_chart.group_by_family(panel, _build_leak_row, leak_arms)),
        low=min(values) - 0.03 * span,
        high=max(values) + 0.03 * span,
        format_tick=lambda tick: format_percent(tick, 0 if (100 * tick).is_integer() else 1, signed=True),
        columns=[
            ChartColumn("gain here", 790, narrow=False),
            ChartColumn(f"gain on {incapable_models[:24]} [95 %]", 980),
        ],
        zero_label="0 = base",
        axis_label="points over the base of the same model",
        plot=(250, 700),
    )
    label = f"Teaching leak: gain of every arm on {panel.model} and on {incapable_models}"
    caption = (
        f"Filled or hollow in colour: gain on {escape_html(panel.model)}. Bar |: gain of the same arm on "
        f"{escape_html(incapable_models)}, "
        "which never had the ability: whatever it gains there is taught, not brought out. Paired differences to each "
        "model's own base, 95 % intervals; p is not adjusted. Arms marked ✓ consult the verifier and are exempt."
    )
    return f"<figure>{row_chart.render_chart(chart, label=label)}<figcaption>{caption}</figcaption></figure>"


def _build_leak_row(arm: Arm) -> ChartRow:
    gain, leak = arm.read_difference("vs_base"), arm.read_difference("leak")
    leak_text = (
        f"{format_percent(leak.estimate.value, signed=True)} {format_interval(leak.estimate, signed=True)}".strip()
    )
    points = (
        ChartPoint(
            gain.estimate,
            arm,
            "vs_base",
            f"{arm.name}: {format_percent(gain.estimate.value, signed=True)} points here",
            hollow=arm.role == "control",
            faint=True,
        ),
        ChartPoint(
            leak.estimate,
            arm,
            "leak",
            f"{arm.name}: {leak_text} there; {leak.test}; p = {format_p_value(leak.p)}",
            shape="tick",
        ),
    )
    texts = (format_percent(gain.estimate.value, signed=True), leak_text)
    return ChartRow(
        "main" if arm.parent is None else "control",
        arm.short_name + (" ✓" if arm.verifier else ""),
        arm.name,
        points,
        texts,
    )
