"""Reasoning up against refusal down: every arm against the base, which is the origin, with both intervals.

Drawn from `arms.<arm>.asymmetry` of the summary alone (see `elicit.analysis.asymmetry`), where a spec has a refusal
task off target. Lines lead through the checkpoints of an arm to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elicit.report.charts import scatter, svg
from elicit.report.charts.scatter import Dot, Plane, PlaneCurve
from elicit.report.charts.tradeoff import (
    PathFacts,
    TradeoffPath,
    TradeoffStep,
    judge_path,
    negate_estimate,
    read_path,
    read_refusal_entries,
)
from elicit.report.data.number_format import DASH, format_interval, format_number, format_percent
from elicit.report.data.summary_view import ModelPanel, OptionalEstimate
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.text import escape_html

INTRO = (
    "<p>Fine-tuning on long traces was seen to raise reasoning and to undo refusals (2604.06628). Here a benign "
    "stand-in: requests that carry a mark must be refused, and nothing harmful is asked. Right and down is the tax: "
    "reasoning gained, refusal lost.</p>"
)
#: An axis shows at least so much on both sides: a point of difference should look small.
_MIN_AXIS_RANGE = 0.1
_OUTCOME_TEXTS = {
    "tax": "reasoning up, refusal down",
    "kept": "reasoning up, refusal kept",
    "loss": "refusal down, reasoning not shown to be up",
    "still": "refusal kept, reasoning not shown to be up",
    "unclear": "refusal neither shown to be lost nor to be kept",
    "none": "the base hardly refuses, so there is little to lose",
}


def render_safety_tax(panel: ModelPanel) -> str:
    """One model's figures, a refusal task each; empty without one."""
    labels = list(dict.fromkeys(label for arm in panel.arms for label in read_refusal_entries(arm)))
    parts = []
    for label in labels:
        paths = [path for arm in panel.arms if (path := read_path(arm, label)) is not None]
        if paths:
            parts.append(_render_refusal_task(panel, label, paths))
    return "".join(parts)


def write_path(facts: PathFacts) -> str:
    """One sentence on an arm at the end of its training."""
    text = (
        f"reasoning {format_percent(facts.gain.value, signed=True)} points {format_interval(facts.gain, signed=True)}, "
        f"refusal {format_percent(facts.refusal_change.value, signed=True)} "
        f"{format_interval(facts.refusal_change, signed=True)}: {_OUTCOME_TEXTS[facts.outcome]}."
    )
    if facts.price is not None:
        text += (
            f" {format_number(10 * (facts.price.value or 0.0))} refusals lost per 10 answers gained "
            f"{format_interval(facts.price, scale=10)}."
        )
    if facts.over_refusal is not None:
        text += (
            f" {format_percent(facts.over_refusal.value)} points {format_interval(facts.over_refusal)} of unmarked "
            "requests are no longer answered."
        )
    if facts.tax_free_steps:
        steps = ", ".join(format_number(step, 0) for step in facts.tax_free_steps)
        text += f" Reasoning was up and refusal kept at step {steps}."
    return text


def _render_refusal_task(panel: ModelPanel, label: str, paths: Sequence[TradeoffPath]) -> str:
    planes = [_build_tradeoff_plane(f"marked requests refused ({label})", paths, over=False)]
    if any(step.over_refusal.estimate.value is not None for path in paths for step in path.steps):
        planes.append(_build_tradeoff_plane("unmarked requests answered", paths, over=True))
    picture = scatter.render_planes(planes, label=_describe_planes(panel, label, paths), minimum_height=300)
    items = "".join(
        f"<li><b>{escape_html(path.arm.name)}</b>: {escape_html(write_path(judge_path(path)))}</li>" for path in paths
    )
    return (
        f"<figure>{picture}<figcaption>{escape_html(_write_tradeoff_caption(panel, paths, len(planes) > 1))}"
        "</figcaption></figure>"
        f"<ul>{items}</ul>{_render_steps_table(label, paths)}"
    )


def _describe_planes(panel: ModelPanel, label: str, paths: Sequence[TradeoffPath]) -> str:
    outcomes = "; ".join(f"{path.arm.name}: {_OUTCOME_TEXTS.get(path.last_step.verdict, '')}" for path in paths)
    return f"Change of {label} against change of {panel.task} on {panel.model}. {outcomes}"


def _write_tradeoff_caption(panel: ModelPanel, paths: Sequence[TradeoffPath], has_second_plane: bool) -> str:
    first = paths[0]
    base_rate = (
        f"{format_percent(first.base_refusal_rate.value)} % {format_interval(first.base_refusal_rate)} of "
        f"{first.base_refusal_rate.n} marked requests"
    )
    parts = [
        f"Change against the base in points: right answers to {panel.task} across, requests up and down; paired 95 % "
        f"intervals over problems and training seeds. Grey diamond: the base, which refuses {base_rate}. Shaded: more "
        "reasoning, less refusal. Small marks: checkpoints, joined in their order; the large one is the end. "
        "Hollow: controls."
    ]
    if first.margin is not None:
        parts.append(
            f"Kept: whatever is lost is less than {format_percent(first.margin, 0)} points with its whole interval."
        )
    if has_second_plane:
        parts.append("Right plane: the same requests without the mark, where refusing is wrong.")
    return " ".join(parts)


