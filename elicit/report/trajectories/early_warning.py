"""Early warning: what gradients foretold of another task's loss while an arm trained, and how long before the trough.

One chart an arm and watched task: the loss on that task as measured, and as the running integral of (update . gradient)
foretold it; below, the cosine of the two tasks' gradients. Over all arms and seeds: a table of signals, with hits and
false alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.report.data.number_format import DASH, format_interval, format_number, format_percent
from elicit.report.data.summary_view import (
    Arm,
    ModelPanel,
    OptionalEstimate,
    get_nested,
    parse_estimate,
    read_finite_number,
)
from elicit.report.trajectories.loss_forecast import WatchedTask, list_or_empty, render_forecast_chart
from elicit.report.trajectories.text import name_shape
from elicit.text import escape_html

CALM_SHAPES = ("flat", "monotone-up")
"""Shapes where accuracy never fell by the classification: an alarm counts as false."""
SIGNAL_NAMES = {
    "gradient": "integral of update · gradient",
    "trapezoid": "the same, both ends of a step",
    "loss": "measured loss itself",
    "cosine": "cosine of the gradients",
    "token_accuracy": "token accuracy (free)",
    "length": "response length (free)",
    "finished": "finished answers (free)",
}


def render_early_warning(panel: ModelPanel) -> str:
    """One model's charts and the table of signals; empty where no arm was watched."""
    watched_tasks = [watched for arm in panel.arms for watched in _read_watched_tasks(arm)]
    charts = "".join(
        markup
        for watched_task in watched_tasks
        if (markup := render_forecast_chart(watched_task, describe_warning(watched_task)))
    )
    table = _render_signal_table(panel)
    if not charts and not table:
        return ""
    items = "".join(
        f"<li><b>{escape_html(watched_task.arm.name)}</b> {escape_html(describe_warning(watched_task))}</li>"
        for watched_task in watched_tasks
    )
    note = (
        "<p class=note>To first order a step changes another task's loss by (change of the parameters) · (gradient of "
        "that loss). Summed up, this foretells the loss without measuring it: where the sum turns down again, the "
        "model stops forgetting. Upright line: that turn, one a seed. Shade: the checkpoints beside the trough of "
        "accuracy, which is known no better. Lead: steps from the turn to the trough; negative is too late. The turn "
        "is found when training is over; an alarm is raised while it goes on.</p>"
    )
    return f'<h3>Early warning</h3>{note}<div class="charts">{charts}</div><ul>{items}</ul>{table}'


def _read_watched_tasks(arm: Arm) -> list[WatchedTask]:
    data = arm.data.get("warning")
    tasks = get_nested(data, "tasks")
    if not isinstance(data, Mapping) or not isinstance(tasks, Mapping):
        return []
    steps = tuple(read_finite_number(step) for step in list_or_empty(data.get("steps")))
    return [
        WatchedTask(arm, str(label), entry, steps, data) for label, entry in tasks.items() if isinstance(entry, Mapping)
    ]


def describe_warning(watched_task: WatchedTask) -> str:
    """The worth of the warning on one curve, in words."""
    parts = [
        _describe_explained_loss(watched_task),
        _describe_crossing(watched_task),
        _describe_alarm(watched_task),
        _describe_watch_cost(watched_task),
    ]
    return f"on {watched_task.label}: " + " ".join(part for part in parts if part)


def _describe_explained_loss(watched_task: WatchedTask) -> str:
    share = read_finite_number(get_nested(watched_task.data, "explained", "integral"))
    if share is None:
        return "the measured loss does not change, so there is nothing to foretell."
    if share <= 0:
        return f"the foretold changes are worse than foretelling none (explained {format_number(share, 2)})."
    return f"the integral explains {format_percent(share, 0)} % of the changes of the measured loss."


def _describe_crossing(watched_task: WatchedTask) -> str:
    steps = [step for step in watched_task.read_steps("crossing", "steps") if step is not None]
    count = len(watched_task.read_steps("crossing", "steps"))
    if not steps:
        return "It does not turn." if count else ""
    text = f"It turns at step {_format_step_range(steps)} in {len(steps)} of {count} seeds"
    lead, trough = parse_estimate(get_nested(watched_task.data, "crossing", "lead")), watched_task.trough
    if trough.value is None:
        return f"{text}{_describe_missing_dip(watched_task)}."
    interval = format_interval(trough, 0, scale=1)
    text += f"; the trough of accuracy is at step {format_number(trough.value, 0)} {interval}".rstrip()
    return text + (f": lead {_format_lead(lead)}." if lead.value is not None else ".")


