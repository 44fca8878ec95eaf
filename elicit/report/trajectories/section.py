"""The section "Over training": what happens to accuracy, and beside it, at checkpoints from the base to the end.

Which part draws what:

    trajectories_read     the summary's figures as curves
    trajectories_curves   accuracy, its band, shapes and danger zones
    trajectories_small    response length, traces, losses, KL
    trajectories_words    the sentences
    trajectories_warning  what gradients foretold; trajectories_foretold draws it
    trajectories_axis     training steps on a logarithmic axis
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.report.charts import svg
from elicit.report.data.number_format import DASH, interval, percent, plain
from elicit.report.data.summary_view import Figure, Panel, panels
from elicit.report.html import tables
from elicit.report.html.tables import Cell, Column
from elicit.report.trajectories import companion_charts as small
from elicit.report.trajectories import curves as curves_of
from elicit.report.trajectories import early_warning as warning
from elicit.report.trajectories.data import Curve, Followed, followed, tasks_of
from elicit.report.trajectories.text import cautions, headline, named, short, spans, stopped, told
from elicit.text import escape

_SENTENCES = 12
"""At most so many curves in words; the table has all of them."""
_OPEN = 2
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


def section(panel: Panel) -> str:
    """One model's figures; empty where no arm was measured over training."""
    arms, warned = followed(panel), warning.section(panel)
    if not arms:
        return warned
    tasks = [[one.curves[label] for one in arms if label in one.curves] for label in tasks_of(arms)]
    tasks = [curves for found in tasks if (curves := [curve for curve in found if curve.known])]
    drawn = curves_of.figure(tasks, label=_label(panel, tasks))
    return (
        f"{_headlines(tasks)}<figure>{drawn}<figcaption>{escape(_caption(arms, tasks))}</figcaption></figure>"
        f"{_cautions(arms)}{_sentences(tasks)}{_companions(arms, tasks)}{_tables(tasks)}{warned}"
    )


def fragment(summary: Mapping[str, Any]) -> str:
    """The section of every model as HTML without a page around it, for notebooks; empty without trajectories."""
    found = [(panel.model, section(panel)) for panel in panels(summary)]
    known = [(model, drawn) for model, drawn in found if drawn]
    many = len(known) > 1
    inner = "".join(f"{f'<h3>{escape(model)}</h3>' if many else ''}{drawn}" for model, drawn in known)
    return f'{_STYLE}<div class="elicit-over">{inner}</div>' if known else ""


def _label(panel: Panel, tasks: Sequence[Sequence[Curve]]) -> str:
    said = "; ".join(f"{curve.arm.name} on {curve.label}: {short(curve)}" for curves in tasks for curve in curves)
    return f"Accuracy over training steps on {panel.model}. {said}"


def _headlines(tasks: Sequence[Sequence[Curve]]) -> str:
    """What a reader should see in the figure, a line a task."""
    items = [f"<li><b>{escape(curves[0].label)}</b>: {escape(headline(curves))}.</li>" for curves in tasks]
    return f"<ul>{''.join(items)}</ul>"


def _sentences(tasks: Sequence[Sequence[Curve]]) -> str:
    """Every curve that moves on another task, in words: there the papers disagree. The rest is in the tables."""
    moving = [curve for curves in tasks for curve in curves if curve.shape not in ("", "flat")]
    moving = [curve for curve in moving if not curve.target] or moving
    items = [
        f"<li><b>{escape(curve.arm.name)}</b> {_spaced(f'{told(curve)} {stopped(curve)}'.strip())}</li>"
        for curve in moving[:_SENTENCES]
    ]
    more = f"<p class=note>{len(moving) - _SENTENCES} more curves move: see the tables below.</p>"
    return f"<ul>{''.join(items)}</ul>{more if len(moving) > _SENTENCES else ''}" if items else ""


def _spaced(text: str) -> str:
    return escape(text).replace(" %", "\u00a0%").replace(", −", ",\u00a0−").replace(" [", "\u00a0[")


def _caption(arms: Sequence[Followed], tasks: Sequence[Sequence[Curve]]) -> str:
    seeds = ", ".join(f"{one.arm.name} {one.seeds}" for one in arms)
    asked = "; ".join(f"{curves[0].label} {counted}" for curves in tasks if (counted := _counted(curves)))
    parts = [f"Test problems at each checkpoint: {asked}."] if asked else []
    parts.append(
        "Bands: 95 % intervals over problems, checkpoint by checkpoint; they speak of these trained models. Shapes, "
        "troughs and danger zones resample training seeds as well. Per cent after a shape: its "
        'probability; a question mark where another shape is not far; "fits badly" where none of the six describes '
        "the curve. Ring with whiskers: trough or peak, where and how far from the base, with 95 % intervals."
    )
    if any(curve.danger for curves in tasks for curve in curves):
        parts.append(
            "Shade and bars below a panel: the danger zone, where stopping would leave that arm worse than the base "
            "(all steps at once, 90 %)."
        )
    most = max(len(curves) for curves in tasks)
    if most > curves_of.LINES:
        parts.append(f"Drawn are the first {curves_of.LINES} arms; {most - curves_of.LINES} more are in the tables.")
    parts.append(f"Training seeds: {seeds}.")
    return " ".join(parts)


