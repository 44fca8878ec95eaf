"""Facts about a curve over training: its shape, its turn, and what stopping early would have lost.

A shape is taken as the summary has it. One that is not certain has a rival. `text` has the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.trajectories.data import ArmTrajectory, TrajectoryCurve

SURE_PROBABILITY = 0.8
"""A shape less probable than this has a rival."""
POOR_FIT_P = 0.01
"""A chi-square p of the best curve of the shape below which no shape describes the curve."""
NOTABLE_FALL = 0.1
"""A fall of the share of finished or readable answers that is a fact."""
FEW_SEEDS = 4
"""Training seeds up to which their spread is hardly known."""
_STILL_SHAPES = ("", "flat")


class FormMeasure(Enum):
    """A share of answers whose fall is a loss of form. Values are names in the summary."""

    FINISHED = "finished_rate"
    ANSWERED = "answered_rate"


class StoppingOutcome(Enum):
    """The accuracy of the best checkpoint against that of the one at which early stopping stops."""

    NOTHING_LOST = "no checkpoint is better"
    LOST = "the whole interval of the loss is above 0"
    NOT_SHOWN = "the interval of the loss reaches 0"


class StoppingPlace(Enum):
    """The checkpoint at which early stopping stops."""

    BASE = "the base"
    BETWEEN = "one between"
    LAST = "the last"


@dataclass(frozen=True)
class ShapeFacts:
    """The shape of one curve."""

    shape: str
    """Empty where there are too few checkpoints."""
    probability: float | None
    is_certain: bool
    rival: tuple[str, float] | None
    """The next probable shape with its probability; None for a certain one, and for `flat`."""
    misfit_p: float | None
    """Chi-square p of the best curve of the shape, where not even that describes the curve."""

    @property
    def moves(self) -> bool:
        return self.shape not in _STILL_SHAPES


@dataclass(frozen=True)
class Turn:
    """The trough of a dip, or the peak before a decline."""

    is_dip: bool
    size: OptionalEstimate
    """Distance from the base, as a share of 1."""
    step: OptionalEstimate
    undone: OptionalEstimate | None
    """The way back by the end; None where there is none."""


@dataclass(frozen=True)
class Movement:
    """Accuracy at the first and the last checkpoint that were measured."""

    start: OptionalEstimate
    last_step: float
    end: OptionalEstimate


@dataclass(frozen=True)
class FormLoss:
    """Answers that were cut off or cannot be read where accuracy is lowest: part of the loss need not be ability."""

    measure: FormMeasure
    step: float
    start: float
    lowest: float


@dataclass(frozen=True)
class EarlyStopping:
    """What stopping at the lowest in-domain loss would have cost on a task."""

    task: str
    step: float
    place: StoppingPlace
    outcome: StoppingOutcome
    to_best: OptionalEstimate
    """Accuracy of the best checkpoint minus that of the one stopped at."""
    to_end: OptionalEstimate | None
    """Accuracy at the end minus that at the step; None at the end itself, or where it is not known."""


@dataclass(frozen=True)
class CurveFacts:
    """One arm on one task."""

    task: str
    shape: ShapeFacts
    turn: Turn | None
    movement: Movement
    form_loss: FormLoss | None


@dataclass(frozen=True)
class CurveNote:
    """A limit that the summary notes on curves of some arms."""

    arms: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class FewSeeds:
    """Arms of so few training seeds that their spread is hardly known."""

    arms: tuple[str, ...]
    seeds: int


def judge_shape(curve: TrajectoryCurve) -> ShapeFacts:
    """The shape of a curve with its rival."""
    is_certain = curve.probability is not None and curve.probability >= SURE_PROBABILITY
    others = [(p, name) for name, p in curve.probabilities.items() if name != curve.shape]
    rival = max(others, default=None) if curve.shape not in _STILL_SHAPES and not is_certain else None
    fits_badly = curve.misfit_p is not None and curve.misfit_p < POOR_FIT_P
    return ShapeFacts(
        curve.shape,
        curve.probability,
        is_certain,
        None if rival is None else (rival[1], rival[0]),
        curve.misfit_p if fits_badly else None,
    )


def judge_turn(curve: TrajectoryCurve) -> Turn | None:
    """The turn of a curve and the way back from it; None without one."""
    if curve.turn is None or curve.turn.size.value is None:
        return None
    size, step, undone = curve.turn
    returns = undone.value is not None and curve.shape != "dip-only"
    return Turn(curve.has_dip, size, step, undone if returns else None)


def judge_curve(curve: TrajectoryCurve) -> CurveFacts:
    """Facts about a curve with at least one measured point."""
    (_, _, start), (_, last_step, end) = curve.measured_points[0], curve.measured_points[-1]
    movement = Movement(start, last_step, end)
    return CurveFacts(curve.label, judge_shape(curve), judge_turn(curve), movement, judge_form_loss(curve))


def judge_form_loss(curve: TrajectoryCurve) -> FormLoss | None:
    """The first of the form measures that is notably lower at the lowest accuracy than at the start."""
    if curve.shape in (*_STILL_SHAPES, "monotone-up") or not curve.measured_points:
        return None
    index, step, _ = min(curve.measured_points, key=lambda point: point[2].value or 0.0)
    for measure in FormMeasure:
        shares = curve.measures[measure.value]
        start, lowest = shares[0].value, shares[index].value
        if start is not None and lowest is not None and start - lowest >= NOTABLE_FALL:
            return FormLoss(measure, step, start, lowest)
    return None


def judge_early_stopping(curve: TrajectoryCurve) -> EarlyStopping | None:
    """The cost of early stopping; None where it is not known."""
    stopping = curve.stopping
    if stopping is None or stopping.step is None or stopping.to_best.value is None:
        return None
    to_best, end, last_step = stopping.to_best, stopping.to_end.estimate, curve.steps[-1]
    outcome = StoppingOutcome.NOT_SHOWN
    if to_best.value == 0 and not to_best.bounded:
        outcome = StoppingOutcome.NOTHING_LOST
    elif to_best.low is not None and to_best.low > 0:
        outcome = StoppingOutcome.LOST
    place = StoppingPlace.LAST if stopping.step == last_step else StoppingPlace.BETWEEN
    return EarlyStopping(
        curve.label,
        stopping.step,
        StoppingPlace.BASE if stopping.step == 0 else place,
        outcome,
        to_best,
        end if stopping.step != last_step and end.value is not None else None,
    )


def find_step_runs(selected_steps: Sequence[float], steps: Sequence[float]) -> list[tuple[float, float]]:
    """Stretches of neighbouring steps that were all chosen, as (first, last)."""
    inside = [step in selected_steps for step in steps]
    starts = [i for i, (a, b) in enumerate(pairwise([False, *inside])) if b and not a]
    ends = [i for i, (a, b) in enumerate(pairwise([*inside, False])) if a and not b]
    return [(steps[i], steps[j]) for i, j in zip(starts, ends, strict=True)]


def judge_cautions(trajectories: Sequence[ArmTrajectory]) -> list[CurveNote | FewSeeds]:
    """Limits of the figures, each with its arms. An arm with notes of its own is not counted among few seeds."""
    arms_by_limit: dict[str | int, list[str]] = {}
    for trajectory in trajectories:
        limits: list[str | int] = [curve.note for curve in trajectory.curves.values() if curve.note]
        if not limits and trajectory.seeds <= FEW_SEEDS:
            limits = [trajectory.seeds]
        for limit in dict.fromkeys(limits):
            arms_by_limit.setdefault(limit, []).append(trajectory.arm.name)
    return [
        FewSeeds(tuple(arms), limit) if isinstance(limit, int) else CurveNote(tuple(arms), limit)
        for limit, arms in arms_by_limit.items()
    ]
