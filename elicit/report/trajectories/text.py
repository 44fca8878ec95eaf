"""Words for facts about curves over training (`curve_facts`).

What is not shown is said to be not shown, and a shape with a rival is named with the rival.
"""

from __future__ import annotations

from collections.abc import Sequence

from elicit.report.data.number_format import format_interval, format_number, format_p_value, format_percent
from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.trajectories.curve_facts import (
    CurveFacts,
    CurveNote,
    EarlyStopping,
    FewSeeds,
    FormLoss,
    FormMeasure,
    Movement,
    ShapeFacts,
    StoppingOutcome,
    StoppingPlace,
    Turn,
    find_step_runs,
)
from elicit.report.verdict.phrases import listed, points

SHAPE_NAMES = {
    "flat": "no movement shown",
    "monotone-up": "rises",
    "monotone-down": "falls throughout",
    "dip-recover": "dips, then recovers",
    "dip-only": "dips and stays down",
    "peak-decline": "peaks, then declines",
}
_FORM_WORDS = {
    FormMeasure.FINISHED: ("are finished", "a longer limit may undo the loss"),
    FormMeasure.ANSWERED: ("can be read", "the loss is in part one of form"),
}
_PLACES = {StoppingPlace.BASE: ", the base", StoppingPlace.BETWEEN: "", StoppingPlace.LAST: ", the last"}


def name_shape(shape: str) -> str:
    return SHAPE_NAMES.get(shape, shape)


def write_shape_label(facts: ShapeFacts) -> str:
    """For a label in a figure: `dips, then recovers 93 %`, with a question mark where a rival is near."""
    if not facts.shape:
        return "too few checkpoints"
    if facts.shape == "flat":
        return name_shape("flat")
    return (
        f"{name_shape(facts.shape)}{'' if facts.is_certain else '?'} {format_percent(facts.probability, 0)} "
        f"%{'' if facts.misfit_p is None else ', fits badly'}"
    )


def write_turn(turn: Turn) -> str:
    """The turn and the way back from it."""
    way_back = ""
    if turn.undone is not None:
        way_back = f", and {'regains' if turn.is_dip else 'loses again'} {points(turn.undone)} by the end"
    side = "below" if turn.is_dip else "above"
    return f"{points(turn.size)} {side} the base at step {_format_step(turn.step)}{way_back}".replace("+", "")


def write_movement(movement: Movement) -> str:
    """`30.0 % at the start, 92.1 % at step 640`."""
    return (
        f"{_format_share(movement.start)} at the start, {_format_share(movement.end)} at step "
        f"{format_number(movement.last_step, 0)}"
    )


def write_curve(facts: CurveFacts) -> str:
    """A sentence on a curve that moves, without its subject, an arm: its task, its shape with what else that may be,
    its turn or else where it came from and got to.
    """
    shape = facts.shape
    details = [f"{format_percent(shape.probability, 0)} %"]
    if shape.rival is not None:
        name, p = shape.rival
        details[0] += f", or {name_shape(name)}: {format_percent(p, 0)} %"
    if shape.misfit_p is not None:
        details.append(f"no shape describes it well, p {format_p_value(shape.misfit_p)}".replace("p 0", "p = 0"))
    course = write_movement(facts.movement) if facts.turn is None else write_turn(facts.turn)
    loss = "" if facts.form_loss is None else f" {write_form_loss(facts.form_loss)}"
    return f"on {facts.task}: {name_shape(shape.shape)} ({'; '.join(details)}); {course}.{loss}"


def write_form_loss(loss: FormLoss) -> str:
    words, explanation = _FORM_WORDS[loss.measure]
    return (
        f"At step {format_number(loss.step, 0)} only {format_percent(loss.lowest)} % of its answers {words} "
        f"({format_percent(loss.start)} % at the start): {explanation}."
    )


def write_headline(shapes: Sequence[tuple[str, ShapeFacts]]) -> str:
    """Arms of a task by their shapes: `dips, then recovers: sft and critique; no movement shown: grpo`."""
    groups: dict[str, list[str]] = {}
    for arm, facts in shapes:
        name = name_shape(facts.shape) if facts.shape else "too few checkpoints"
        doubt = "perhaps " if facts.moves and not facts.is_certain else ""
        groups.setdefault(doubt + name, []).append(arm)
    return "; ".join(f"{name}: {listed(arms)}" for name, arms in groups.items())


def write_early_stopping(stopping: EarlyStopping) -> str:
    """`Stopping at the lowest in-domain loss (step 80) would have lost 6.2 points [..]`."""
    where = f"step {format_number(stopping.step, 0)}{_PLACES[stopping.place]}"
    loss = points(stopping.to_best)
    text = (
        f"Stopping at the lowest in-domain loss ({where}) "
        + {
            StoppingOutcome.NOTHING_LOST: f"loses nothing on {stopping.task}: no checkpoint is better",
            StoppingOutcome.LOST: f"would have lost {loss} on {stopping.task} to its best checkpoint",
            StoppingOutcome.NOT_SHOWN: (
                f"is not shown to lose anything on {stopping.task}: {loss} to its best checkpoint"
            ),
        }[stopping.outcome]
    )
    end = stopping.to_end
    if end is not None:
        better = "was worth" if end.value is not None and end.value >= 0 else "cost"
        text += f"; training on to the end {better} {points(_make_positive(end))}"
    return text.replace("+", "") + "."


def _make_positive(figure: OptionalEstimate) -> OptionalEstimate:
    """The same size, positive: which way it goes is in the words."""
    if figure.value is None or figure.value >= 0:
        return figure
    low, high = (None if bound is None else -bound for bound in (figure.high, figure.low))
    return figure._replace(value=-figure.value, low=low, high=high)


def write_danger_zone(danger_steps: Sequence[float], steps: Sequence[float]) -> str:
    """`worse than the base at steps 10–80`; empty where it never is."""
    return f"worse than the base at {format_step_spans(danger_steps, steps)}" if danger_steps else ""


def format_step_spans(selected_steps: Sequence[float], steps: Sequence[float]) -> str:
    """`steps 10–80 and 320`: neighbours among `steps` are joined."""
    runs = find_step_runs(selected_steps, steps)
    span_texts = [format_number(a, 0) if a == b else f"{format_number(a, 0)}–{format_number(b, 0)}" for a, b in runs]
    return (
        f"step{'s' if len(span_texts) > 1 or '–' in span_texts[0] else ''} {listed(span_texts)}" if span_texts else ""
    )


def write_caution(caution: CurveNote | FewSeeds) -> str:
    """A limit of the figures with the arms that it is one of."""
    match caution:
        case CurveNote(arms, note):
            return f"{listed(list(arms))}: {note[:1].lower()}{note[1:]}"
        case FewSeeds(arms, seeds):
            return (
                f"{listed(list(arms))}: {seeds} training seeds say little about their own spread, so shapes may be "
                "surer than they are."
            )


GENERAL_CAUTION = (
    "A probability is that of the shape given these checkpoints, weighed against the other five shapes only; it "
    "does not cover other data orders or learning rates."
)


def _format_share(figure: OptionalEstimate) -> str:
    return f"{format_percent(figure.value)} % {format_interval(figure)}".strip()


def _format_step(step: OptionalEstimate) -> str:
    low, high = step.low, step.high
    if low is None or high is None or low == high:
        return format_number(step.value, 0)
    return f"{format_number(step.value, 0)} [{format_number(low, 0)}, {format_number(high, 0)}]"
