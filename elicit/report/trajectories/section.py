"""The section "Over training": accuracy and other measures at checkpoints from the base to the end of training.

Modules of this package:

    data               the summary's figures as curves
    curves             accuracy, its band, shapes and danger zones
    companion_charts   response length, traces, losses, KL
    curve_facts        what a curve shows; text has the sentences
    early_warning      alarms from gradients; loss_forecast draws them
    axis               training steps on a logarithmic axis
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.report.charts import svg
from elicit.report.data.number_format import DASH, format_interval, format_number, format_percent
from elicit.report.data.summary_view import ModelPanel, OptionalEstimate, read_panels
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.report.trajectories import companion_charts as small
from elicit.report.trajectories import curves as curves_of
from elicit.report.trajectories import early_warning as warning
from elicit.report.trajectories.curve_facts import judge_cautions, judge_curve, judge_early_stopping, judge_shape
from elicit.report.trajectories.data import ArmTrajectory, TrajectoryCurve, list_task_labels, read_trajectories
from elicit.report.trajectories.text import (
    GENERAL_CAUTION,
    format_step_spans,
    name_shape,
    write_caution,
    write_curve,
    write_early_stopping,
    write_headline,
    write_shape_label,
)
from elicit.text import escape_html

_MAX_SENTENCES = 12
"""At most so many curves in words; the table has all of them."""
_OPEN_TASKS = 2
"""Tasks whose companions are in plain sight; those of others are folded."""
_STYLE = (
    "<style>.elicit-over .narrow{display:none}.elicit-over .charts,.elicit-over .legend{display:flex;flex-wrap:wrap;"
    "gap:8px}.elicit-over .swatch svg{display:inline-block}.elicit-over svg{max-width:100%;height:auto}"
    ".elicit-over th button{all:unset}.elicit-over .scroll{overflow-x:auto}.elicit-over figure{margin:0}</style>"
)
INTRO = (
    "<p>The same problems, asked again at checkpoints kept while training. Published curves disagree: accuracy on "
    "tasks that were not trained on may dip early and recover late (2604.06628), or peak early and decline "
    "(2509.12235). So no shape is assumed: each curve is named from its bootstrap distribution over problems and "
    "training seeds, with the probability of that shape. The first task is the run's own, which arms are trained on "
    "unless they say otherwise.</p>"
)


def render_trajectories(panel: ModelPanel) -> str:
    """One model's figures; empty where no arm was measured over training."""
    trajectories, warning_markup = read_trajectories(panel), warning.render_early_warning(panel)
    if not trajectories:
        return warning_markup
    tasks = [
        [trajectory.curves[label] for trajectory in trajectories if label in trajectory.curves]
        for label in list_task_labels(trajectories)
    ]
    tasks = [curves for task_curves in tasks if (curves := [curve for curve in task_curves if curve.measured_points])]
    picture = curves_of.render_accuracy_curves(tasks, label=_describe_figure(panel, tasks))
    return (
        f"{_render_headlines(tasks)}"
        f"<figure>{picture}<figcaption>{escape_html(_write_trajectories_caption(trajectories, tasks))}"
        "</figcaption></figure>"
        f"{_render_trajectory_cautions(trajectories)}"
        f"{_render_sentences(tasks)}{_render_companions(trajectories, tasks)}{_render_curve_tables(tasks)}"
        f"{warning_markup}"
    )


def render_trajectories_fragment(summary: Mapping[str, Any]) -> str:
    """The section of every model as HTML without a page around it, for notebooks; empty without trajectories."""
    sections = [(panel.model, render_trajectories(panel)) for panel in read_panels(summary)]
    nonempty_sections = [(model, markup) for model, markup in sections if markup]
    has_many = len(nonempty_sections) > 1
    inner = "".join(
        f"{f'<h3>{escape_html(model)}</h3>' if has_many else ''}{markup}" for model, markup in nonempty_sections
    )
    return f'{_STYLE}<div class="elicit-over">{inner}</div>' if nonempty_sections else ""


def _describe_figure(panel: ModelPanel, tasks: Sequence[Sequence[TrajectoryCurve]]) -> str:
    shape_texts = "; ".join(
        f"{curve.arm.name} on {curve.label}: {write_shape_label(judge_shape(curve))}"
        for curves in tasks
        for curve in curves
    )
    return f"Accuracy over training steps on {panel.model}. {shape_texts}"


def _render_headlines(tasks: Sequence[Sequence[TrajectoryCurve]]) -> str:
    """The main observation of the figure, a line a task."""
    items = [
        f"<li><b>{escape_html(curves[0].label)}</b>: "
        f"{escape_html(write_headline([(curve.arm.name, judge_shape(curve)) for curve in curves]))}.</li>"
        for curves in tasks
    ]
    return f"<ul>{''.join(items)}</ul>"


