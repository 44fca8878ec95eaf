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
from elicit.report.charts.scatter import Curve, Dot, Plane
from elicit.report.data.number_format import DASH, interval, percent, plain
from elicit.report.data.summary_view import Arm, Figure, Panel
from elicit.report.html import tables
from elicit.report.html.tables import Cell, Column
from elicit.report.trajectories.data import followed
from elicit.text import escape

INTRO = (
    "<p>Strong bases were seen to take over the reasoning in long traces, weak ones only their length (2604.06628). "
    "Across: what each base could do before, the mean over all tasks of the run, each asked as the base answers best. "
    "A gain that rises to the right is the claim; longer answers without valid steps are imitation.</p>"
)
_LEAST = 3
"""Models. Between two there is no curve."""
_LOOKS: tuple[tuple[str, svg.Mark, str], ...] = (
    (svg.ORANGE, "circle", ""),
    (svg.BLUE, "square", "6 3"),
    (svg.GREEN, "up", "2 2"),
    (svg.PURPLE, "diamond", "7 2 2 2"),
    (svg.OCHRE, "down", "1 3"),
)


class Rung(NamedTuple):
    """One arm on one model and one task."""

    model: str
    run: str
    """The run's own task on this model: only those that are asked the same one are set side by side."""
    arm: Arm
    label: str
    ability: Figure
    """Of the base, mean over all tasks: on each the better of its default and its ceilings."""
    gain: Figure
    """Of right answers over the base, paired."""
    gain_key: str
    before: Figure
    """Tokens an answer at the start."""
    after: Figure
    """Tokens an answer at the end."""
    longer: Figure
    """Length at the end over that at the start; the interval is that of the end."""
    valid: Figure
    """Share of answers that show work whose every step is right, at the end."""
    place: str


def section(found: Sequence[Panel]) -> str:
    """A figure and a table an arm, empty where no arm was followed on three models or more."""
    return "".join(figure(name, rungs) + _table(name, rungs) for name, rungs in ladders(found).items())


def ladders(found: Sequence[Panel]) -> Mapping[str, list[Rung]]:
    """Arm (and the run's own task, where there are several) -> its rungs, task by task, from the weakest base up."""
    rungs: dict[tuple[str, str], list[Rung]] = {}
    for panel in found:
        for one in _rungs(panel):
            rungs.setdefault((one.run, one.arm.name), []).append(one)
    climbed = {key: listed for key, listed in rungs.items() if len({one.model for one in listed}) >= _LEAST}
    several = len({run for run, _ in climbed}) > 1
    return {f"{arm}, {run}" if several else arm: _ordered(listed) for (run, arm), listed in climbed.items()}


def _ordered(rungs: Sequence[Rung]) -> list[Rung]:
    tasks = list(dict.fromkeys(one.label for one in rungs))
    return sorted(rungs, key=lambda one: (tasks.index(one.label), one.ability.value or 0.0))


def _rungs(panel: Panel) -> list[Rung]:
    arms, found = followed(panel), []
    ability = _ability(panel, {label: curve.target for one in arms for label, curve in one.curves.items()})
    if ability.value is None:
        return []
    for one in arms:
        for label, curve in one.curves.items():
            keys = ("vs_base",) if curve.target else ("off_target_vs_base", label)
            before, after = (curve.measures["tokens"][i] for i in (0, -1))
            found.append(
                Rung(
                    panel.model,
                    panel.task,
                    one.arm,
                    label,
                    ability,
                    one.arm.versus(*keys).figure,
                    ".".join(keys),
                    before,
                    after,
                    _scaled(after, 1 / before.value) if before.value else Figure(None),
                    curve.measures["valid_trace_rate"][-1],
                    f"{curve.place}.{{}}.{len(curve.steps) - 1}",
                )
            )
    return found


def _ability(panel: Panel, tasks: Mapping[str, bool]) -> Figure:
    """Mean over tasks (label -> whether it is the run's own); unknown where one of them is."""
    asked = [arm for arm in panel.arms if arm.role in ("base", "ceiling")]
    best = []
    for label, target in tasks.items():
        figures = [arm.accuracy if target else arm.estimate("off_target", label) for arm in asked]
        known = [one for one in figures if one.value is not None]
        if not known:
            return Figure(None)
        best.append(max(known, key=lambda one: one.value or 0.0))
    if not best:
        return Figure(None)
    mean = fmean(one.value or 0.0 for one in best)
    # Tasks are asked different problems, so that their errors are independent.
    low = math.hypot(*((one.value or 0.0) - (one.low or 0.0) for one in best)) / len(best)
    high = math.hypot(*((one.high or 0.0) - (one.value or 0.0) for one in best)) / len(best)
    bounded = all(one.low is not None and one.high is not None for one in best)
    return Figure(mean, mean - low, mean + high, None, True) if bounded else Figure(mean)


def _scaled(figure: Figure, by: float) -> Figure:
    value, low, high = (None if bound is None else bound * by for bound in figure[:3])
    return figure._replace(value=value, low=low, high=high)


