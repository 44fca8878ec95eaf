"""Curves over training in words: their shape with its probability, their turn, and what early stopping would have lost.

A shape is said as the summary has it. What is not shown is said to be not shown, and a shape with a rival is named
with the rival.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from elicit.report.data.number_format import interval, p_value, percent, plain
from elicit.report.data.summary_view import Figure
from elicit.report.trajectories.data import Curve, Followed
from elicit.report.verdict.phrases import listed, points

SHAPES = {
    "flat": "no movement shown",
    "monotone-up": "rises",
    "monotone-down": "falls throughout",
    "dip-recover": "dips, then recovers",
    "dip-only": "dips and stays down",
    "peak-decline": "peaks, then declines",
}
SURE = 0.8
"""A shape less probable than this is named with its nearest rival."""
_FEW = 4
"""Training seeds up to which their spread is hardly known."""
_LESS = 0.1
"""A fall of the share of finished or readable answers that is said."""
_FORM = (
    ("finished_rate", "are finished", "a longer limit may undo the loss"),
    ("answered_rate", "can be read", "the loss is in part one of form"),
)
_POOR = 0.01
"""A chi-square p of the best curve of the shape below which no shape describes the curve."""


def named(shape: str) -> str:
    return SHAPES.get(shape, shape)


def short(curve: Curve) -> str:
    """For a label in a figure: `dips, then recovers 93 %`, with a question mark where a rival is near."""
    if not curve.shape:
        return "too few checkpoints"
    if curve.shape == "flat":
        return named("flat")
    p = curve.probability
    return f"{named(curve.shape)}{'' if sure(curve) else '?'} {percent(p, 0)} %{', fits badly' if ill(curve) else ''}"


def ill(curve: Curve) -> bool:
    """Whether even the best curve of the shape does not describe what was measured."""
    return curve.misfit_p is not None and curve.misfit_p < _POOR


def sure(curve: Curve) -> bool:
    return curve.probability is not None and curve.probability >= SURE


def shape(curve: Curve) -> str:
    """`dips, then recovers: 93 %`, with what else it may be."""
    if not curve.shape:
        return "has too few checkpoints to be given a shape"
    if curve.shape == "flat":
        said = f"{named('flat')}: a constant curve moves as much with p = {p_value(curve.flat_p)}"
        return said.replace("= <", "< ")
    said = f"{named(curve.shape)}: {percent(curve.probability, 0)} %"
    rivals = sorted(((p, name) for name, p in curve.probabilities.items() if name != curve.shape), reverse=True)
    if not sure(curve) and rivals:
        p, name = rivals[0]
        said += f", or {named(name)}: {percent(p, 0)} %"
    if ill(curve):
        said += f"; no shape describes it well, p {p_value(curve.misfit_p)}".replace("p 0", "p = 0")
    return said


def turned(curve: Curve) -> str:
    """Where it turned and how far it came back; empty without a turn."""
    if curve.turn is None or curve.turn.size.value is None:
        return ""
    size, step, undone = curve.turn
    down = curve.dips
    back = ""
    if undone.value is not None and curve.shape != "dip-only":
        back = f", and {'regains' if down else 'loses again'} {points(undone)} by the end"
    return f"{points(size)} {'below' if down else 'above'} the base at step {_at(step)}{back}".replace("+", "")


def moved(curve: Curve) -> str:
    """`30.0 % at the start, 92.1 % at step 640`."""
    known = curve.known
    if not known:
        return "not measured"
    (_, _, start), (_, last, end) = known[0], known[-1]
    return f"{_share(start)} at the start, {_share(end)} at step {plain(last, 0)}"


def told(curve: Curve) -> str:
    """A sentence without its subject, an arm: its task, its shape, its turn or else where it came from and got to."""
    detail = turned(curve) or moved(curve)
    words, _, rest = shape(curve).partition(": ")
    return f"on {curve.label}: {words}{f' ({rest})' if rest else ''}; {detail}.{form(curve)}"


def form(curve: Curve) -> str:
    """Said where the lowest accuracy comes with answers that were cut off or cannot be read: not all that is lost there
    need be ability.
    """
    if curve.shape in ("", "flat", "monotone-up") or not curve.known:
        return ""
    index, step, _ = min(curve.known, key=lambda one: one[2].value or 0.0)
    for name, words, why in _FORM:
        first, then = curve.measures[name][0].value, curve.measures[name][index].value
        if first is not None and then is not None and first - then >= _LESS:
            shares = f"{percent(then)} % of its answers {words} ({percent(first)} % at the start)"
            return f" At step {plain(step, 0)} only {shares}: {why}."
    return ""


def headline(curves: Sequence[Curve]) -> str:
    """A task's arms by their shapes: `dips, then recovers: sft and critique; no movement shown: grpo`."""
    groups: dict[str, list[str]] = {}
    for curve in curves:
        name = named(curve.shape) if curve.shape else "too few checkpoints"
        rival = "perhaps " if curve.shape not in ("", "flat") and not sure(curve) else ""
        groups.setdefault(rival + name, []).append(curve.arm.name)
    return "; ".join(f"{name}: {listed(arms)}" for name, arms in groups.items())


