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
from elicit.report.trajectories.warning_facts import Alarm, Crossing, MissingDip, WarningFacts, judge_warning
from elicit.text import escape_html

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
    watched_tasks = [watched for arm in panel.arms for watched in read_watched_tasks(arm)]
    charts = "".join(
        markup
        for watched_task in watched_tasks
        if (markup := render_forecast_chart(watched_task, write_warning(judge_warning(watched_task))))
    )
    table = _render_signal_table(panel)
    if not charts and not table:
        return ""
    items = "".join(
        f"<li><b>{escape_html(watched.arm.name)}</b> {escape_html(write_warning(judge_warning(watched)))}</li>"
        for watched in watched_tasks
    )
    note = (
        "<p class=note>To first order a step changes another task's loss by (change of the parameters) · (gradient of "
        "that loss). Summed up, this foretells the loss without measuring it: where the sum turns down again, the "
        "model stops forgetting. Upright line: that turn, one a seed. Shade: the checkpoints beside the trough of "
        "accuracy, which is known no better. Lead: steps from the turn to the trough; negative is too late. The turn "
        "is found when training is over; an alarm is raised while it goes on.</p>"
    )
    return f'<h3>Early warning</h3>{note}<div class="charts">{charts}</div><ul>{items}</ul>{table}'


def read_watched_tasks(arm: Arm) -> list[WatchedTask]:
    """The tasks that were watched while an arm trained."""
    data = arm.data.get("warning")
    tasks = get_nested(data, "tasks")
    if not isinstance(data, Mapping) or not isinstance(tasks, Mapping):
        return []
    steps = tuple(read_finite_number(step) for step in list_or_empty(data.get("steps")))
    return [
        WatchedTask(arm, str(label), entry, steps, data) for label, entry in tasks.items() if isinstance(entry, Mapping)
    ]


def write_warning(facts: WarningFacts) -> str:
    """The worth of the warning on one curve, in words."""
    parts = [_write_explained_share(facts.explained_share)]
    if facts.crossing is not None:
        parts.append(_write_crossing(facts.crossing))
    if facts.alarm is not None:
        parts.append(_write_alarm(facts.alarm))
    if facts.watch_share is not None:
        parts.append(f"Watching took {format_percent(facts.watch_share, 0)} % of the training time.")
    if facts.is_single_seed:
        parts.append("One training seed: how much another would differ is not covered.")
    return f"on {facts.task}: {' '.join(parts)}"


def _write_explained_share(share: float | None) -> str:
    if share is None:
        return "the measured loss does not change, so there is nothing to foretell."
    if share <= 0:
        return f"the foretold changes are worse than foretelling none (explained {format_number(share, 2)})."
    return f"the integral explains {format_percent(share, 0)} % of the changes of the measured loss."


def _write_crossing(crossing: Crossing) -> str:
    if not crossing.steps:
        return "It does not turn."
    text = f"It turns at step {_format_step_range(crossing.steps)} in {len(crossing.steps)} of {crossing.seeds} seeds"
    if crossing.trough is None:
        return f"{text}{_write_missing_dip(crossing.missing_dip)}."
    interval = format_interval(crossing.trough, 0, scale=1)
    text += f"; the trough of accuracy is at step {format_number(crossing.trough.value, 0)} {interval}".rstrip()
    return text + ("." if crossing.lead is None else f": lead {_format_lead(crossing.lead)}.")


def _write_alarm(alarm: Alarm) -> str:
    threshold = format_number(alarm.threshold, 2)
    text = f"The alarm at {threshold} nats a token is raised in {len(alarm.steps)} of {alarm.seeds} seeds"
    text += f", at step {_format_step_range(alarm.steps)}" if alarm.steps else ""
    if alarm.lead is not None:
        return f"{text}: {_format_lead(alarm.lead)} before the trough."
    return f"{text}{_write_missing_dip(alarm.missing_dip)}."


def _write_missing_dip(missing_dip: MissingDip | None) -> str:
    if missing_dip is None:
        return ""
    consequence = "it counts as false" if missing_dip.counts_as_false else "it counts as neither a hit nor false"
    return f"; accuracy there: {name_shape(missing_dip.shape)}, so {consequence}"


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
