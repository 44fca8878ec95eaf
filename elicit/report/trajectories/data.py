"""What a summary says of its arms over training: curves a task and arm, their shapes and companions.

Every leaf may be null: a checkpoint without a loss, a curve too short to classify, an arm without its KL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.summary_view import Arm, Figure, Panel, Versus, dig, estimate, number

DIPS = ("dip-recover", "dip-only")
_MARKS: tuple[svg.Mark, ...] = ("circle", "square", "up", "diamond", "down", "pentagon", "star")
_COLOURS = (svg.ORANGE, svg.BLUE, svg.GREEN, svg.PURPLE, svg.OCHRE)
_DASHES = ("", "6 3", "2 2", "7 2 2 2")


class Look(NamedTuple):
    """How an arm is drawn in every figure of the section; colour, mark and dash all tell arms apart."""

    colour: str
    mark: svg.Mark
    dash: str


class Turn(NamedTuple):
    """The trough of a dip or the peak of a peak-decline."""

    size: Figure
    step: Figure
    undone: Figure


class Stopping(NamedTuple):
    """What stopping at the lowest in-domain loss would have lost."""

    step: float | None
    to_best: Figure
    to_end: Versus


class Curve(NamedTuple):
    """One arm on one task over its training steps."""

    arm: Arm
    label: str
    """The task."""
    target: bool
    """Whether it is the run's own task: the one arms are trained on unless they say otherwise."""
    look: Look
    steps: tuple[float, ...]
    accuracy: tuple[Figure, ...]
    shape: str
    """Empty where it was not classified."""
    probabilities: Mapping[str, float]
    flat_p: float | None
    misfit_p: float | None
    turn: Turn | None
    danger: tuple[float, ...]
    """Steps at which the arm is worse than the base."""
    stopping: Stopping | None
    note: str
    measures: Mapping[str, tuple[Figure, ...]]
    """Companions by their name in the summary, one figure a step."""

    @property
    def probability(self) -> float | None:
        return self.probabilities.get(self.shape)

    @property
    def place(self) -> str:
        """Where the curve stands in its arm's summary."""
        return f"trajectory.tasks.{self.label}"

    @property
    def dips(self) -> bool:
        return self.shape in DIPS

    @property
    def known(self) -> list[tuple[int, float, Figure]]:
        """(index, step, accuracy) of every checkpoint that was measured."""
        found = zip(self.steps, self.accuracy, strict=True)
        return [(i, step, figure) for i, (step, figure) in enumerate(found) if figure.value is not None]


class Followed(NamedTuple):
    """An arm that was measured over training."""

    arm: Arm
    look: Look
    steps: tuple[float, ...]
    curves: Mapping[str, Curve]
    kl: tuple[Figure, ...]
    seeds: int


COMPANIONS = (
    "tokens",
    "finished_rate",
    "answered_rate",
    "trace_rate",
    "valid_trace_rate",
    "loss",
    "token_accuracy",
    "entropy",
)


def followed(panel: Panel) -> list[Followed]:
    """Arms with a trajectory, in reading order."""
    found = [arm for arm in panel.arms if isinstance(arm.data.get("trajectory"), Mapping)]
    looks = _looks(found)
    read = [_followed(arm, look) for arm, look in zip(found, looks, strict=True)]
    return [one for one in read if any(curve.known for curve in one.curves.values())]


def tasks_of(arms: Sequence[Followed]) -> list[str]:
    """Tasks in the order of the summary, the run's own first."""
    return list(dict.fromkeys(label for one in arms for label in one.curves))


def _looks(arms: Sequence[Arm]) -> list[Look]:
    """The colour of an arm's family where it is free, so that SFT keeps its colour; else the next one."""
    taken: list[str] = []
    looks = []
    for i, arm in enumerate(arms):
        free = [colour for colour in (arm.family.colour, *_COLOURS) if colour not in taken and colour != svg.GREY]
        colour = free[0] if free else _COLOURS[i % len(_COLOURS)]
        taken = [*taken, colour] if free else [colour]
        looks.append(Look(colour, _MARKS[i % len(_MARKS)], _DASHES[(i // len(_COLOURS)) % len(_DASHES)]))
    return looks


def _followed(arm: Arm, look: Look) -> Followed:
    data = arm.data["trajectory"]
    steps = tuple(step for entry in _list(data.get("steps")) if (step := number(entry)) is not None)
    tasks = data.get("tasks")
    entries = tasks.items() if isinstance(tasks, Mapping) else ()
    curves = {
        str(label): _curve(arm, look, str(label), i == 0, steps, entry)
        for i, (label, entry) in enumerate(entries)
        if isinstance(entry, Mapping)
    }
    seeds = number(data.get("seeds"))
    kl = _figures(data.get("kl"), len(steps))
    return Followed(arm, look, steps, curves, kl, arm.seeds if seeds is None else int(seeds))


def _curve(arm: Arm, look: Look, label: str, target: bool, steps: tuple[float, ...], entry: Mapping[str, Any]) -> Curve:
    shares = dig(entry, "curve", "probabilities")
    turn, stopping = dig(entry, "curve", "turn"), entry.get("stopping")
    danger = (number(step) for step in _list(dig(entry, "curve", "danger", "steps")))
    return Curve(
        arm=arm,
        label=label,
        target=target,
        look=look,
        steps=steps,
        accuracy=_figures(entry.get("accuracy"), len(steps)),
        shape=str(dig(entry, "curve", "shape") or ""),
        probabilities={str(name): share for name, given in _items(shares) if (share := number(given)) is not None},
        flat_p=number(dig(entry, "curve", "flat_p")),
        misfit_p=number(dig(entry, "curve", "misfit_p")),
        turn=Turn(*(estimate(dig(turn, key)) for key in ("size", "step", "undone"))) if turn else None,
        danger=tuple(step for step in danger if step is not None),
        stopping=_stopping(arm, stopping) if isinstance(stopping, Mapping) else None,
        note=str(dig(entry, "curve", "note") or ""),
        measures={key: _figures(entry.get(key), len(steps)) for key in COMPANIONS},
    )


def _stopping(arm: Arm, entry: Mapping[str, Any]) -> Stopping:
    to_end = arm._replace(data=entry).versus("to_end")
    return Stopping(number(entry.get("step")), estimate(entry.get("to_best")), to_end)


def _figures(listed: Any, count: int) -> tuple[Figure, ...]:
    """One figure a step, from estimates or bare numbers; unknown ones for a list that does not fit the steps."""
    given = _list(listed)
    if len(given) != count:
        return (Figure(None),) * count
    return tuple(estimate(one) if isinstance(one, Mapping) else Figure(number(one)) for one in given)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []
