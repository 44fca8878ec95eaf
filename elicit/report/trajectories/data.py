"""Arms over training as a summary has them: a curve a task and arm, with its shape and its companion measures.

Every leaf may be null: a checkpoint without a loss, a curve too short to classify, an arm without its KL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.summary_view import (
    Arm,
    ModelPanel,
    OptionalEstimate,
    PairedDifference,
    get_nested,
    parse_estimate,
    read_finite_number,
)

DIP_SHAPES = ("dip-recover", "dip-only")
_MARKS: tuple[svg.MarkShape, ...] = ("circle", "square", "up", "diamond", "down", "pentagon", "star")
_COLOURS = (svg.ORANGE, svg.BLUE, svg.GREEN, svg.PURPLE, svg.OCHRE)
_DASHES = ("", "6 3", "2 2", "7 2 2 2")


class LineStyle(NamedTuple):
    """The style of an arm in every figure of the section; colour, mark and dash all tell arms apart."""

    colour: str
    mark: svg.MarkShape
    dash: str


class TurnEstimates(NamedTuple):
    """The trough of a dip or the peak of a peak-decline."""

    size: OptionalEstimate
    step: OptionalEstimate
    undone: OptionalEstimate


class StoppingLosses(NamedTuple):
    """Accuracy lost by stopping at the lowest in-domain loss."""

    step: float | None
    to_best: OptionalEstimate
    to_end: PairedDifference


class TrajectoryCurve(NamedTuple):
    """One arm on one task over its training steps."""

    arm: Arm
    label: str
    """The task."""
    target: bool
    """It is the run's own task, which arms are trained on unless they name another."""
    style: LineStyle
    steps: tuple[float, ...]
    accuracy: tuple[OptionalEstimate, ...]
    shape: str
    """Empty where it was not classified."""
    probabilities: Mapping[str, float]
    flat_p: float | None
    misfit_p: float | None
    turn: TurnEstimates | None
    danger_steps: tuple[float, ...]
    """Steps at which the arm is worse than the base."""
    stopping: StoppingLosses | None
    note: str
    measures: Mapping[str, tuple[OptionalEstimate, ...]]
    """Companions by their name in the summary, one figure a step."""

    @property
    def probability(self) -> float | None:
        return self.probabilities.get(self.shape)

    @property
    def summary_key(self) -> str:
        """The path of the curve in its arm's summary."""
        return f"trajectory.tasks.{self.label}"

    @property
    def has_dip(self) -> bool:
        return self.shape in DIP_SHAPES

    @property
    def measured_points(self) -> list[tuple[int, float, OptionalEstimate]]:
        """(index, step, accuracy) of every checkpoint that was measured."""
        points = zip(self.steps, self.accuracy, strict=True)
        return [(i, step, figure) for i, (step, figure) in enumerate(points) if figure.value is not None]


class ArmTrajectory(NamedTuple):
    """An arm that was measured over training."""

    arm: Arm
    style: LineStyle
    steps: tuple[float, ...]
    curves: Mapping[str, TrajectoryCurve]
    kl: tuple[OptionalEstimate, ...]
    seeds: int


COMPANION_MEASURES = (
    "tokens",
    "finished_rate",
    "answered_rate",
    "trace_rate",
    "valid_trace_rate",
    "loss",
    "token_accuracy",
    "entropy",
)


def read_trajectories(panel: ModelPanel) -> list[ArmTrajectory]:
    """Arms with a trajectory, in reading order."""
    arms = [arm for arm in panel.arms if isinstance(arm.data.get("trajectory"), Mapping)]
    styles = _choose_styles(arms)
    trajectories = [_read_trajectory(arm, style) for arm, style in zip(arms, styles, strict=True)]
    return [
        trajectory for trajectory in trajectories if any(curve.measured_points for curve in trajectory.curves.values())
    ]


def list_task_labels(trajectories: Sequence[ArmTrajectory]) -> list[str]:
    """Tasks in the order of the summary, the run's own first."""
    return list(dict.fromkeys(label for trajectory in trajectories for label in trajectory.curves))


