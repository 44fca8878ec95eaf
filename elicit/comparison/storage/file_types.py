"""The types of a run directory's files: what `files` checks them against. Imports no torch.

Fields that a type does not name are kept as they are: methods record what they like, as JSON.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0, lt=2**53)]
#: Floating-point operations: no array holds them.
Work = Annotated[int | float, Field(ge=0, le=1e300)]
Real = Annotated[float, Field(ge=-1e300, le=1e300)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Share = Annotated[float, Field(ge=0, le=1)]


def _moment(text: str) -> str:
    datetime.datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_moment)]
Interval = Annotated[list[Real | None], Field(min_length=2, max_length=2)]


class Train(TypedDict, total=False):
    """What training took."""

    tokens: Count | None
    steps: Count | None
    flops: Work | None
    labels: Count | None
    generated_tokens: Count | None
    teacher_tokens: Count | None
    completion_tokens: Count | None


class Tuning(TypedDict, total=False):
    """What a choice on the select split took."""

    generated_tokens: Count | None
    labels: Count | None
    n: Count | None
    trials: Count | None
    split: str


class Trial(TypedDict, total=False):
    """One setting that was tried, with what it gave."""

    layer: Count
    strength: Real
    absolute: Real | None
    accuracy: Share | None
    trace_rate: Share | None
    ci: Interval | None
    trace_ci: Interval | None
    n: Count
    mode: str
    positions: str
    sae: str
    features: list[Count]


class FeatureFound(TypedDict, total=False):
    """A feature that an arm steers."""

    sae: str
    layer: Count
    feature: Count


class Point(TypedDict, total=False):
    """One step of a training curve; every value but the step is a number or null."""

    step: Real


class Watched(TypedDict):
    """What was seen of one other task at every look while an arm trained."""

    loss: list[Real | None]
    token_accuracy: list[Real | None]
    cosine: list[Real | None]
    predicted: list[Real | None]
    trapezoid: list[Real | None]


class WatchedIn(TypedDict):
    """What was seen of the trained task."""

    loss: list[Real | None]
    token_accuracy: list[Real | None]


WarningSeen = TypedDict(
    "WarningSeen",
    {
        "every": Count,
        "problems": dict[str, Count],
        "steps": list[Count],
        "seconds": Seconds,
        "share": Real,
        "in": WatchedIn,
        "out": dict[str, Watched],
    },
)


def _same_lengths(seen: Any) -> Any:
    """Every look has a value in every list, every stretch between two looks in lists of forecasts."""
    looks = len(seen["steps"])
    for name, lists in (("in", seen["in"]), *((f"out.{label}", one) for label, one in seen["out"].items())):
        for key, values in lists.items():
            wanted = max(0, looks - 1) if key in ("predicted", "trapezoid") else looks
            if len(values) != wanted:
                raise ValueError(f"{name}.{key} has {len(values)} values, and there were {looks} looks (steps)")
    return seen


class Record(TypedDict, total=False):
    """What a fit found and cost, as far as anything reads it."""

    ceiling: str
    train: Train | None
    tuning: Tuning | None
    steering: list[str] | None
    features: list[FeatureFound] | None
    dose_response: list[Trial] | None
    chosen: Trial | None
    chosen_on: dict[str, Any] | None
    curve: list[Point] | None
    pilot: dict[str, Any] | None
    warning: Annotated[WarningSeen, AfterValidator(_same_lengths)] | None
    critique: dict[str, Any] | None
    edges: list[str]


class ThinkingSwitch(TypedDict):
    """The switch for thinking of a model's chat template."""

    switch: str
    given: bool
    on: bool | None


class RanOn(TypedDict, total=False):
    """The model of a cell."""

    weights_sha256: str | None
    tokenizer_sha256: str | None
    dtype: str
    device: str
    threads: Count
    date: str
    dialect: dict[str, str] | None
    families: list[str] | None
    capable: bool | None
    thinking: ThinkingSwitch


class Status(TypedDict):
    """`status.json`."""

    state: Literal["pending", "done", "failed"]
    error: NotRequired[str | None]
    traceback: NotRequired[str | None]
    goal: NotRequired[dict[str, Any]]
    seconds: NotRequired[Seconds | None]
    fit_seconds: NotRequired[Seconds | None]
    peak_gib: NotRequired[Seconds | None]
    policy_sha256: NotRequired[str | None]
    record: NotRequired[Record | None]
    model: NotRequired[RanOn | None]
    devices: NotRequired[list[str]]


class Figure(TypedDict):
    """An estimate."""

    value: Real | None
    n: Count
    ci: Interval | None


class Ways(TypedDict):
    """KL in both directions."""

    base_arm: Figure
    arm_base: Figure


class Kl(TypedDict):
    task: Ways
    neutral: Ways


class Metrics(TypedDict, total=False):
    """A line of `metrics.jsonl`."""

    kl: Kl | None
    neutral_perplexity: Real | None


class Probed(TypedDict, total=False):
    """Losses on one task at one step."""

    loss: Real | None
    token_accuracy: Share | None
    entropy: Real | None
    n: Count


class StepGoal(TypedDict):
    probe: Count
    kl_problems: Count
    tasks: list[str]


class StepMetrics(TypedDict):
    """`steps/NNNNNN/metrics.json`."""

    kl: Kl | None
    neutral_perplexity: Real | None
    step: Count
    last: bool
    goal: NotRequired[StepGoal]
    tasks: dict[str, Probed | None]
    taught: NotRequired[Probed | None]


class Manifest(TypedDict, total=False):
    """`manifest.json`."""

    spec_sha256: str
    command: list[str]
    git: dict[str, Any] | None
    packages: dict[str, str | None]
    python: str
    machine: dict[str, Any]
    seeds: list[Count]
    limit: Count | None
    files: dict[str, str]
    problems: dict[str, str]
    models: dict[str, RanOn | None]
    devices: dict[str, list[str]]
    date: str
    start: Moment
    end: Moment | None


class PanelPoint(TypedDict):
    strength: Real
    absolute: Real | None
    view: dict[str, Any]


class PanelSeries(TypedDict):
    label: str
    unit: str
    points: list[PanelPoint]


class PanelView(TypedDict):
    """`panel.json`."""

    start: Real | None
    series: list[PanelSeries]


class _Arms(TypedDict):
    arms: dict[str, dict[str, Any]]


class _Tasks(TypedDict):
    tasks: dict[str, _Arms]


class Summary(TypedDict):
    """`summary.json`, as far as it is read and not only compared."""

    models: dict[str, _Tasks]


#: `prompts.json`: hash -> (prompt, forced opening).
Prompts = dict[str, Annotated[list[str], Field(min_length=2, max_length=2)]]
