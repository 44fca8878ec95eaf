"""Early warning: what gradients foretold of another task's loss while an arm trained, and how long before the trough.

One chart an arm and watched task: the loss on that task as measured, and as the running integral of (update . gradient)
foretold it; below, the cosine of the two tasks' gradients. Over all arms and seeds: a table of signals, with hits and
false alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.report.data.number_format import DASH, interval, percent, plain
from elicit.report.data.summary_view import Arm, Figure, Panel, dig, estimate, number
from elicit.report.trajectories.loss_forecast import Watched, chart, entries
from elicit.report.trajectories.text import named
from elicit.text import escape

CALM = ("flat", "monotone-up")
"""Shapes where accuracy never fell by the classification: an alarm counts as false."""
SIGNALS = {
    "gradient": "integral of update · gradient",
    "trapezoid": "the same, both ends of a step",
    "loss": "measured loss itself",
    "cosine": "cosine of the gradients",
    "token_accuracy": "token accuracy (free)",
    "length": "response length (free)",
    "finished": "finished answers (free)",
}


def section(panel: Panel) -> str:
    """One model's charts and the table of signals; empty where no arm was watched."""
    found = [watched for arm in panel.arms for watched in _watched(arm)]
    charts = "".join(drawn for one in found if (drawn := chart(one, told(one))))
    table = _table(panel)
    if not charts and not table:
        return ""
    said = "".join(f"<li><b>{escape(one.arm.name)}</b> {escape(told(one))}</li>" for one in found)
    note = (
        "<p class=note>To first order a step changes another task's loss by (change of the parameters) · (gradient of "
        "that loss). Summed up, this foretells the loss without measuring it: where the sum turns down again, the "
        "model stops forgetting. Upright line: that turn, one a seed. Shade: the checkpoints beside the trough of "
        "accuracy, which is known no better. Lead: steps from the turn to the trough; negative is too late. The turn "
        "is found when training is over; an alarm is raised while it goes on.</p>"
    )
    return f'<h3>Early warning</h3>{note}<div class="charts">{charts}</div><ul>{said}</ul>{table}'


def _watched(arm: Arm) -> list[Watched]:
    data = arm.data.get("warning")
    tasks = dig(data, "tasks")
    if not isinstance(data, Mapping) or not isinstance(tasks, Mapping):
        return []
    steps = tuple(number(step) for step in entries(data.get("steps")))
    return [
        Watched(arm, str(label), entry, steps, data) for label, entry in tasks.items() if isinstance(entry, Mapping)
    ]


def told(one: Watched) -> str:
    """What the warning was worth here, in words."""
    parts = [_explained(one), _turn(one), _alarm(one), _cost(one)]
    return f"on {one.label}: " + " ".join(part for part in parts if part)


def _explained(one: Watched) -> str:
    share = number(dig(one.data, "explained", "integral"))
    if share is None:
        return "the measured loss does not change, so there is nothing to foretell."
    if share <= 0:
        return f"the foretold changes are worse than foretelling none (explained {plain(share, 2)})."
    return f"the integral explains {percent(share, 0)} % of the changes of the measured loss."


def _turn(one: Watched) -> str:
    steps = [step for step in one.places("crossing", "steps") if step is not None]
    count = len(one.places("crossing", "steps"))
    if not steps:
        return "It does not turn." if count else ""
    text = f"It turns at step {_spread(steps)} in {len(steps)} of {count} seeds"
    lead, trough = estimate(dig(one.data, "crossing", "lead")), one.trough
    if trough.value is None:
        return f"{text}{_without_dip(one)}."
    text += f"; the trough of accuracy is at step {plain(trough.value, 0)} {interval(trough, 0, scale=1)}".rstrip()
    return text + (f": lead {_steps(lead)}." if lead.value is not None else ".")


def _alarm(one: Watched) -> str:
    alarms = one.places("signals", "gradient", "alarm")
    raised = [step for step in alarms if step is not None]
    if not alarms:
        return ""
    threshold = plain(number(dig(one.data, "signals", "gradient", "threshold")), 2)
    text = f"The alarm at {threshold} nats a token is raised in {len(raised)} of {len(alarms)} seeds"
    text += f", at step {_spread(raised)}" if raised else ""
    lead = estimate(dig(one.data, "signals", "gradient", "lead"))
    if lead.value is not None:
        return f"{text}: {_steps(lead)} before the trough."
    return f"{text}{_without_dip(one) if raised else ''}."


def _without_dip(one: Watched) -> str:
    """What an alarm counts as where accuracy does not dip; empty where it was not followed, or dips."""
    shape = str(one.data.get("shape") or "")
    if not shape or one.data.get("dips") is not False:
        return ""
    counts = "it counts as false" if shape in CALM else "it counts as neither a hit nor false"
    return f"; accuracy there: {named(shape)}, so {counts}"


def _cost(one: Watched) -> str:
    share, seeds = number(one.every.get("share")), number(one.every.get("seeds"))
    parts = [f"Watching took {percent(share, 0)} % of the training time."] if share is not None else []
    if seeds == 1:
        parts.append("One training seed: how much another would differ is not covered.")
    return " ".join(parts)


def _steps(lead: Figure) -> str:
    return f"{plain(lead.value, 0)} steps {interval(lead, 0, scale=1)}".strip()


def _spread(steps: Sequence[float]) -> str:
    low, high = min(steps), max(steps)
    return plain(low, 0) if low == high else f"{plain(low, 0)}–{plain(high, 0)}"


def _table(panel: Panel) -> str:
    """What every signal was worth over all arms, tasks and seeds of this model."""
    signals = dig(panel.data, "warning", "signals")
    if not isinstance(signals, Mapping):
        return ""
    rows = "".join(_row(str(name), entry) for name, entry in signals.items() if isinstance(entry, Mapping))
    counts = {
        kind: len(names) if isinstance(names := dig(panel.data, "warning", kind), list) else 0
        for kind in ("dips", "calm", "declines")
    }
    heads = ("signal", "alarm from", "hits %", "false alarms %", "late", "lead, steps", "dips told from calm (AUC)")
    caption = (
        f"Curves (arm and task): {counts['dips']} that dip, {counts['calm']} calm, {counts['declines']} that decline. "
        "Rates are over training seeds, with exact 95 % intervals as if seeds were independent. Hits: alarms at the "
        "trough or before, of runs that dip. False: alarms where accuracy never fell. Late: alarms after the trough. "
        f"Thresholds were fixed beforehand. {DASH}: no such run."
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return (
        f'<details><summary>Every signal: hits, false alarms, lead</summary><div class="scroll"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _row(name: str, entry: Mapping[str, Any]) -> str:
    threshold = f"{plain(number(entry.get('threshold')), 2)} {entry.get('unit') or ''}".strip()
    cells = [threshold]
    cells += [
        f"{percent(f.value, 0)} {interval(f, 0)}".strip() for f in (estimate(entry.get(k)) for k in ("hits", "false"))
    ]
    cells.append(plain(number(entry.get("late")), 0))
    lead, auc = estimate(entry.get("lead")), estimate(entry.get("auc"))
    cells += [f"{plain(lead.value, 0)} {interval(lead, 0, scale=1)}".strip()]
    cells += [f"{plain(auc.value, 2)} {interval(auc, 2, scale=1)}".strip()]
    inner = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(SIGNALS.get(name, name))}</th>{inner}</tr>'