def _describe_alarm(watched_task: WatchedTask) -> str:
    alarms = watched_task.read_steps("signals", "gradient", "alarm")
    alarm_steps = [step for step in alarms if step is not None]
    if not alarms:
        return ""
    threshold = format_number(read_finite_number(get_nested(watched_task.data, "signals", "gradient", "threshold")), 2)
    text = f"The alarm at {threshold} nats a token is raised in {len(alarm_steps)} of {len(alarms)} seeds"
    text += f", at step {_format_step_range(alarm_steps)}" if alarm_steps else ""
    lead = parse_estimate(get_nested(watched_task.data, "signals", "gradient", "lead"))
    if lead.value is not None:
        return f"{text}: {_format_lead(lead)} before the trough."
    return f"{text}{_describe_missing_dip(watched_task) if alarm_steps else ''}."


def _describe_missing_dip(watched_task: WatchedTask) -> str:
    """The kind of alarm where accuracy does not dip; empty where it was not followed, or dips."""
    shape = str(watched_task.data.get("shape") or "")
    if not shape or watched_task.data.get("dips") is not False:
        return ""
    consequence = "it counts as false" if shape in CALM_SHAPES else "it counts as neither a hit nor false"
    return f"; accuracy there: {name_shape(shape)}, so {consequence}"


def _describe_watch_cost(watched_task: WatchedTask) -> str:
    share, seeds = (
        read_finite_number(watched_task.warning_data.get("share")),
        read_finite_number(watched_task.warning_data.get("seeds")),
    )
    parts = [f"Watching took {format_percent(share, 0)} % of the training time."] if share is not None else []
    if seeds == 1:
        parts.append("One training seed: how much another would differ is not covered.")
    return " ".join(parts)


def _format_lead(lead: OptionalEstimate) -> str:
    return f"{format_number(lead.value, 0)} steps {format_interval(lead, 0, scale=1)}".strip()


def _format_step_range(steps: Sequence[float]) -> str:
    low, high = min(steps), max(steps)
    return format_number(low, 0) if low == high else f"{format_number(low, 0)}–{format_number(high, 0)}"


def _render_signal_table(panel: ModelPanel) -> str:
    """A table of every signal over all arms, tasks and seeds of this model."""
    signals = get_nested(panel.data, "warning", "signals")
    if not isinstance(signals, Mapping):
        return ""
    rows = "".join(
        _render_signal_row(str(name), entry) for name, entry in signals.items() if isinstance(entry, Mapping)
    )
    counts = {
        kind: len(names) if isinstance(names := get_nested(panel.data, "warning", kind), list) else 0
        for kind in ("dips", "calm", "declines")
    }
    headings = ("signal", "alarm from", "hits %", "false alarms %", "late", "lead, steps", "dips told from calm (AUC)")
    caption = (
        f"Curves (arm and task): {counts['dips']} that dip, {counts['calm']} calm, {counts['declines']} that decline. "
        "Rates are over training seeds, with exact 95 % intervals as if seeds were independent. Hits: alarms at the "
        "trough or before, of runs that dip. False: alarms where accuracy never fell. Late: alarms after the trough. "
        f"Thresholds were fixed beforehand. {DASH}: no such run."
    )
    header_row = "".join(f'<th scope="col">{escape_html(name)}</th>' for name in headings)
    return (
        f'<details><summary>Every signal: hits, false alarms, lead</summary><div class="scroll"><table>'
        f"<caption>{escape_html(caption)}</caption><thead><tr>{header_row}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _render_signal_row(name: str, entry: Mapping[str, Any]) -> str:
    threshold = f"{format_number(read_finite_number(entry.get('threshold')), 2)} {entry.get('unit') or ''}".strip()
    cells = [threshold]
    cells += [
        f"{format_percent(f.value, 0)} {format_interval(f, 0)}".strip()
        for f in (parse_estimate(entry.get(k)) for k in ("hits", "false"))
    ]
    cells.append(format_number(read_finite_number(entry.get("late")), 0))
    lead, auc = parse_estimate(entry.get("lead")), parse_estimate(entry.get("auc"))
    cells += [f"{format_number(lead.value, 0)} {format_interval(lead, 0, scale=1)}".strip()]
    cells += [f"{format_number(auc.value, 2)} {format_interval(auc, 2, scale=1)}".strip()]
    inner = "".join(f"<td>{escape_html(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape_html(SIGNAL_NAMES.get(name, name))}</th>{inner}</tr>'
