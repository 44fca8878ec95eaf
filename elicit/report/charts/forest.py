"""The forest plot: every arm's paired difference to SFT, one panel a model, all on one scale.

Families of mechanism stand together, controls in small rows under their arm. The shaded band is the gap from the base
to the ceiling, where the summary does not withhold it. Without an SFT arm the differences are to the base, and the axis
says so. See `svg` for why it is drawn by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from elicit.report.charts import row_chart, svg
from elicit.report.charts.row_chart import Chart, Column, Point, Row
from elicit.report.data.number_format import counted, interval, p_value, percent
from elicit.report.data.summary_view import Arm, Panel, Versus, panels
from elicit.text import visible

Key = Literal["vs_sft", "vs_base"]
_PLOT = (330.0, 745.0)


def fragment(summary: Mapping[str, Any]) -> str:
    """The plot with its caption, for a notebook."""
    key = reference_of(summary)
    return (
        f'<figure style="margin:0;overflow-x:auto">{picture(summary)}<figcaption style="font-size:.85em;opacity:.8">'
        f"{caption(summary, key)}</figcaption></figure>"
    )


def standalone_svg(summary: Mapping[str, Any]) -> str:
    """The plot as a file of its own."""
    return svg.standalone(picture(summary, margin=18))


def reference_of(summary: Mapping[str, Any]) -> Key:
    """SFT where any arm has a difference to it, else the base."""
    arms = [arm for panel in panels(summary) for arm in panel.arms]
    return "vs_sft" if any(arm.versus("vs_sft").figure.value is not None for arm in arms) else "vs_base"


def caption(summary: Mapping[str, Any], key: Key) -> str:
    """What the intervals are, with n and seeds."""
    tests: dict[str, None] = {}
    for panel in panels(summary):
        tests.update({arm.versus(key).test: None for arm in panel.arms if arm.versus(key).test})
    known = ", ".join(visible(test) for test in tests) or "none"
    seeds = summary.get("seeds")
    limited = f" LIMITED to {summary['limit']} test problems." if summary.get("limit") is not None else ""
    return (
        f"Paired difference in accuracy to {'SFT' if key == 'vs_sft' else 'the base'}, in percentage points, with 95 % "
        f"intervals. Tests: {known}; p after Holm over the arms of a model. Run seeds: {seeds}; arms that do not "
        f"depend on a seed have one run.{limited} Shaded: from the base to the ceiling. Hollow: controls, under the "
        "arm they control."
    )


def picture(summary: Mapping[str, Any], margin: float = 0) -> str:
    """The SVG of all models."""
    found, key = panels(summary), reference_of(summary)
    scale = scale_of(found, key)
    y, body = margin, []
    for panel in found:
        drawn, y = row_chart.draw(_chart(panel, key, scale, titled=True), y)
        body += drawn
        y += 14
    if not found:
        y += 24
        body.append(svg.text(0, y, "The summary holds no model."))
    inner = f'<g transform="translate({margin:g} 0)">' + "".join(body) + "</g>" if margin else "".join(body)
    font = f' font-family="{svg.FONT}"'  # in a file or a notebook there is none to inherit
    return svg.svg(row_chart.WIDE + 2 * margin, y + margin, [inner], label=_label(key), style=font)


def figure(panel: Panel, key: Key, scale: tuple[float, float]) -> str:
    """One model's plot, for the page."""
    return row_chart.figure(_chart(panel, key, scale, titled=False), label=f"{_label(key)}, on {panel.model}")


def _label(key: Key) -> str:
    return f"Forest plot: paired difference to {'SFT' if key == 'vs_sft' else 'the base'} of every arm"


def scale_of(found: Sequence[Panel], key: Key) -> tuple[float, float]:
    """One scale for all panels, with some air, within -100 to 100 points."""
    values = [0.0]
    for panel in found:
        for arm in panel.arms:
            bounds = arm.versus(key).figure
            values += [bound for bound in (bounds.value, bounds.low, bounds.high) if bound is not None]
    low, high = min(values), max(values)
    air = max(0.04 * (high - low), 0.01)
    return max(low - air, -1.05), min(high + air, 1.05)


def _chart(panel: Panel, key: Key, scale: tuple[float, float], *, titled: bool) -> Chart:
    whom = "SFT" if key == "vs_sft" else "base"
    return Chart(
        rows=list(row_chart.grouped(panel, lambda arm: _row(arm, key))),
        low=scale[0],
        high=scale[1],
        write=_tick,
        columns=[
            Column("accuracy", 300, narrow=False),
            Column(f"points to {whom} [95 %]", 905),
            Column("Holm p", 980, narrow=False),
        ],
        zero=f"0 = {whom}",
        plot=_PLOT,
        shade=_band(panel, key),
        title=panel.model if titled else "",
        note=f"{panel.task}, n = {panel.n} problems",
    )


def _tick(value: float) -> str:
    return percent(value, 0 if (100 * value).is_integer() else 1, signed=True)


def _band(panel: Panel, key: Key) -> tuple[float, float] | None:
    """The gap from the base to the ceiling, where it is not withheld."""
    ceiling = next((arm for arm in panel.arms if panel.top is not None and arm.name == panel.top.get("arm")), None)
    if ceiling is None or panel.base is None or all(arm.gap.value is None for arm in panel.arms):
        return None
    high = ceiling.versus(key).figure.value
    low = panel.base.versus(key).figure.value if key == "vs_sft" else 0.0
    return None if low is None or high is None else (low, high)


def _row(arm: Arm, key: Key) -> Row:
    mark = " ✓" if arm.verifier else ""
    level = f"{percent(arm.accuracy.value)} %" if arm.accuracy.value is not None else "–"
    found = arm.versus(key)
    if arm.role == ("reference" if key == "vs_sft" else "base") and arm.accuracy.value is not None:
        points: tuple[Point, ...] = (Point(found.figure._replace(value=0.0, bounded=False), arm, "", f"{arm.name}: 0"),)
        texts = [level, "reference", ""]
    elif found.figure.value is None:
        points, texts = (), [level, arm.status if arm.status != "done" else "not known", ""]
    else:
        points = (Point(found.figure, arm, key, _tooltip(arm, found), hollow=arm.role == "control"),)
        shown = f"{percent(found.figure.value, signed=True)} {interval(found.figure, signed=True)}"
        texts = [level, shown.strip(), p_value(found.p_holm)]
    kind: Literal["main", "control"] = "main" if arm.parent is None else "control"
    title = f"{arm.name}: {arm.data.get('method')}{', consults the verifier' if arm.verifier else ''}"
    return Row(kind, arm.short + mark, title, points, tuple(texts))


def _tooltip(arm: Arm, found: Versus) -> str:
    seeds = " against ".join(str(count) for count in found.seeds)
    figure = found.figure
    return (
        f"{arm.name}: {percent(figure.value, signed=True)} points {interval(figure, signed=True)}; {found.test}; "
        f"{counted(figure)}; seeds {seeds}; p = {p_value(found.p)}, Holm {p_value(found.p_holm)}. {found.note}"
    ).strip()