def _counted(curves: Sequence[Curve]) -> str:
    """How many problems were asked, from fewest to most where arms or checkpoints differ."""
    counts = sorted({figure.n for curve in curves for figure in curve.accuracy if figure.n})
    return " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1]))) if counts else ""


def _companions(arms: Sequence[Followed], tasks: Sequence[Sequence[Curve]]) -> str:
    """The small charts under the names of their tasks; a legend, for they have no names in them."""
    shown = [(curves[0].label, inner) for curves in tasks if (inner := small.of_task(curves[: curves_of.LINES]))]
    kl = small.of_arms(arms[: curves_of.LINES])
    if not shown and not kl:
        return ""
    legend = " ".join(
        f'<span class="swatch">{_swatch(one)} {escape(one.arm.name)}</span>' for one in arms[: curves_of.LINES]
    )
    parts = [f"<h4>{escape(label)}: what moves beside accuracy</h4>{inner}" for label, inner in shown[:_OPEN]]
    parts += [f'<h4>Distance from the base</h4><div class="charts">{kl}</div>'] if kl else []
    parts += [
        f"<details><summary>{escape(label)}: what moves beside accuracy</summary>{inner}</details>"
        for label, inner in shown[_OPEN:]
    ]
    note = (
        "<p class=note>Steps as above. Dotted upright: where that arm's accuracy on this task turns. Valid steps are "
        "judged apart from the answer. Loss and token accuracy: on worked solutions of problems that are neither "
        "trained on nor tested; entropy along the arm's own answers.</p>"
    )
    return f'<p class="legend">{legend}</p>{"".join(parts)}{note}'


def _swatch(one: Followed) -> str:
    look = one.look
    body = [svg.line(1, 7, 27, 7, colour=look.colour, width=1.6, dash=look.dash)]
    return svg.svg(28, 14, [*body, svg.mark(look.mark, 14, 7, colour=look.colour, size=3.6)], label="")


def _tables(tasks: Sequence[Sequence[Curve]]) -> str:
    parts = []
    for curves in tasks:
        rows = [(curve.arm, _cells(curve)) for curve in curves]
        parts.append(tables.table(_COLUMNS, rows, caption=f"Over training on {escape(curves[0].label)}. {_TABLE}"))
    return f"<details><summary>Every curve in figures</summary>{''.join(parts)}</details>"


_TABLE = (
    "Points are shares of 100. Turn: the trough of a dip or the peak before a decline. Lost by stopping: at the lowest "
    f"loss on the run's own task; positive is lost. {DASH} does not apply."
)
_COLUMNS = [
    Column("shape", "the most probable, after the test whether there is any movement"),
    Column("probability %", "of that shape among the six"),
    Column("p, constant", "how often a constant curve moves as much"),
    Column("start %", "the base"),
    Column("end %", "the last step"),
    Column("turn, points", "from the base to the trough or peak"),
    Column("at step", "where it turns"),
    Column("undone, points", "way back from the turn to the end"),
    Column("worse than base at", "the danger zone, all steps at once, 90 %"),
    Column("stopped at step", "of the lowest in-domain loss"),
    Column("lost to best", "best chosen on other problems than it is judged on"),
    Column("lost to end", "paired"),
]


def _cells(curve: Curve) -> list[Cell]:
    place, known = escape(curve.place), curve.known
    (first, _, start), (last, _, end) = known[0], known[-1]
    unknown = Figure(None)
    turn, stop = curve.turn, curve.stopping
    size, step, undone = turn or (unknown, unknown, unknown)
    at = None if stop is None else stop.step
    p = curve.probability
    return [
        Cell(named(curve.shape) if curve.shape else DASH),
        Cell(percent(p, 0), "", f"{place}.curve.probabilities.{escape(curve.shape)}", p, _all(curve)),
        Cell(plain(curve.flat_p, 3), "", f"{place}.curve.flat_p", curve.flat_p),
        tables.share(start, f"{place}.accuracy.{first}"),
        tables.share(end, f"{place}.accuracy.{last}"),
        _points(size, f"{place}.curve.turn.size"),
        Cell(plain(step.value, 0), interval(step, 0, scale=1), f"{place}.curve.turn.step", step.value),
        _points(undone, f"{place}.curve.turn.undone"),
        Cell(spans(curve.danger, curve.steps).removeprefix("steps ").removeprefix("step ") or "nowhere shown"),
        Cell(plain(at, 0), "", f"{place}.stopping.step", at),
        _points(unknown if stop is None else stop.to_best, f"{place}.stopping.to_best"),
        _points(unknown if stop is None else stop.to_end.figure, f"{place}.stopping.to_end"),
    ]


def _all(curve: Curve) -> str:
    return ", ".join(f"{named(name)} {percent(p)} %" for name, p in curve.probabilities.items())


def _points(figure: Figure, key: str) -> Cell:
    return Cell(percent(figure.value), interval(figure), key, figure.value)


def _cautions(arms: Sequence[Followed]) -> str:
    return f'<p class="note">{_spaced(" ".join(cautions(arms)))}</p>'


def lines(panel: Panel) -> list[str]:
    """One line an arm, for a terminal: its shape on every task."""
    found = []
    for one in followed(panel):
        said = [f"{curve.label} {short(curve)}" for curve in one.curves.values() if curve.known]
        found.append(f"{one.arm.name}: {'; '.join(said)}")
    return found