def _render_sentences(tasks: Sequence[Sequence[TrajectoryCurve]]) -> str:
    """Every curve that moves on another task, in words: there the papers disagree. The rest is in the tables."""
    moving_curves = [curve for curves in tasks for curve in curves if curve.shape not in ("", "flat")]
    moving_curves = [curve for curve in moving_curves if not curve.target] or moving_curves
    items = [
        f"<li><b>{escape_html(curve.arm.name)}</b> {_escape_unbroken(_write_sentences(curve))}</li>"
        for curve in moving_curves[:_MAX_SENTENCES]
    ]
    more = f"<p class=note>{len(moving_curves) - _MAX_SENTENCES} more curves move: see the tables below.</p>"
    return f"<ul>{''.join(items)}</ul>{more if len(moving_curves) > _MAX_SENTENCES else ''}" if items else ""


def _write_sentences(curve: TrajectoryCurve) -> str:
    stopping = judge_early_stopping(curve)
    sentences = [write_curve(judge_curve(curve)), *([] if stopping is None else [write_early_stopping(stopping)])]
    return " ".join(sentences)


def _escape_unbroken(text: str) -> str:
    return escape_html(text).replace(" %", "\u00a0%").replace(", −", ",\u00a0−").replace(" [", "\u00a0[")


def _write_trajectories_caption(
    trajectories: Sequence[ArmTrajectory], tasks: Sequence[Sequence[TrajectoryCurve]]
) -> str:
    seeds = ", ".join(f"{trajectory.arm.name} {trajectory.seeds}" for trajectory in trajectories)
    problem_counts = "; ".join(
        f"{curves[0].label} {count_text}" for curves in tasks if (count_text := _count_problems_of(curves))
    )
    parts = [f"Test problems at each checkpoint: {problem_counts}."] if problem_counts else []
    parts.append(
        "Bands: 95 % intervals over problems and, where there are several, training seeds, checkpoint by checkpoint. "
        "Shapes, troughs and danger zones resample training seeds as well. Per cent after a shape: its "
        'probability; a question mark where another shape is not far; "fits badly" where none of the six describes '
        "the curve. Ring with whiskers: trough or peak, where and how far from the base, with 95 % intervals."
    )
    if any(curve.danger_steps for curves in tasks for curve in curves):
        parts.append(
            "Shade and bars below a panel: the danger zone, where stopping would leave that arm worse than the base "
            "(all steps at once, 90 %)."
        )
    most = max(len(curves) for curves in tasks)
    if most > curves_of.MAX_LINES:
        parts.append(
            f"Drawn are the first {curves_of.MAX_LINES} arms; {most - curves_of.MAX_LINES} more are in the tables."
        )
    parts.append(f"Training seeds: {seeds}.")
    return " ".join(parts)


def _count_problems_of(curves: Sequence[TrajectoryCurve]) -> str:
    """The number of problems asked, from fewest to most where arms or checkpoints differ."""
    counts = sorted({figure.n for curve in curves for figure in curve.accuracy if figure.n})
    return " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1]))) if counts else ""


def _render_companions(trajectories: Sequence[ArmTrajectory], tasks: Sequence[Sequence[TrajectoryCurve]]) -> str:
    """The small charts under the names of their tasks, with a legend of arms."""
    task_charts = [
        (curves[0].label, inner)
        for curves in tasks
        if (inner := small.render_task_companions(curves[: curves_of.MAX_LINES]))
    ]
    kl = small.render_kl_chart(trajectories[: curves_of.MAX_LINES])
    if not task_charts and not kl:
        return ""
    legend = " ".join(
        f'<span class="swatch">{_draw_swatch(trajectory)} {escape_html(trajectory.arm.name)}</span>'
        for trajectory in trajectories[: curves_of.MAX_LINES]
    )
    parts = [
        f"<h4>{escape_html(label)}: what moves beside accuracy</h4>{inner}"
        for label, inner in task_charts[:_OPEN_TASKS]
    ]
    parts += [f'<h4>Distance from the base</h4><div class="charts">{kl}</div>'] if kl else []
    parts += [
        f"<details><summary>{escape_html(label)}: what moves beside accuracy</summary>{inner}</details>"
        for label, inner in task_charts[_OPEN_TASKS:]
    ]
    note = (
        "<p class=note>Steps as above. Dotted upright: where that arm's accuracy on this task turns. Valid steps are "
        "judged apart from the answer. Loss and token accuracy: on worked solutions of problems that are neither "
        "trained on nor tested; entropy along the arm's own answers.</p>"
    )
    return f'<p class="legend">{legend}</p>{"".join(parts)}{note}'