def _build_tradeoff_plane(title: str, paths: Sequence[TradeoffPath], *, over: bool) -> Plane:
    curves: list[PlaneCurve] = []
    dots = [_build_origin_dot()]
    for path in paths:
        path_dots = [dot for step in path.steps if (dot := _build_tradeoff_dot(path, step, over=over)) is not None]
        if not path_dots:
            continue
        if len(path_dots) > 1:  # a line is a training that was followed; a single point stands alone
            curves.append(
                PlaneCurve(
                    [_build_origin_dot(hidden=True), *path_dots],
                    path.arm.family.colour,
                    path.arm.name,
                    _choose_path_dash(path),
                )
            )
        else:
            dots.append(path_dots[0]._replace(label=path.arm.name))
    all_dots = [*dots, *(point for curve in curves for point in curve.dots)]
    x_range, y_range = (
        _compute_axis_range(point.x_estimate for point in all_dots),
        _compute_axis_range(point.y_estimate for point in all_dots),
    )
    return Plane(
        title=title,
        x_label="change of right answers, points",
        x_range=x_range,
        y_range=y_range,
        curves=curves,
        dots=dots,
        logarithmic=False,
        signed=True,
        shade_corner=not over,
    )


def _build_origin_dot(*, hidden: bool = False) -> Dot:
    zero = OptionalEstimate(0.0)
    return Dot(0.0, zero, svg.GREY, None if hidden else "diamond", "" if hidden else "base", size=4, x_estimate=zero)


def _choose_path_dash(path: TradeoffPath) -> str:
    return "3 3" if path.arm.role == "control" else ""


def _build_tradeoff_dot(path: TradeoffPath, step: TradeoffStep, *, over: bool) -> Dot | None:
    name, change = ("over", negate_estimate(step.over_refusal.estimate)) if over else ("loss", step.refusal_change)
    difference, gain = (step.over_refusal if over else step.loss), step.gain.estimate
    if gain.value is None or change.value is None:
        return None
    is_last = step is path.last_step
    title = (
        f"{path.arm.name}, step {format_number(step.step, 0)}: {format_percent(gain.value, signed=True)} "
        f"{format_interval(gain, signed=True)} and {format_percent(change.value, signed=True)} "
        f"{format_interval(change, signed=True)} points"
    )
    bare_points = gain._replace(low=None, high=None), change._replace(low=None, high=None)
    across, up = (gain, change) if is_last else bare_points
    data = {"arm": path.arm.name, "key": path.summary_key(name, step), "value": repr(difference.estimate.value)}
    shape: svg.MarkShape = path.arm.family.shape if is_last else "circle"
    size = 4.8 if is_last else 2.4
    hollow = path.arm.role == "control" and is_last
    return Dot(gain.value, up, path.arm.family.colour, shape, title, "", hollow, size, data, across)


def _compute_axis_range(figures: Any) -> tuple[float, float]:
    """An axis around 0, a little wider than what is drawn."""
    values = [-_MIN_AXIS_RANGE, _MIN_AXIS_RANGE]
    for figure in figures:
        if figure is not None:
            values += [bound for bound in (figure.value, figure.low, figure.high) if bound is not None]
    room = 0.06 * (max(values) - min(values))
    return max(-1.0, min(values) - room), min(1.0, max(values) + room)


_COLUMNS = [
    TableColumn("step", "of training; 0 where nothing was trained"),
    TableColumn("reasoning, points", "right answers, arm minus base"),
    TableColumn("refusals lost, points", "base minus arm, of marked requests"),
    TableColumn("unmarked lost, points", "base minus arm, of unmarked requests answered"),
    TableColumn("what happened", "from both intervals"),
]


def _render_steps_table(label: str, paths: Sequence[TradeoffPath]) -> str:
    rows = []
    for path in paths:
        for step in path.steps:
            cells = [TableCell(format_number(step.step, 0))]
            for name, difference in (("gain", step.gain), ("loss", step.loss), ("over", step.over_refusal)):
                note = f"n = {difference.estimate.n} problems" if difference.estimate.n else ""
                text = format_percent(difference.estimate.value, signed=True)
                cells.append(
                    TableCell(
                        text,
                        format_interval(difference.estimate, signed=True),
                        escape_html(path.summary_key(name, step)),
                        difference.estimate.value,
                        note,
                    )
                )
            cells.append(TableCell(_OUTCOME_TEXTS.get(step.verdict, DASH)))
            rows.append((path.arm, cells))
    caption = f"Reasoning gained and refusals lost against the base, {escape_html(label)}; {DASH} is not known."
    return (
        "<details><summary>Every step in "
        f"figures</summary>{tables.render_arm_table(_COLUMNS, rows, caption=caption)}</details>"
    )
