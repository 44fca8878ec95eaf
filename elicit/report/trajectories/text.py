"""Curves over training in words: their shape with its probability, their turn, and what early stopping would have lost.

A shape is said as the summary has it. What is not shown is said to be not shown, and a shape with a rival is named
with the rival.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from elicit.report.data.number_format import format_interval, format_number, format_p_value, format_percent
from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.trajectories.data import ArmTrajectory, TrajectoryCurve
from elicit.report.verdict.phrases import listed, points

SHAPE_NAMES = {
    "flat": "no movement shown",
    "monotone-up": "rises",
    "monotone-down": "falls throughout",
    "dip-recover": "dips, then recovers",
    "dip-only": "dips and stays down",
    "peak-decline": "peaks, then declines",
}
SURE_PROBABILITY = 0.8
"""A shape less probable than this is named with its nearest rival."""
_FEW_SEEDS = 4
"""Training seeds up to which their spread is hardly known."""
_NOTABLE_FALL = 0.1
"""A fall of the share of finished or readable answers that is said."""
_FORM_MEASURES = (
    ("finished_rate", "are finished", "a longer limit may undo the loss"),
    ("answered_rate", "can be read", "the loss is in part one of form"),
)
_POOR_FIT_P = 0.01
"""A chi-square p of the best curve of the shape below which no shape describes the curve."""


def name_shape(shape: str) -> str:
    return SHAPE_NAMES.get(shape, shape)


def write_shape_label(curve: TrajectoryCurve) -> str:
    """For a label in a figure: `dips, then recovers 93 %`, with a question mark where a rival is near."""
    if not curve.shape:
        return "too few checkpoints"
    if curve.shape == "flat":
        return name_shape("flat")
    p = curve.probability
    return (
        f"{name_shape(curve.shape)}{'' if is_shape_certain(curve) else '?'} {format_percent(p, 0)} "
        f"%{', fits badly' if fits_badly(curve) else ''}"
    )


def fits_badly(curve: TrajectoryCurve) -> bool:
    """True if even the best curve of the shape does not describe the measurements."""
    return curve.misfit_p is not None and curve.misfit_p < _POOR_FIT_P


def is_shape_certain(curve: TrajectoryCurve) -> bool:
    return curve.probability is not None and curve.probability >= SURE_PROBABILITY


def describe_shape(curve: TrajectoryCurve) -> str:
    """`dips, then recovers: 93 %`, with what else it may be."""
    if not curve.shape:
        return "has too few checkpoints to be given a shape"
    if curve.shape == "flat":
        text = f"{name_shape('flat')}: a constant curve moves as much with p = {format_p_value(curve.flat_p)}"
        return text.replace("= <", "< ")
    text = f"{name_shape(curve.shape)}: {format_percent(curve.probability, 0)} %"
    rivals = sorted(((p, name) for name, p in curve.probabilities.items() if name != curve.shape), reverse=True)
    if not is_shape_certain(curve) and rivals:
        p, name = rivals[0]
        text += f", or {name_shape(name)}: {format_percent(p, 0)} %"
    if fits_badly(curve):
        text += f"; no shape describes it well, p {format_p_value(curve.misfit_p)}".replace("p 0", "p = 0")
    return text


def describe_turn(curve: TrajectoryCurve) -> str:
    """The turn and the way back from it; empty without a turn."""
    if curve.turn is None or curve.turn.size.value is None:
        return ""
    size, step, undone = curve.turn
    has_dip = curve.has_dip
    way_back = ""
    if undone.value is not None and curve.shape != "dip-only":
        way_back = f", and {'regains' if has_dip else 'loses again'} {points(undone)} by the end"
    return f"{points(size)} {'below' if has_dip else 'above'} the base at step {_format_step(step)}{way_back}".replace(
        "+", ""
    )


def describe_movement(curve: TrajectoryCurve) -> str:
    """`30.0 % at the start, 92.1 % at step 640`."""
    measured_points = curve.measured_points
    if not measured_points:
        return "not measured"
    (_, _, start), (_, last, end) = measured_points[0], measured_points[-1]
    return f"{_format_share(start)} at the start, {_format_share(end)} at step {format_number(last, 0)}"


def describe_curve(curve: TrajectoryCurve) -> str:
    """A sentence without its subject, an arm: its task, its shape, its turn or else where it came from and got to."""
    detail = describe_turn(curve) or describe_movement(curve)
    words, _, rest = describe_shape(curve).partition(": ")
    return f"on {curve.label}: {words}{f' ({rest})' if rest else ''}; {detail}.{describe_form_loss(curve)}"


def describe_form_loss(curve: TrajectoryCurve) -> str:
    """Said where the lowest accuracy comes with answers that were cut off or cannot be read: not all that is lost there
    need be ability.
    """
    if curve.shape in ("", "flat", "monotone-up") or not curve.measured_points:
        return ""
    index, step, _ = min(curve.measured_points, key=lambda point: point[2].value or 0.0)
    for name, words, explanation in _FORM_MEASURES:
        start_share, lowest_share = curve.measures[name][0].value, curve.measures[name][index].value
        if start_share is not None and lowest_share is not None and start_share - lowest_share >= _NOTABLE_FALL:
            shares = (
                f"{format_percent(lowest_share)} % of its answers {words} ({format_percent(start_share)} % at "
                "the start)"
            )
            return f" At step {format_number(step, 0)} only {shares}: {explanation}."
    return ""


def write_headline(curves: Sequence[TrajectoryCurve]) -> str:
    """A task's arms by their shapes: `dips, then recovers: sft and critique; no movement shown: grpo`."""
    groups: dict[str, list[str]] = {}
    for curve in curves:
        name = name_shape(curve.shape) if curve.shape else "too few checkpoints"
        rival = "perhaps " if curve.shape not in ("", "flat") and not is_shape_certain(curve) else ""
        groups.setdefault(rival + name, []).append(curve.arm.name)
    return "; ".join(f"{name}: {listed(arms)}" for name, arms in groups.items())


