"""Reasoning gained and refusals lost by an arm over its training, as a summary has them, and the facts at its end.

`safety_tax` draws them and has the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from elicit.report.data.summary_view import (
    Arm,
    OptionalEstimate,
    PairedDifference,
    get_nested,
    parse_estimate,
    read_finite_number,
)

OUTCOMES = ("tax", "kept", "loss", "still", "unclear", "none")
"""Verdicts on a step, from both intervals; see `elicit.analysis.asymmetry`."""


class TradeoffStep(NamedTuple):
    """An arm at one step. Differences are as in the summary: a loss is positive where refusals are lost."""

    checkpoint_index: int
    step: float
    gain: PairedDifference
    loss: PairedDifference
    over_refusal: PairedDifference
    verdict: str

    @property
    def refusal_change(self) -> OptionalEstimate:
        """Change of the share of marked requests refused, arm minus base."""
        return negate_estimate(self.loss.estimate)


class TradeoffPath(NamedTuple):
    """One arm on one refusal task, from its first checkpoint to its end."""

    arm: Arm
    label: str
    steps: Sequence[TradeoffStep]
    price: OptionalEstimate
    base_refusal_rate: OptionalEstimate
    margin: float | None
    tax_free_steps: Sequence[float]

    @property
    def last_step(self) -> TradeoffStep:
        return self.steps[-1]

    def summary_key(self, name: str, step: TradeoffStep) -> str:
        """The path of a figure in the arm's summary."""
        return f"asymmetry.{self.label}.{name}.{step.checkpoint_index}"


@dataclass(frozen=True)
class PathFacts:
    """An arm at the end of its training."""

    gain: OptionalEstimate
    """Of right answers over the base, as a share of 1."""
    refusal_change: OptionalEstimate
    outcome: str
    """One of `OUTCOMES`."""
    price: OptionalEstimate | None
    """Refusals lost per answer gained, where there is a tax."""
    over_refusal: OptionalEstimate | None
    """Loss of answers to unmarked requests, where its whole interval is above 0."""
    tax_free_steps: tuple[float, ...]
    """Earlier steps at which reasoning was up and refusal kept, where the end is not one."""


def judge_path(path: TradeoffPath) -> PathFacts:
    """Facts about the last step of a path."""
    last_step = path.last_step
    outcome = last_step.verdict if last_step.verdict in OUTCOMES else "unclear"
    over_refusal = last_step.over_refusal.estimate
    return PathFacts(
        last_step.gain.estimate,
        last_step.refusal_change,
        outcome,
        path.price if path.price.value is not None and outcome == "tax" else None,
        over_refusal if over_refusal.low is not None and over_refusal.low > 0 else None,
        tuple(path.tax_free_steps) if len(path.steps) > 1 and outcome != "kept" else (),
    )


def negate_estimate(figure: OptionalEstimate) -> OptionalEstimate:
    """The same difference seen from the other side."""
    value, low, high = (None if bound is None else -bound for bound in figure[:3])
    return figure._replace(value=value, low=high, high=low)


def read_refusal_entries(arm: Arm) -> Mapping[str, Any]:
    value = arm.data.get("asymmetry")
    return value if isinstance(value, Mapping) else {}


def read_path(arm: Arm, label: str) -> TradeoffPath | None:
    entry = read_refusal_entries(arm).get(label)
    if not isinstance(entry, Mapping):
        return None
    steps = []
    for i, step in enumerate(_read_list_field(entry, "steps")):
        step_number = read_finite_number(step)
        if step_number is not None:
            gain, loss, over = (_read_step_difference(arm, entry, name, i) for name in ("gain", "loss", "over"))
            verdicts = _read_list_field(entry, "verdicts")
            steps.append(
                TradeoffStep(i, step_number, gain, loss, over, str(verdicts[i]) if i < len(verdicts) else "unclear")
            )
    measured_steps = [
        step for step in steps if step.gain.estimate.value is not None and step.loss.estimate.value is not None
    ]
    if not measured_steps:
        return None
    prices = _read_list_field(entry, "price")
    last_index = measured_steps[-1].checkpoint_index
    return TradeoffPath(
        arm,
        label,
        measured_steps,
        parse_estimate(prices[last_index] if last_index < len(prices) else None),
        parse_estimate(get_nested(entry, "base_refuses")),
        read_finite_number(entry.get("margin")),
        [step for value in _read_list_field(entry, "free") if (step := read_finite_number(value)) is not None],
    )


def _read_step_difference(arm: Arm, entry: Mapping[str, Any], name: str, i: int) -> PairedDifference:
    step_entries = _read_list_field(entry, name)
    return arm._replace(data={"one": step_entries[i] if i < len(step_entries) else None}).read_difference("one")


def _read_list_field(entry: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = entry.get(name)
    return value if isinstance(value, list | tuple) else ()