def _draw_swatch(trajectory: ArmTrajectory) -> str:
    style = trajectory.style
    body = [svg.draw_line(1, 7, 27, 7, colour=style.colour, width=1.6, dash=style.dash)]
    return svg.render_svg(28, 14, [*body, svg.draw_mark(style.mark, 14, 7, colour=style.colour, size=3.6)], label="")


def _render_curve_tables(tasks: Sequence[Sequence[TrajectoryCurve]]) -> str:
    parts = []
    for curves in tasks:
        rows = [(curve.arm, _build_curve_cells(curve)) for curve in curves]
        parts.append(
            tables.render_arm_table(
                _COLUMNS, rows, caption=f"Over training on {escape_html(curves[0].label)}. {_TABLE_NOTE}"
            )
        )
    return f"<details><summary>Every curve in figures</summary>{''.join(parts)}</details>"


_TABLE_NOTE = (
    "Points are shares of 100. Turn: the trough of a dip or the peak before a decline. Lost by stopping: at the lowest "
    f"loss on the run's own task; positive is lost. {DASH} does not apply."
)
_COLUMNS = [
    TableColumn("shape", "the most probable, after the test whether there is any movement"),
    TableColumn("probability %", "of that shape among the six"),
    TableColumn("p, constant", "how often a constant curve moves as much"),
    TableColumn("start %", "the base"),
    TableColumn("end %", "the last step"),
    TableColumn("turn, points", "from the base to the trough or peak"),
    TableColumn("at step", "where it turns"),
    TableColumn("undone, points", "way back from the turn to the end"),
    TableColumn("worse than base at", "the danger zone, all steps at once, 90 %"),
    TableColumn("stopped at step", "of the lowest in-domain loss"),
    TableColumn("lost to best", "best chosen on other problems than it is judged on"),
    TableColumn("lost to end", "paired"),
]


def _build_curve_cells(curve: TrajectoryCurve) -> list[TableCell]:
    summary_key, points = escape_html(curve.summary_key), curve.measured_points
    (first, _, start), (last, _, end) = points[0], points[-1]
    unknown = OptionalEstimate(None)
    turn, stop = curve.turn, curve.stopping
    size, step, undone = turn or (unknown, unknown, unknown)
    stop_step = None if stop is None else stop.step
    p = curve.probability
    return [
        TableCell(name_shape(curve.shape) if curve.shape else DASH),
        TableCell(
            format_percent(p, 0),
            "",
            f"{summary_key}.curve.probabilities.{escape_html(curve.shape)}",
            p,
            _format_probabilities(curve),
        ),
        TableCell(format_number(curve.flat_p, 3), "", f"{summary_key}.curve.flat_p", curve.flat_p),
        tables.build_percent_cell(start, f"{summary_key}.accuracy.{first}"),
        tables.build_percent_cell(end, f"{summary_key}.accuracy.{last}"),
        _build_estimate_cell(size, f"{summary_key}.curve.turn.size"),
        TableCell(
            format_number(step.value, 0),
            format_interval(step, 0, scale=1),
            f"{summary_key}.curve.turn.step",
            step.value,
        ),
        _build_estimate_cell(undone, f"{summary_key}.curve.turn.undone"),
        TableCell(
            format_step_spans(curve.danger_steps, curve.steps).removeprefix("steps ").removeprefix("step ")
            or "nowhere shown"
        ),
        TableCell(format_number(stop_step, 0), "", f"{summary_key}.stopping.step", stop_step),
        _build_estimate_cell(unknown if stop is None else stop.to_best, f"{summary_key}.stopping.to_best"),
        _build_estimate_cell(unknown if stop is None else stop.to_end.estimate, f"{summary_key}.stopping.to_end"),
    ]


def _format_probabilities(curve: TrajectoryCurve) -> str:
    return ", ".join(f"{name_shape(name)} {format_percent(p)} %" for name, p in curve.probabilities.items())


def _build_estimate_cell(figure: OptionalEstimate, key: str) -> TableCell:
    return TableCell(format_percent(figure.value), format_interval(figure), key, figure.value)


def _render_trajectory_cautions(trajectories: Sequence[ArmTrajectory]) -> str:
    cautions = [*map(write_caution, judge_cautions(trajectories)), GENERAL_CAUTION]
    return f'<p class="note">{_escape_unbroken(" ".join(cautions))}</p>'


def summarise_trajectories(panel: ModelPanel) -> list[str]:
    """One line an arm, for a terminal: its shape on every task."""
    texts = []
    for trajectory in read_trajectories(panel):
        task_texts = [
            f"{curve.label} {write_shape_label(judge_shape(curve))}"
            for curve in trajectory.curves.values()
            if curve.measured_points
        ]
        texts.append(f"{trajectory.arm.name}: {'; '.join(task_texts)}")
    return texts
