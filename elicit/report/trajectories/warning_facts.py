"""Facts about an early warning on one curve: what was foretold, the turn and the alarm, and how long before the trough.

`early_warning` has the words.
"""

from __future__ import annotations

from dataclasses import dataclass

from elicit.report.data.summary_view import OptionalEstimate, get_nested, parse_estimate, read_finite_number
from elicit.report.trajectories.loss_forecast import WatchedTask

CALM_SHAPES = ("flat", "monotone-up")
"""Shapes where accuracy never fell by the classification: an alarm counts as false."""


@dataclass(frozen=True)
class MissingDip:
    """Accuracy that was followed and does not dip."""

    shape: str
    counts_as_false: bool
    """An alarm there is a false one; else neither that nor a hit."""


@dataclass(frozen=True)
class Crossing:
    """The turn of the foretold loss."""

    steps: tuple[float, ...]
    """One a seed in which it turns."""
    seeds: int
    trough: OptionalEstimate | None
    """Step of the lowest accuracy; None where it does not dip."""
    lead: OptionalEstimate | None
    """Steps from the turn to the trough; negative is too late."""
    missing_dip: MissingDip | None


@dataclass(frozen=True)
class Alarm:
    """The alarm of the gradients' integral, raised while training goes on."""

    threshold: float | None
    """In nats a token."""
    steps: tuple[float, ...]
    """One a seed in which it is raised."""
    seeds: int
    lead: OptionalEstimate | None
    missing_dip: MissingDip | None
    """None where it is not raised."""


@dataclass(frozen=True)
class WarningFacts:
    """The warning of one arm on one watched task."""

    task: str
    explained_share: float | None
    """Share of the changes of the measured loss that the integral explains; None where the loss does not change."""
    crossing: Crossing | None
    """None where no seed was looked at."""
    alarm: Alarm | None
    watch_share: float | None
    """Share of the training time that watching took."""
    is_single_seed: bool


def judge_warning(watched_task: WatchedTask) -> WarningFacts:
    """Facts about one watched task."""
    return WarningFacts(
        watched_task.label,
        read_finite_number(get_nested(watched_task.data, "explained", "integral")),
        _judge_crossing(watched_task),
        _judge_alarm(watched_task),
        read_finite_number(watched_task.warning_data.get("share")),
        read_finite_number(watched_task.warning_data.get("seeds")) == 1,
    )


def _judge_crossing(watched_task: WatchedTask) -> Crossing | None:
    all_steps = watched_task.read_steps("crossing", "steps")
    return (
        Crossing(
            tuple(step for step in all_steps if step is not None),
            len(all_steps),
            _known(watched_task.trough),
            _known(parse_estimate(get_nested(watched_task.data, "crossing", "lead"))),
            _judge_missing_dip(watched_task),
        )
        if all_steps
        else None
    )


def _judge_alarm(watched_task: WatchedTask) -> Alarm | None:
    alarms = watched_task.read_steps("signals", "gradient", "alarm")
    steps = tuple(step for step in alarms if step is not None)
    return (
        Alarm(
            read_finite_number(get_nested(watched_task.data, "signals", "gradient", "threshold")),
            steps,
            len(alarms),
            _known(parse_estimate(get_nested(watched_task.data, "signals", "gradient", "lead"))),
            _judge_missing_dip(watched_task) if steps else None,
        )
        if alarms
        else None
    )


def _judge_missing_dip(watched_task: WatchedTask) -> MissingDip | None:
    """None where accuracy was not followed, or dips."""
    shape = str(watched_task.data.get("shape") or "")
    if not shape or watched_task.data.get("dips") is not False:
        return None
    return MissingDip(shape, shape in CALM_SHAPES)


def _known(figure: OptionalEstimate) -> OptionalEstimate | None:
    return None if figure.value is None else figure
