"""Teaching leak: what every arm gains on a model that has the ability, and on one that never had it.

What an arm gains on the second cannot have been brought out; it was taught (or guessed at better).
"""

from __future__ import annotations

from elicit.report.charts import row_chart
from elicit.report.charts.row_chart import Chart, Column, Point, Row
from elicit.report.data.number_format import interval, p_value, percent
from elicit.report.data.summary_view import Arm, Panel, dig
from elicit.text import escape


def figure(panel: Panel) -> str:
    """One capable model's chart; empty where no arm was also run on an incapable one."""
    shown = [arm for arm in panel.arms if arm.versus("leak").figure.value is not None and arm.role != "ceiling"]
    if not shown:
        return ""
    values = [0.0]
    for arm in shown:
        for found in (arm.versus("leak").figure, arm.versus("vs_base").figure):
            values += [bound for bound in (found.value, found.low, found.high) if bound is not None]
    span = max(max(values) - min(values), 0.01)
    where = ", ".join(dict.fromkeys(str(dig(arm.data, "leak", "model") or "an incapable model") for arm in shown))
    chart = Chart(
        rows=list(row_chart.grouped(panel, _row, shown)),
        low=min(values) - 0.03 * span,
        high=max(values) + 0.03 * span,
        write=lambda tick: percent(tick, 0 if (100 * tick).is_integer() else 1, signed=True),
        columns=[Column("gain here", 790, narrow=False), Column(f"gain on {where[:24]} [95 %]", 980)],
        zero="0 = base",
        axis="points over the base of the same model",
        plot=(250, 700),
    )
    label = f"Teaching leak: gain of every arm on {panel.model} and on {where}"
    caption = (
        f"Filled or hollow in colour: gain on {escape(panel.model)}. Bar |: gain of the same arm on {escape(where)}, "
        "which never had the ability: whatever it gains there is taught, not brought out. Paired differences to each "
        "model's own base, 95 % intervals; p is not adjusted. Arms marked ✓ consult the verifier and are exempt."
    )
    return f"<figure>{row_chart.figure(chart, label=label)}<figcaption>{caption}</figcaption></figure>"


def _row(arm: Arm) -> Row:
    here, there = arm.versus("vs_base"), arm.versus("leak")
    leaked = f"{percent(there.figure.value, signed=True)} {interval(there.figure, signed=True)}".strip()
    points = (
        Point(
            here.figure,
            arm,
            "vs_base",
            f"{arm.name}: {percent(here.figure.value, signed=True)} points here",
            hollow=arm.role == "control",
            faint=True,
        ),
        Point(
            there.figure, arm, "leak", f"{arm.name}: {leaked} there; {there.test}; p = {p_value(there.p)}", shape="tick"
        ),
    )
    texts = (percent(here.figure.value, signed=True), leaked)
    return Row(
        "main" if arm.parent is None else "control", arm.short + (" ✓" if arm.verifier else ""), arm.name, points, texts
    )