def stopped(curve: Curve) -> str:
    """`Stopping at the lowest in-domain loss (step 80) would have lost 6.2 points [..]`; empty where not known."""
    found = curve.stopping
    if found is None or found.step is None or found.to_best.value is None:
        return ""
    loss, lost = "Stopping at the lowest in-domain loss", found.to_best
    where = f"step {plain(found.step, 0)}"
    where += ", the base" if found.step == 0 else ", the last" if found.step == curve.steps[-1] else ""
    if lost.value == 0 and not lost.bounded:
        text = f"{loss} ({where}) loses nothing on {curve.label}: no checkpoint is better"
    elif lost.low is not None and lost.low > 0:
        text = f"{loss} ({where}) would have lost {points(lost)} on {curve.label} to its best checkpoint"
    else:
        text = f"{loss} ({where}) is not shown to lose anything on {curve.label}: {points(lost)} to its best checkpoint"
    end = found.to_end.figure
    if found.step != curve.steps[-1] and end.value is not None:
        better = "training on to the end was worth" if end.value >= 0 else "training on to the end cost"
        text += f"; {better} {points(_turned_up(end))}"
    return text.replace("+", "") + "."


def _turned_up(figure: Figure) -> Figure:
    """The same size, positive: which way it goes is in the words."""
    if figure.value is None or figure.value >= 0:
        return figure
    low, high = (None if bound is None else -bound for bound in (figure.high, figure.low))
    return figure._replace(value=-figure.value, low=low, high=high)


def endangered(curve: Curve) -> str:
    """`worse than the base at steps 10–80`; empty where it never is."""
    if not curve.danger:
        return ""
    return "worse than the base at " + spans(curve.danger, curve.steps)


def spans(chosen: Sequence[float], steps: Sequence[float]) -> str:
    """`steps 10–80 and 320`: neighbours among `steps` are joined."""
    runs = runs_of(chosen, steps)
    named = [plain(a, 0) if a == b else f"{plain(a, 0)}–{plain(b, 0)}" for a, b in runs]
    return f"step{'s' if len(named) > 1 or '–' in named[0] else ''} {listed(named)}" if named else ""


def runs_of(chosen: Sequence[float], steps: Sequence[float]) -> list[tuple[float, float]]:
    """Stretches of neighbouring steps that were all chosen, as (first, last)."""
    inside = [step in chosen for step in steps]
    starts = [i for i, (a, b) in enumerate(pairwise([False, *inside])) if b and not a]
    ends = [i for i, (a, b) in enumerate(pairwise([*inside, False])) if a and not b]
    return [(steps[i], steps[j]) for i, j in zip(starts, ends, strict=True)]


def cautions(arms: Sequence[Followed]) -> list[str]:
    """What the figures do not cover, each said once."""
    found: dict[str, list[str]] = {}
    for one in arms:
        notes = [curve.note for curve in one.curves.values() if curve.note]
        if not notes and one.seeds <= _FEW:
            notes = [
                f"{one.seeds} training seeds say little about their own spread, so shapes may be surer than they are."
            ]
        for note in dict.fromkeys(notes):
            found.setdefault(note, []).append(one.arm.name)
    said = [f"{listed(names)}: {note[:1].lower()}{note[1:]}" for note, names in found.items()]
    said.append(
        "A probability is that of the shape given these checkpoints, weighed against the other five shapes only; it "
        "does not cover other data orders or learning rates."
    )
    return said


def _share(figure: Figure) -> str:
    return f"{percent(figure.value)} % {interval(figure)}".strip()


def _at(step: Figure) -> str:
    low, high = step.low, step.high
    if low is None or high is None or low == high:
        return plain(step.value, 0)
    return f"{plain(step.value, 0)} [{plain(low, 0)}, {plain(high, 0)}]"
