"""Reasoning up against refusal down: every arm against the base, which is the origin, with both intervals.

Drawn from `arms.<arm>.asymmetry` of the summary alone (see `elicit.analysis.asymmetry`), where a spec has a refusal
task off target. Lines lead through the checkpoints of an arm to its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.report.charts import scatter, svg
from elicit.report.charts.scatter import Curve, Dot, Plane
from elicit.report.data.number_format import DASH, interval, percent, plain
from elicit.report.data.summary_view import Arm, Figure, Panel, Versus, dig, estimate, number
from elicit.report.html import tables
from elicit.report.html.tables import Cell, Column
from elicit.text import escape

INTRO = (
    "<p>Fine-tuning on long traces was seen to raise reasoning and to undo refusals (2604.06628). Here a benign "
    "stand-in: requests that carry a mark must be refused, and nothing harmful is asked. Right and down is the tax: "
    "reasoning gained, refusal lost.</p>"
)
#: An axis shows at least so much on both sides: a point of difference should look small.
_LEAST = 0.1
_SAID = {
    "tax": "reasoning up, refusal down",
    "kept": "reasoning up, refusal kept",
    "loss": "refusal down, reasoning not shown to be up",
    "still": "refusal kept, reasoning not shown to be up",
    "unclear": "refusal neither shown to be lost nor to be kept",
    "none": "the base hardly refuses, so there is little to lose",
}


class Step(NamedTuple):
    """An arm at one step. Differences are as in the summary: a loss is positive where refusals are lost."""

    i: int
    step: float
    gain: Versus
    loss: Versus
    over: Versus
    verdict: str

    @property
    def refused(self) -> Figure:
        """Change of the share of marked requests refused, arm minus base."""
        return turned(self.loss.figure)


class Path(NamedTuple):
    """One arm on one refusal task, from its first checkpoint to its end."""

    arm: Arm
    label: str
    steps: Sequence[Step]
    price: Figure
    both: float | None
    base: Figure
    margin: float | None
    free: Sequence[float]

    @property
    def end(self) -> Step:
        return self.steps[-1]

    def key(self, name: str, step: Step) -> str:
        """Where a figure stands in the arm's summary."""
        return f"asymmetry.{self.label}.{name}.{step.i}"


def section(panel: Panel) -> str:
    """One model's figures, a refusal task each; empty without one."""
    labels = list(dict.fromkeys(label for arm in panel.arms for label in _entries(arm)))
    parts = []
    for label in labels:
        paths = [path for arm in panel.arms if (path := _path(arm, label)) is not None]
        if paths:
            parts.append(_one(panel, label, paths))
    return "".join(parts)


def sentence(path: Path) -> str:
    """What happened to an arm by the end of its training."""
    end = path.end
    said = (
        f"reasoning {percent(end.gain.figure.value, signed=True)} points {interval(end.gain.figure, signed=True)}, "
        f"refusal {percent(end.refused.value, signed=True)} {interval(end.refused, signed=True)}: "
        f"{_SAID.get(end.verdict, _SAID['unclear'])}."
    )
    if path.price.value is not None and end.verdict == "tax":
        said += f" {plain(10 * path.price.value)} refusals lost per 10 answers gained {interval(path.price, scale=10)}."
    if end.over.figure.low is not None and end.over.figure.low > 0:
        over = end.over.figure
        said += f" {percent(over.value)} points {interval(over)} of unmarked requests are no longer answered."
    if path.free and len(path.steps) > 1 and end.verdict != "kept":
        said += f" Reasoning was up and refusal kept at step {', '.join(plain(step, 0) for step in path.free)}."
    return said


def turned(figure: Figure) -> Figure:
    """The same difference seen from the other side."""
    value, low, high = (None if bound is None else -bound for bound in figure[:3])
    return figure._replace(value=value, low=high, high=low)


def _one(panel: Panel, label: str, paths: Sequence[Path]) -> str:
    planes = [_plane(f"marked requests refused ({label})", paths, over=False)]
    if any(step.over.figure.value is not None for path in paths for step in path.steps):
        planes.append(_plane("unmarked requests answered", paths, over=True))
    drawn = scatter.picture(planes, label=_alt(panel, label, paths), least=300)
    items = "".join(f"<li><b>{escape(path.arm.name)}</b>: {escape(sentence(path))}</li>" for path in paths)
    return (
        f"<figure>{drawn}<figcaption>{escape(_caption(panel, paths, len(planes) > 1))}</figcaption></figure>"
        f"<ul>{items}</ul>{_table(label, paths)}"
    )


def _alt(panel: Panel, label: str, paths: Sequence[Path]) -> str:
    said = "; ".join(f"{path.arm.name}: {_SAID.get(path.end.verdict, '')}" for path in paths)
    return f"Change of {label} against change of {panel.task} on {panel.model}. {said}"


def _caption(panel: Panel, paths: Sequence[Path], twin: bool) -> str:
    first = paths[0]
    at = f"{percent(first.base.value)} % {interval(first.base)} of {first.base.n} marked requests"
    parts = [
        f"Change against the base in points: right answers to {panel.task} across, requests up and down; paired 95 % "
        f"intervals over problems and training seeds. Grey diamond: the base, which refuses {at}. Shaded: more "
        "reasoning, less refusal. Small marks: checkpoints, joined in their order; the large one is the end. "
        "Hollow: controls."
    ]
    if first.margin is not None:
        parts.append(f"Kept: whatever is lost is less than {percent(first.margin, 0)} points with its whole interval.")
    if twin:
        parts.append("Right plane: the same requests without the mark, where refusing is wrong.")
    return " ".join(parts)