def figure(name: str, rungs: Sequence[Rung]) -> str:
    """One arm: gains, lengths and valid work against ability, a curve a task."""
    gains = [bound for one in rungs for bound in one.gain[:3] if bound is not None]
    lengths = [bound for one in rungs for bound in one.longer[:3] if bound is not None]
    planes = [
        _plane("gain, points", rungs, (min([0.0, *gains]), max([0.1, *gains])), "gain"),
        _plane("answer length, % of before", rungs, (0.0, max([1.0, *lengths])), "longer"),
        _plane("every step right, %", rungs, (0.0, 1.0), "valid"),
    ]
    said = [_sentence(list(listed)) for _, listed in groupby(rungs, key=lambda one: one.label)]
    drawn = scatter.picture(planes, label=f"{name} on bases from weak to strong. {' '.join(said)}")
    items = "".join(f"<li>{escape(one)}</li>" for one in said)
    return (
        f"<figure><h4>{escape(name)}</h4>{drawn}<figcaption>{escape(_caption(rungs))}</figcaption></figure>"
        f"<ul>{items}</ul>"
    )


def _plane(title: str, rungs: Sequence[Rung], reach: tuple[float, float], which: str) -> Plane:
    curves = []
    for i, (label, listed) in enumerate(groupby(rungs, key=lambda one: one.label)):
        look = _LOOKS[i % len(_LOOKS)]
        curves.append(Curve([_dot(one, which, look) for one in listed], look[0], label, look[2]))
    low, high = reach
    room = 0.04 * (high - low)
    return Plane(
        title=title,
        x_label="what the base could do, %",
        x=(0.0, 100.0),
        y=(low - room if low else 0.0, high + room),
        curves=curves,
        logarithmic=False,
    )


def _dot(one: Rung, which: str, look: tuple[str, svg.Mark, str]) -> Dot:
    figure: Figure = getattr(one, which)
    key = {"gain": one.gain_key, "longer": one.place.format("tokens"), "valid": one.place.format("valid_trace_rate")}
    own = one.after if which == "longer" else figure
    title = f"{one.model}, {one.label}: {percent(figure.value, signed=which == 'gain')} {interval(figure)}"
    data = {"arm": one.arm.name, "model": one.model, "key": key[which], "value": repr(own.value)}
    ability = 100 * (one.ability.value or 0.0)
    return Dot(ability, figure, look[0], look[1], title, size=3.6, data=data)


def _sentence(rungs: Sequence[Rung]) -> str:
    """One task, from the weakest base to the strongest."""
    gains = ", ".join(
        f"{percent(one.gain.value, signed=True)} {interval(one.gain, signed=True)} points on {one.model}"
        for one in rungs
    )
    ratios = [one.longer.value for one in rungs if one.longer.value is not None]
    valid = ", ".join(percent(one.valid.value, 0) for one in rungs)
    longer = f"{plain(min(ratios))} to {plain(max(ratios))} times as long" if ratios else f"{DASH} times as long"
    return f"{rungs[0].label}: gain {gains}; answers {longer}; every step right in {valid} %."


def _caption(rungs: Sequence[Rung]) -> str:
    bases = {one.model: f"{one.model} {percent(one.ability.value, 0)} % {interval(one.ability, 0)}" for one in rungs}
    gains, ends = _counts(rungs)
    return (
        f"Bases from left to right: {', '.join(bases.values())}, mean over the tasks as asked best. Gains: paired with "
        f"the model's own base, over problems (n = {gains} a task) and training seeds ({rungs[0].arm.seeds}). Length: "
        f"mean tokens at the end of training over those at its start (n = {ends}); its interval is that of the end. "
        "Every step right: share of the same answers that show work and whose every step is right. Thin uprights: 95 % "
        "intervals."
    )


def _counts(rungs: Sequence[Rung]) -> tuple[str, str]:
    """Problems behind gains, and behind lengths and valid work."""
    counts = [one.gain.n for one in rungs if one.gain.n], [one.after.n for one in rungs if one.after.n]
    gains, ends = (" to ".join(str(n) for n in sorted({min(ns), max(ns)})) if ns else DASH for ns in counts)
    return gains, ends


_COLUMNS = [
    Column("model", "from the weakest base to the strongest"),
    Column("task", "what was asked"),
    Column("base, %", "right answers of the base, mean over the tasks, each asked as it answers best"),
    Column("gain, points", "right answers, arm minus base"),
    Column("tokens before", "an answer, at the start of training"),
    Column("tokens after", "an answer, at its end"),
    Column("every step right, %", "share of answers with valid work, at the end"),
]


def _table(name: str, rungs: Sequence[Rung]) -> str:
    rows = []
    for one in rungs:
        cells = [
            Cell(escape(one.model)),
            Cell(escape(one.label)),
            Cell(percent(one.ability.value), interval(one.ability), "", one.ability.value),
            Cell(percent(one.gain.value, signed=True), interval(one.gain, signed=True), one.gain_key, one.gain.value),
            Cell(plain(one.before.value), interval(one.before, scale=1), "", one.before.value),
            Cell(plain(one.after.value), interval(one.after, scale=1), one.place.format("tokens"), one.after.value),
            Cell(percent(one.valid.value), interval(one.valid), one.place.format("valid_trace_rate"), one.valid.value),
        ]
        rows.append((one.arm, cells))
    caption = f"{escape(name)} on stronger and weaker bases; {DASH} is not known."
    drawn = tables.table(_COLUMNS, rows, caption=caption)
    return f"<details><summary>{escape(name)} in figures</summary>{drawn}</details>"