def _choose_styles(arms: Sequence[Arm]) -> list[LineStyle]:
    """The colour of an arm's family where it is free, so that SFT keeps its colour; else the next one."""
    used_colours: list[str] = []
    styles = []
    for i, arm in enumerate(arms):
        free_colours = [
            colour for colour in (arm.family.colour, *_COLOURS) if colour not in used_colours and colour != svg.GREY
        ]
        colour = free_colours[0] if free_colours else _COLOURS[i % len(_COLOURS)]
        used_colours = [*used_colours, colour] if free_colours else [colour]
        styles.append(LineStyle(colour, _MARKS[i % len(_MARKS)], _DASHES[(i // len(_COLOURS)) % len(_DASHES)]))
    return styles


def _read_trajectory(arm: Arm, style: LineStyle) -> ArmTrajectory:
    data = arm.data["trajectory"]
    steps = tuple(
        step for entry in _list_or_empty(data.get("steps")) if (step := read_finite_number(entry)) is not None
    )
    tasks = data.get("tasks")
    entries = tasks.items() if isinstance(tasks, Mapping) else ()
    curves = {
        str(label): _read_trajectory_curve(arm, style, str(label), i == 0, steps, entry)
        for i, (label, entry) in enumerate(entries)
        if isinstance(entry, Mapping)
    }
    seeds = read_finite_number(data.get("seeds"))
    kl = _read_step_estimates(data.get("kl"), len(steps))
    return ArmTrajectory(arm, style, steps, curves, kl, arm.seeds if seeds is None else int(seeds))


def _read_trajectory_curve(
    arm: Arm, style: LineStyle, label: str, target: bool, steps: tuple[float, ...], entry: Mapping[str, Any]
) -> TrajectoryCurve:
    probabilities = get_nested(entry, "curve", "probabilities")
    turn, stopping = get_nested(entry, "curve", "turn"), entry.get("stopping")
    danger = (read_finite_number(step) for step in _list_or_empty(get_nested(entry, "curve", "danger", "steps")))
    return TrajectoryCurve(
        arm=arm,
        label=label,
        target=target,
        style=style,
        steps=steps,
        accuracy=_read_step_estimates(entry.get("accuracy"), len(steps)),
        shape=str(get_nested(entry, "curve", "shape") or ""),
        probabilities={
            str(name): share
            for name, value in _mapping_items(probabilities)
            if (share := read_finite_number(value)) is not None
        },
        flat_p=read_finite_number(get_nested(entry, "curve", "flat_p")),
        misfit_p=read_finite_number(get_nested(entry, "curve", "misfit_p")),
        turn=TurnEstimates(*(parse_estimate(get_nested(turn, key)) for key in ("size", "step", "undone")))
        if turn
        else None,
        danger_steps=tuple(step for step in danger if step is not None),
        stopping=_read_stopping_losses(arm, stopping) if isinstance(stopping, Mapping) else None,
        note=str(get_nested(entry, "curve", "note") or ""),
        measures={key: _read_step_estimates(entry.get(key), len(steps)) for key in COMPANION_MEASURES},
    )


def _read_stopping_losses(arm: Arm, entry: Mapping[str, Any]) -> StoppingLosses:
    to_end = arm._replace(data=entry).read_difference("to_end")
    return StoppingLosses(read_finite_number(entry.get("step")), parse_estimate(entry.get("to_best")), to_end)


def _read_step_estimates(entries: Any, count: int) -> tuple[OptionalEstimate, ...]:
    """One figure a step, from estimates or bare numbers; unknown ones for a list that does not fit the steps."""
    values = _list_or_empty(entries)
    if len(values) != count:
        return (OptionalEstimate(None),) * count
    return tuple(
        parse_estimate(value) if isinstance(value, Mapping) else OptionalEstimate(read_finite_number(value))
        for value in values
    )


def _list_or_empty(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _mapping_items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []
