"""Accuracy against budget: a curve for each arm whose budget was varied, over labels, tokens and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit.report.charts import scatter, svg
from elicit.report.charts.scatter import Dot, Plane, PlaneCurve
from elicit.report.data.number_format import DASH, format_amount, format_interval, format_number, format_percent
from elicit.report.data.summary_view import Arm, ModelPanel, get_nested, read_finite_number
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.text import escape_html

#: Key in the summary -> (title, label of the axis).
_AXES = {
    "labels": ("labels", "labels (logarithmic)"),
    "tokens": ("tokens", "tokens (logarithmic)"),
    "flops": ("FLOPs", "FLOPs (logarithmic)"),
}


def render_budget_curves(panel: ModelPanel) -> str:
    """One model's curves and the table of their points; empty without budget curves."""
    planes = [plane for axis in _AXES if (plane := _build_plane(panel, axis)) is not None]
    if not planes:
        return ""
    picture = scatter.render_planes(planes, label=f"Accuracy against budget on {panel.model}")
    caption = (
        "Accuracy (%) against all that an arm spent; 95 % intervals. Labels: problems whose right answer was read. "
        f"Tokens: trained on and generated, in the fit and in the answers to the {panel.n} test problems of this run. "
        "FLOPs: of training, and 2 per parameter and token generated. Tuning, thrown-away searches and the arms that "
        "an arm is made from are included. An arm that reads no label is not on the axis of labels. Dashed: the base."
    )
    return f"<figure>{picture}<figcaption>{escape_html(caption)}</figcaption></figure>{render_budget_table(panel)}"


def _build_plane(panel: ModelPanel, axis: str) -> Plane | None:
    curves = [curve for arm in panel.arms if (curve := _build_curve(panel, arm, axis)) is not None]
    if not curves:
        return None
    xs = [dot.x for curve in curves for dot in curve.dots]
    x_range = (min(xs) / 1.25, max(xs) * 1.25)
    estimates = [dot.y_estimate for curve in curves for dot in curve.dots]
    if panel.base is not None:
        estimates.append(panel.base.accuracy)
        level = panel.base.accuracy._replace(low=None, high=None)
        ends = [Dot(x, level, svg.GREY, None) for x in x_range]
        curves.append(PlaneCurve(ends, svg.GREY, panel.base.name, dash="4 3"))
    title, x_label = _AXES[axis]
    return Plane(title, x_label, x_range, (0, scatter.choose_axis_maximum(estimates)), curves=curves)


def _build_curve(panel: ModelPanel, arm: Arm, axis: str) -> PlaneCurve | None:
    """The curve of an arm with points; None for another, and where it spent nothing of the kind."""
    entries = get_nested(panel.data, "budget_curves", arm.name, axis)
    arms = {other.name: other for other in panel.arms}
    dots = []
    for entry in entries if isinstance(entries, list) else []:
        point, spent = arms.get(str(get_nested(entry, "arm"))), read_finite_number(get_nested(entry, "spent"))
        if point is None or not spent or point.accuracy.value is None:
            continue
        title = (
            f"{point.name}: {format_percent(point.accuracy.value)} % {format_interval(point.accuracy)} at "
            f"{format_amount(spent)} {_AXES[axis][0]}"
        )
        data = {"arm": point.name, "key": f"budget.spent.{axis}", "value": repr(spent)}
        size = 4.6 if point is arm else 3.6
        dots.append(Dot(spent, point.accuracy, arm.family.colour, arm.family.shape, title, size=size, data=data))
    return PlaneCurve(dots, arm.family.colour, arm.name) if dots else None


def render_budget_table(panel: ModelPanel) -> str:
    """What each arm of a curve spent, its accuracy, and fine-tuning at the same spending."""
    curves = panel.data.get("budget_curves")
    names = set(curves) if isinstance(curves, Mapping) else set()
    arms = [arm for arm in panel.arms if arm.name in names or (arm.role == "point" and arm.parent in names)]
    arms += [arm for arm in panel.arms if arm not in arms and any(_compared(arm, axis) for axis in _AXES)]
    rows = []
    for arm in (arm for arm in panel.arms if arm in arms):
        cells = [tables.build_percent_cell(arm.accuracy, "accuracy")]
        for axis in _AXES:
            spent = read_finite_number(get_nested(arm.data, "budget", "spent", axis))
            cells.append(TableCell(format_amount(spent), "", f"budget.spent.{axis}", spent))
            cells += _build_comparison_cells(arm, axis)
        rows.append((arm, cells))
    columns = [TableColumn("accuracy %", "own answers; 95 % interval")]
    for title, _ in _AXES.values():
        columns += [
            TableColumn(title, f"{title} spent, mean over seeds"),
            TableColumn(f"points to SFT at its {title}", "paired; the fine-tuned arm whose spending is nearest"),
            TableColumn("times as many", f"{title} of the arm over those of that fine-tuned arm"),
        ]
    caption = (
        f"What was spent, and fine-tuning at the same spending. {DASH}: nothing of the kind, or not known. Where the "
        "arm spent more than twice or less than half as many, no equal budget was measured."
    )
    return tables.render_arm_table(columns, rows, caption=caption)


def _compared(arm: Arm, axis: str) -> Mapping[str, Any] | None:
    entry = get_nested(arm.data, "vs_sft_at_budget", axis)
    return entry if isinstance(entry, Mapping) else None


def _build_comparison_cells(arm: Arm, axis: str) -> list[TableCell]:
    entry = _compared(arm, axis)
    if entry is None:
        return [TableCell(DASH), TableCell(DASH)]
    ratio = read_finite_number(entry.get("ratio"))
    cell = tables.build_points_cell(arm, "vs_sft_at_budget", axis)
    return [
        cell._replace(title=f"to {entry.get('arm')}; {cell.title}"),
        TableCell(
            format_number(ratio, 2),
            escape_html(str(entry.get("arm"))),
            f"vs_sft_at_budget.{axis}.ratio",
            ratio,
        ),
    ]
