"""Types of a run directory's files, against which `typed_files` checks them. Imports no torch.

Fields that a type does not name are kept unchanged: methods may record any JSON.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0, lt=2**53)]
#: Floating-point operations; the number may exceed 64-bit integers.
Work = Annotated[int | float, Field(ge=0, le=1e300)]
Real = Annotated[float, Field(ge=-1e300, le=1e300)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Share = Annotated[float, Field(ge=0, le=1)]


def _check_moment(text: str) -> str:
    datetime.datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_check_moment)]
Interval = Annotated[list[Real | None], Field(min_length=2, max_length=2)]


class Train(TypedDict, total=False):
    """Cost of training."""

    tokens: Count | None
    steps: Count | None
    flops: Work | None
    labels: Count | None
    generated_tokens: Count | None
    teacher_tokens: Count | None
    completion_tokens: Count | None


class Tuning(TypedDict, total=False):
    """Cost of a choice on the select split."""

    generated_tokens: Count | None
    rollout_tokens: Count | None
    labels: Count | None
    n: Count | None
    trials: Count | None
    split: str


class TuningTrial(TypedDict, total=False):
    """One setting that was tried, with its result."""

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


class SteeredFeature(TypedDict, total=False):
    """A feature that an arm steers."""

    sae: str
    layer: Count
    feature: Count


class CurvePoint(TypedDict, total=False):
    """One step of a training curve; every value but the step is a number or null."""

    step: Real


class WatchedTaskRecord(TypedDict):
    """Measurements of one other task at every look while an arm trained."""

    loss: list[Real | None]
    token_accuracy: list[Real | None]
    cosine: list[Real | None]
    predicted: list[Real | None]
    trapezoid: list[Real | None]


class TrainedTaskRecord(TypedDict):
    """Measurements of the trained task at every look."""

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
        "in": TrainedTaskRecord,
        "out": dict[str, WatchedTaskRecord],
    },
)


def _check_equal_lengths(warning: Any) -> Any:
    """Check that lists have a value per look, and lists of forecasts a value per interval between looks."""
    looks = len(warning["steps"])
    out = {f"out.{label}": task_lists for label, task_lists in warning["out"].items()}
    for name, lists in {"in": warning["in"], **out}.items():
        for key, values in lists.items():
            expected_length = max(0, looks - 1) if key in ("predicted", "trapezoid") else looks
            if len(values) != expected_length:
                raise ValueError(f"{name}.{key} has {len(values)} values, and there were {looks} looks (steps)")
    return warning


class FitRecord(TypedDict, total=False):
    """Results and cost of a fit: the fields that other modules read."""

    ceiling: str | None
    train: Train | None
    tuning: Tuning | None
    steering: list[str] | None
    features: list[SteeredFeature] | None
    dose_response: list[TuningTrial] | None
    chosen: TuningTrial | None
    chosen_on: dict[str, Any] | None
    curve: list[CurvePoint] | None
    pilot: dict[str, Any] | None
    warning: Annotated[WarningSeen, AfterValidator(_check_equal_lengths)] | None
    critique: dict[str, Any] | None
    edges: list[str]


class ThinkingRecord(TypedDict):
    """The thinking switch of a model's chat template."""

    switch: str
    given: bool
    on: bool | None


class ModelRecord(TypedDict, total=False):
    """The model of a cell."""

    weights_sha256: str | None
    tokenizer_sha256: str | None
    parameters: Count
    dtype: str
    device: str
    threads: Count
    date: str
    dialect: dict[str, str] | None
    families: list[str] | None
    capable: bool | None
    thinking: ThinkingRecord


class ProcessesRecord(TypedDict):
    """The processes that trained a cell's policy together."""

    count: Count
    backend: str
    peak_gib: Seconds | None


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
    record: NotRequired[FitRecord | None]
    model: NotRequired[ModelRecord | None]
    devices: NotRequired[list[str]]
    engine: NotRequired[str]
    processes: NotRequired[ProcessesRecord]


class EstimateDict(TypedDict):
    """An estimate."""

    value: Real | None
    n: Count
    ci: Interval | None


class KlDirections(TypedDict):
    """KL in both directions."""

    base_arm: EstimateDict
    arm_base: EstimateDict


class Kl(TypedDict):
    task: KlDirections
    neutral: KlDirections


class Metrics(TypedDict, total=False):
    """A line of `metrics.jsonl`."""

    kl: Kl | None
    neutral_perplexity: Real | None
    worked_logprobs: dict[str, Real | None]


class ProbeMetrics(TypedDict, total=False):
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
    tasks: dict[str, ProbeMetrics | None]
    taught: NotRequired[ProbeMetrics | None]


class Manifest(TypedDict, total=False):
    """`manifest.json`."""

    format_version: Count
    rows_format_version: Count
    archive_format_version: Count
    elicit: str
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
    methods: dict[str, dict[str, Any]]
    models: dict[str, ModelRecord | None]
    devices: dict[str, list[str]]
    processes: dict[str, list[str]]
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
