"""Stronger and weaker bases side by side: what an arm gains on each, how much longer its answers become, and whether
the steps in them are right, against what the base could do before.

Strong bases were said to take over the reasoning in long traces and weak ones their length only (2604.06628). Drawn for
arms that were followed over training on three models or more, asked the same task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from elicit.report.charts import scatter, svg
from elicit.report.charts.scatter import Dot, Plane, PlaneCurve
from elicit.report.data.number_format import DASH, format_interval, format_number, format_percent
from elicit.report.data.summary_view import Arm, ModelPanel, OptionalEstimate
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.report.trajectories.data import read_trajectories
from elicit.text import escape_html

INTRO = (
    "<p>Strong bases were seen to take over the reasoning in long traces, weak ones only their length (2604.06628). "
    "Across: what each base could do before, the mean over all tasks of the run, each asked as the base answers best. "
    "A gain that rises to the right is the claim; longer answers without valid steps are imitation.</p>"
)
_MIN_MODELS = 3
"""Models. Between two there is no curve."""
_LINE_STYLES: tuple[tuple[str, svg.MarkShape, str], ...] = (
    (svg.ORANGE, "circle", ""),
    (svg.BLUE, "square", "6 3"),
    (svg.GREEN, "up", "2 2"),
    (svg.PURPLE, "diamond", "7 2 2 2"),
    (svg.OCHRE, "down", "1 3"),
)


class Rung(NamedTuple):
    """One arm on one model and one task."""

    model: str
    target_task: str
    """The run's own task on this model: only those that are asked the same one are set side by side."""
    arm: Arm
    label: str
    ability: OptionalEstimate
    """Of the base, mean over all tasks: on each the better of its default and its ceilings."""
    gain: OptionalEstimate
    """Of right answers over the base, paired."""
    gain_key: str
    before: OptionalEstimate
    """Tokens an answer at the start."""
    after: OptionalEstimate
    """Tokens an answer at the end."""
    longer: OptionalEstimate
    """Length at the end over that at the start; the interval is that of the end."""
    valid: OptionalEstimate
    """Share of answers that show work whose every step is right, at the end."""
    key_template: str


def render_ladders(model_panels: Sequence[ModelPanel]) -> str:
    """A figure and a table an arm, empty where no arm was followed on three models or more."""
    return "".join(
        render_ladder(name, rungs) + _render_ladder_table(name, rungs)
        for name, rungs in collect_ladders(model_panels).items()
    )


def collect_ladders(model_panels: Sequence[ModelPanel]) -> Mapping[str, list[Rung]]:
    """Arm (and the run's own task, where there are several) -> its rungs, task by task, from the weakest base up."""
    rungs: dict[tuple[str, str], list[Rung]] = {}
    for panel in model_panels:
        for rung in _read_rungs(panel):
            rungs.setdefault((rung.target_task, rung.arm.name), []).append(rung)
    long_ladders = {
        key: arm_rungs for key, arm_rungs in rungs.items() if len({rung.model for rung in arm_rungs}) >= _MIN_MODELS
    }
    several = len({target_task for target_task, _ in long_ladders}) > 1
    return {
        f"{arm}, {target_task}" if several else arm: _sort_rungs(arm_rungs)
        for (target_task, arm), arm_rungs in long_ladders.items()
    }


def _sort_rungs(rungs: Sequence[Rung]) -> list[Rung]:
    tasks = list(dict.fromkeys(rung.label for rung in rungs))
    return sorted(rungs, key=lambda rung: (tasks.index(rung.label), rung.ability.value or 0.0))


def _read_rungs(panel: ModelPanel) -> list[Rung]:
    trajectories, rungs = read_trajectories(panel), []
    ability = _compute_ability(
        panel, {label: curve.target for trajectory in trajectories for label, curve in trajectory.curves.items()}
    )
    if ability.value is None:
        return []
    for trajectory in trajectories:
        for label, curve in trajectory.curves.items():
            keys = ("vs_base",) if curve.target else ("off_target_vs_base", label)
            before, after = (curve.measures["tokens"][i] for i in (0, -1))
            rungs.append(
                Rung(
                    panel.model,
                    panel.task,
                    trajectory.arm,
                    label,
                    ability,
                    trajectory.arm.read_difference(*keys).estimate,
                    ".".join(keys),
                    before,
                    after,
                    _scale_estimate(after, 1 / before.value) if before.value else OptionalEstimate(None),
                    curve.measures["valid_trace_rate"][-1],
                    f"{curve.summary_key}.{{}}.{len(curve.steps) - 1}",
                )
            )
    return rungs