def _plane(title: str, paths: Sequence[Path], *, over: bool) -> Plane:
    curves: list[Curve] = []
    dots = [_origin()]
    for path in paths:
        found = [dot for step in path.steps if (dot := _dot(path, step, over=over)) is not None]
        if not found:
            continue
        if len(found) > 1:  # a line is a training that was followed; a single point stands alone
            curves.append(Curve([_origin(hidden=True), *found], path.arm.family.colour, path.arm.name, _dash(path)))
        else:
            dots.append(found[0]._replace(label=path.arm.name))
    drawn = [*dots, *(one for curve in curves for one in curve.dots)]
    across, up = _reach(one.across for one in drawn), _reach(one.figure for one in drawn)
    return Plane(
        title=title,
        x_label="change of right answers, points",
        x=across,
        y=up,
        curves=curves,
        dots=dots,
        logarithmic=False,
        signed=True,
        corner=not over,
    )


def _origin(*, hidden: bool = False) -> Dot:
    zero = Figure(0.0)
    return Dot(0.0, zero, svg.GREY, None if hidden else "diamond", "" if hidden else "base", size=4, across=zero)


def _dash(path: Path) -> str:
    return "3 3" if path.arm.role == "control" else ""


def _dot(path: Path, step: Step, *, over: bool) -> Dot | None:
    name, change = ("over", turned(step.over.figure)) if over else ("loss", step.refused)
    given, gain = (step.over if over else step.loss), step.gain.figure
    if gain.value is None or change.value is None:
        return None
    last = step is path.end
    title = (
        f"{path.arm.name}, step {plain(step.step, 0)}: {percent(gain.value, signed=True)} "
        f"{interval(gain, signed=True)} and {percent(change.value, signed=True)} {interval(change, signed=True)} points"
    )
    bare = gain._replace(low=None, high=None), change._replace(low=None, high=None)
    across, up = (gain, change) if last else bare
    data = {"arm": path.arm.name, "key": path.key(name, step), "value": repr(given.figure.value)}
    shape: svg.Mark = path.arm.family.shape if last else "circle"
    size = 4.8 if last else 2.4
    hollow = path.arm.role == "control" and last
    return Dot(gain.value, up, path.arm.family.colour, shape, title, "", hollow, size, data, across)


def _reach(figures: Any) -> tuple[float, float]:
    """An axis around 0, a little wider than what is drawn."""
    ends = [-_LEAST, _LEAST]
    for one in figures:
        if one is not None:
            ends += [bound for bound in (one.value, one.low, one.high) if bound is not None]
    room = 0.06 * (max(ends) - min(ends))
    return max(-1.0, min(ends) - room), min(1.0, max(ends) + room)


_COLUMNS = [
    Column("step", "of training; 0 where nothing was trained"),
    Column("reasoning, points", "right answers, arm minus base"),
    Column("refusals lost, points", "base minus arm, of marked requests"),
    Column("unmarked lost, points", "base minus arm, of unmarked requests answered"),
    Column("what happened", "from both intervals"),
]


def _table(label: str, paths: Sequence[Path]) -> str:
    rows = []
    for path in paths:
        for step in path.steps:
            cells = [Cell(plain(step.step, 0))]
            for name, one in (("gain", step.gain), ("loss", step.loss), ("over", step.over)):
                note = f"n = {one.figure.n} problems" if one.figure.n else ""
                shown = percent(one.figure.value, signed=True)
                cells.append(
                    Cell(shown, interval(one.figure, signed=True), escape(path.key(name, step)), one.figure.value, note)
                )
            cells.append(Cell(_SAID.get(step.verdict, DASH)))
            rows.append((path.arm, cells))
    caption = f"Reasoning gained and refusals lost against the base, {escape(label)}; {DASH} is not known."
    return f"<details><summary>Every step in figures</summary>{tables.table(_COLUMNS, rows, caption=caption)}</details>"


def _entries(arm: Arm) -> Mapping[str, Any]:
    found = arm.data.get("asymmetry")
    return found if isinstance(found, Mapping) else {}


def _path(arm: Arm, label: str) -> Path | None:
    entry = _entries(arm).get(label)
    if not isinstance(entry, Mapping):
        return None
    steps = []
    for i, step in enumerate(_list(entry, "steps")):
        at = number(step)
        if at is not None:
            gain, loss, over = (_versus(arm, entry, name, i) for name in ("gain", "loss", "over"))
            verdicts = _list(entry, "verdicts")
            steps.append(Step(i, at, gain, loss, over, str(verdicts[i]) if i < len(verdicts) else "unclear"))
    known = [step for step in steps if step.gain.figure.value is not None and step.loss.figure.value is not None]
    if not known:
        return None
    prices, both = _list(entry, "price"), _list(entry, "both")
    end = known[-1].i
    return Path(
        arm,
        label,
        known,
        estimate(prices[end] if end < len(prices) else None),
        number(both[end]) if end < len(both) else None,
        estimate(dig(entry, "base_refuses")),
        number(entry.get("margin")),
        [step for given in _list(entry, "free") if (step := number(given)) is not None],
    )


def _versus(arm: Arm, entry: Mapping[str, Any], name: str, i: int) -> Versus:
    listed = _list(entry, name)
    return arm._replace(data={"one": listed[i] if i < len(listed) else None}).versus("one")


def _list(entry: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = entry.get(name)
    return found if isinstance(found, list | tuple) else ()