def describe_early_stopping(curve: TrajectoryCurve) -> str:
    """`Stopping at the lowest in-domain loss (step 80) would have lost 6.2 points [..]`; empty where not known."""
    stopping = curve.stopping
    if stopping is None or stopping.step is None or stopping.to_best.value is None:
        return ""
    rule_name, to_best = "Stopping at the lowest in-domain loss", stopping.to_best
    where = f"step {format_number(stopping.step, 0)}"
    where += ", the base" if stopping.step == 0 else ", the last" if stopping.step == curve.steps[-1] else ""
    if to_best.value == 0 and not to_best.bounded:
        text = f"{rule_name} ({where}) loses nothing on {curve.label}: no checkpoint is better"
    elif to_best.low is not None and to_best.low > 0:
        text = f"{rule_name} ({where}) would have lost {points(to_best)} on {curve.label} to its best checkpoint"
    else:
        text = (
            f"{rule_name} ({where}) is not shown to lose anything on {curve.label}: {points(to_best)} to its best "
            "checkpoint"
        )
    end = stopping.to_end.estimate
    if stopping.step != curve.steps[-1] and end.value is not None:
        better = "training on to the end was worth" if end.value >= 0 else "training on to the end cost"
        text += f"; {better} {points(_make_positive(end))}"
    return text.replace("+", "") + "."


def _make_positive(figure: OptionalEstimate) -> OptionalEstimate:
    """The same size, positive: which way it goes is in the words."""
    if figure.value is None or figure.value >= 0:
        return figure
    low, high = (None if bound is None else -bound for bound in (figure.high, figure.low))
    return figure._replace(value=-figure.value, low=low, high=high)


def describe_danger_zone(curve: TrajectoryCurve) -> str:
    """`worse than the base at steps 10–80`; empty where it never is."""
    if not curve.danger_steps:
        return ""
    return "worse than the base at " + format_step_spans(curve.danger_steps, curve.steps)


def format_step_spans(selected_steps: Sequence[float], steps: Sequence[float]) -> str:
    """`steps 10–80 and 320`: neighbours among `steps` are joined."""
    runs = find_step_runs(selected_steps, steps)
    span_texts = [format_number(a, 0) if a == b else f"{format_number(a, 0)}–{format_number(b, 0)}" for a, b in runs]
    return (
        f"step{'s' if len(span_texts) > 1 or '–' in span_texts[0] else ''} {listed(span_texts)}" if span_texts else ""
    )


def find_step_runs(selected_steps: Sequence[float], steps: Sequence[float]) -> list[tuple[float, float]]:
    """Stretches of neighbouring steps that were all chosen, as (first, last)."""
    inside = [step in selected_steps for step in steps]
    starts = [i for i, (a, b) in enumerate(pairwise([False, *inside])) if b and not a]
    ends = [i for i, (a, b) in enumerate(pairwise([*inside, False])) if a and not b]
    return [(steps[i], steps[j]) for i, j in zip(starts, ends, strict=True)]


def list_trajectory_cautions(trajectories: Sequence[ArmTrajectory]) -> list[str]:
    """Limits of the figures, each stated once."""
    arms_by_note: dict[str, list[str]] = {}
    for trajectory in trajectories:
        notes = [curve.note for curve in trajectory.curves.values() if curve.note]
        if not notes and trajectory.seeds <= _FEW_SEEDS:
            notes = [
                f"{trajectory.seeds} training seeds say little about their own spread, so shapes may be surer than "
                "they are."
            ]
        for note in dict.fromkeys(notes):
            arms_by_note.setdefault(note, []).append(trajectory.arm.name)
    texts = [f"{listed(names)}: {note[:1].lower()}{note[1:]}" for note, names in arms_by_note.items()]
    texts.append(
        "A probability is that of the shape given these checkpoints, weighed against the other five shapes only; it "
        "does not cover other data orders or learning rates."
    )
    return texts


def _format_share(figure: OptionalEstimate) -> str:
    return f"{format_percent(figure.value)} % {format_interval(figure)}".strip()


def _format_step(step: OptionalEstimate) -> str:
    low, high = step.low, step.high
    if low is None or high is None or low == high:
        return format_number(step.value, 0)
    return f"{format_number(step.value, 0)} [{format_number(low, 0)}, {format_number(high, 0)}]"