def _compute_ability(panel: ModelPanel, tasks: Mapping[str, bool]) -> OptionalEstimate:
    """Mean over tasks (label -> whether it is the run's own); unknown where one of them is."""
    reference_arms = [arm for arm in panel.arms if arm.role in ("base", "ceiling")]
    best_accuracies = []
    for label, target in tasks.items():
        figures = [arm.accuracy if target else arm.read_estimate("off_target", label) for arm in reference_arms]
        known_accuracies = [accuracy for accuracy in figures if accuracy.value is not None]
        if not known_accuracies:
            return OptionalEstimate(None)
        best_accuracies.append(max(known_accuracies, key=lambda accuracy: accuracy.value or 0.0))
    if not best_accuracies:
        return OptionalEstimate(None)
    mean = fmean(accuracy.value or 0.0 for accuracy in best_accuracies)
    # Tasks are asked different problems, so that their errors are independent.
    low = math.hypot(*((accuracy.value or 0.0) - (accuracy.low or 0.0) for accuracy in best_accuracies)) / len(
        best_accuracies
    )
    high = math.hypot(*((accuracy.high or 0.0) - (accuracy.value or 0.0) for accuracy in best_accuracies)) / len(
        best_accuracies
    )
    bounded = all(accuracy.low is not None and accuracy.high is not None for accuracy in best_accuracies)
    return OptionalEstimate(mean, mean - low, mean + high, None, True) if bounded else OptionalEstimate(mean)


def _scale_estimate(figure: OptionalEstimate, factor: float) -> OptionalEstimate:
    value, low, high = (None if bound is None else bound * factor for bound in figure[:3])
    return figure._replace(value=value, low=low, high=high)


def render_ladder(name: str, rungs: Sequence[Rung]) -> str:
    """One arm: gains, lengths and valid work against ability, a curve a task."""
    gains = [bound for item in rungs for bound in item.gain[:3] if bound is not None]
    lengths = [bound for item in rungs for bound in item.longer[:3] if bound is not None]
    planes = [
        _build_ladder_plane("gain, points", rungs, (min([0.0, *gains]), max([0.1, *gains])), "gain"),
        _build_ladder_plane("answer length, % of before", rungs, (0.0, max([1.0, *lengths])), "longer"),
    ]
    if _checks_steps(rungs):
        planes.append(_build_ladder_plane("every step right, %", rungs, (0.0, 1.0), "valid"))
    sentences = [write_rungs(list(task_rungs)) for _, task_rungs in groupby(rungs, key=lambda item: item.label)]
    picture = scatter.render_planes(planes, label=f"{name} on bases from weak to strong. {' '.join(sentences)}")
    items = "".join(f"<li>{escape_html(item)}</li>" for item in sentences)
    return (
        f"<figure><h4>{escape_html(name)}</h4>{picture}<figcaption>{escape_html(_write_ladder_caption(rungs))}</figcaption></figure>"
        f"<ul>{items}</ul>"
    )


def _build_ladder_plane(title: str, rungs: Sequence[Rung], y_range: tuple[float, float], measure: str) -> Plane:
    curves = []
    for i, (label, task_rungs) in enumerate(groupby(rungs, key=lambda rung: rung.label)):
        style = _LINE_STYLES[i % len(_LINE_STYLES)]
        curves.append(
            PlaneCurve([_build_rung_dot(rung, measure, style) for rung in task_rungs], style[0], label, style[2])
        )
    low, high = y_range
    room = 0.04 * (high - low)
    return Plane(
        title=title,
        x_label="what the base could do, %",
        x_range=(0.0, 100.0),
        y_range=(low - room if low else 0.0, high + room),
        curves=curves,
        logarithmic=False,
    )


def _build_rung_dot(rung: Rung, measure: str, style: tuple[str, svg.MarkShape, str]) -> Dot:
    estimate: OptionalEstimate = getattr(rung, measure)
    keys = {
        "gain": rung.gain_key,
        "longer": rung.key_template.format("tokens"),
        "valid": rung.key_template.format("valid_trace_rate"),
    }
    summary_value = rung.after if measure == "longer" else estimate
    title = (
        f"{rung.model}, {rung.label}: {format_percent(estimate.value, signed=measure == 'gain')} "
        f"{format_interval(estimate)}"
    )
    data = {"arm": rung.arm.name, "model": rung.model, "key": keys[measure], "value": repr(summary_value.value)}
    ability = 100 * (rung.ability.value or 0.0)
    return Dot(ability, estimate, style[0], style[1], title, size=3.6, data=data)


def _checks_steps(rungs: Sequence[Rung]) -> bool:
    """Some task of the ladder can check worked steps."""
    return any(rung.valid.value is not None for rung in rungs)


def write_rungs(rungs: Sequence[Rung]) -> str:
    """One task, from the weakest base to the strongest."""
    gains = ", ".join(
        f"{format_percent(rung.gain.value, signed=True)} {format_interval(rung.gain, signed=True)} points on "
        f"{rung.model}"
        for rung in rungs
    )
    ratios = [rung.longer.value for rung in rungs if rung.longer.value is not None]
    valid = ""
    if _checks_steps(rungs):
        shares = ", ".join(format_percent(rung.valid.value, 0) for rung in rungs)
        valid = f"; every step right in {shares} %"
    longer = (
        f"{format_number(min(ratios))} to {format_number(max(ratios))} times as long"
        if ratios
        else f"{DASH} times as long"
    )
    return f"{rungs[0].label}: gain {gains}; answers {longer}{valid}."


def _write_ladder_caption(rungs: Sequence[Rung]) -> str:
    bases = {
        rung.model: f"{rung.model} {format_percent(rung.ability.value, 0)} % {format_interval(rung.ability, 0)}"
        for rung in rungs
    }
    gains, ends = _format_problem_counts(rungs)
    return (
        f"Bases from left to right: {', '.join(bases.values())}, mean over the tasks as asked best. Gains: paired with "
        f"the model's own base, over problems (n = {gains} a task) and training seeds ({rungs[0].arm.seeds}). Length: "
        f"mean tokens at the end of training over those at its start (n = {ends}); its interval is that of the end. "
        "Every step right: share of the same answers that show work and whose every step is right. Thin uprights: 95 % "
        "intervals."
    )


def _format_problem_counts(rungs: Sequence[Rung]) -> tuple[str, str]:
    """Problems behind gains, and behind lengths and valid work."""
    counts = [rung.gain.n for rung in rungs if rung.gain.n], [rung.after.n for rung in rungs if rung.after.n]
    gains, ends = (" to ".join(str(n) for n in sorted({min(sizes), max(sizes)})) if sizes else DASH for sizes in counts)
    return gains, ends


_COLUMNS = [
    TableColumn("model", "from the weakest base to the strongest"),
    TableColumn("task", "what was asked"),
    TableColumn("base, %", "right answers of the base, mean over the tasks, each asked as it answers best"),
    TableColumn("gain, points", "right answers, arm minus base"),
    TableColumn("tokens before", "an answer, at the start of training"),
    TableColumn("tokens after", "an answer, at its end"),
    TableColumn("every step right, %", "share of answers with valid work, at the end"),
]


def _render_ladder_table(name: str, rungs: Sequence[Rung]) -> str:
    rows = []
    for rung in rungs:
        cells = [
            TableCell(escape_html(rung.model)),
            TableCell(escape_html(rung.label)),
            TableCell(format_percent(rung.ability.value), format_interval(rung.ability), "", rung.ability.value),
            TableCell(
                format_percent(rung.gain.value, signed=True),
                format_interval(rung.gain, signed=True),
                rung.gain_key,
                rung.gain.value,
            ),
            TableCell(format_number(rung.before.value), format_interval(rung.before, scale=1), "", rung.before.value),
            TableCell(
                format_number(rung.after.value),
                format_interval(rung.after, scale=1),
                rung.key_template.format("tokens"),
                rung.after.value,
            ),
            TableCell(
                format_percent(rung.valid.value),
                format_interval(rung.valid),
                rung.key_template.format("valid_trace_rate"),
                rung.valid.value,
            ),
        ]
        rows.append((rung.arm, cells))
    caption = f"{escape_html(name)} on stronger and weaker bases; {DASH} is not known."
    table = tables.render_arm_table(_COLUMNS, rows, caption=caption)
    return f"<details><summary>{escape_html(name)} in figures</summary>{table}</details>"
