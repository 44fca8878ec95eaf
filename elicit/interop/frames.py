"""A run as tidy DataFrames: from a run directory or a committed archive, without torch.

    from elicit.interop import frames

    rows = frames.rows("experiments/results/unlock")
    curves = frames.curves("runs/mine")
    frames.write("runs/mine", Path("tables"), form="parquet")      # rows.parquet, metrics.parquet, ...

Every frame names model, arm and (where figures are of one cell) seed, so that frames of several runs can be put one
under the other and joined. What is not known is missing, never 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elicit.comparison.spec.cells import Cell
from elicit.interop.source import RunSource, open_run_source
from elicit.methods.outside import shorten_reference

if TYPE_CHECKING:
    import pandas as pd

Records = Iterator[dict[str, Any]]

_CELL = ("model", "arm", "method", "seed")


def rows_df(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per completion: all tasks, own answers (`sample` 0) and samples at temperature 1.

    Raises:
        ElicitError: no run, or an unknown arm. So do all functions here.
    """
    return _load_frame(run, "rows", arms)


def metrics_df(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per figure of `summary.json`: task, metric, k (for curves over k), value, low, high (95 %), n."""
    return _load_frame(run, "metrics", arms)


def dose_response_df(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per (layer, strength, ...) that a steering arm was tuned over, on the select split."""
    return _load_frame(run, "dose_response", arms)


def curves_df(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per training step: loss, and for RL reward, entropy, lengths."""
    return _load_frame(run, "curves", arms)


def trajectories_df(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per arm, task, training step and figure: accuracy, rates, tokens, loss, entropy, KL, over all seeds."""
    return _load_frame(run, "trajectories", arms)


def costs_df(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per model and arm: tokens, labels, floating-point operations and seconds, means over seeds."""
    return _load_frame(run, "costs", arms)


def cells_df(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per cell, failed and pending ones included: state, error, seconds, hashes."""
    return _load_frame(run, "cells", arms)


def write_frames(
    run: str | Path, folder: Path, *, form: Literal["csv", "parquet"], arms: Sequence[str] | None = None
) -> list[Path]:
    """Write every frame into an existing folder, one file each. Returns the files."""
    written = []
    with open_run_source(run) as source:
        source.check_arms(arms)
        for name in FRAMES:
            frame, path = _build_frame(source, name, arms), folder / f"{name}.{form}"
            if form == "csv":
                frame.to_csv(path, index=False)
            else:
                frame.to_parquet(path, index=False)
            written.append(path)
    return written


def _load_frame(run: str | Path, name: str, arms: Sequence[str] | None) -> pd.DataFrame:
    with open_run_source(run) as source:
        source.check_arms(arms)
        return _build_frame(source, name, arms)


def _build_frame(source: RunSource, name: str, arms: Sequence[str] | None) -> pd.DataFrame:
    import pandas as pd

    records, columns = FRAMES[name]
    selected = [record for record in records(source) if arms is None or record["arm"] in arms]
    frame = pd.DataFrame(selected)
    return frame if selected else pd.DataFrame(columns=list(columns))


def _iter_answer_records(source: RunSource) -> Records:
    for cell in source.iter_finished_cells():
        cell_columns = {"model": cell.cell.model, "arm": cell.cell.arm, "method": cell.method}
        for task_rows in cell.rows.values():
            for row in task_rows:
                yield {**cell_columns, **vars(row), "notes": json.dumps(dict(row.notes)) if row.notes else None}


def _iter_cell_records(source: RunSource) -> Records:
    for cell, status in source.iter_statuses():
        facts = status.get("model") or {}
        known = {key: status.get(key) for key in ("state", "error", "seconds", "fit_seconds", "policy_sha256")}
        yield {
            **_identify_cell(source, cell),
            **known,
            **{key: facts.get(key) for key in ("weights_sha256", "dtype", "device")},
        }


def _identify_cell(source: RunSource, cell: Cell) -> dict[str, Any]:
    return {
        "model": cell.model,
        "arm": cell.arm,
        "method": shorten_reference(str(source.spec.arms[cell.arm]["method"])),
        "seed": cell.seed,
    }


def _read_record_list(key: str) -> Callable[[RunSource], Records]:
    """Entries of a list in every cell's record."""

    def iter_records(source: RunSource) -> Records:
        for cell, status in source.iter_statuses():
            for entry in (status.get("record") or {}).get(key) or () if status["state"] == "done" else ():
                yield {**_identify_cell(source, cell), **dict(_flatten_entry(entry))}

    return iter_records


def _flatten_entry(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested figures as dotted columns, intervals as two columns, other lists as text."""
    for key, value in entry.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten_entry(value, f"{name}.")
        elif key.endswith("ci") and (value is None or len(value) == 2):
            low, high = value or (None, None)
            yield from ((f"{name}_low", low), (f"{name}_high", high))
        else:
            yield name, "+".join(map(str, value)) if isinstance(value, list) else value


def _iter_arm_summaries(source: RunSource) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for model, model_summary in source.summary.get("models", {}).items():
        for task, entry in model_summary["tasks"].items():
            for arm, figures in entry["arms"].items():
                yield model, task, arm, figures


def _iter_cost_records(source: RunSource) -> Records:
    for model, task, arm, figures in _iter_arm_summaries(source):
        yield {"model": model, "task": task, "arm": arm, "method": figures["method"], **figures["budget"]}


def _iter_metric_records(source: RunSource) -> Records:
    for model, task, arm, figures in _iter_arm_summaries(source):
        arm_columns = {"model": model, "arm": arm, "method": figures["method"]}
        for on, name, k, figure in _iter_estimates(task, figures):
            low, high = figure.get("ci") or (None, None)
            value = figure["value"] if "value" in figure else figure["difference"]
            known = {"value": value, "low": low, "high": high, "n": figure.get("n"), "p_holm": figure.get("p_holm")}
            yield {**arm_columns, "task": on, "metric": name, "k": k, **known}


def _iter_estimates(task: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, str, int | None, Mapping[str, Any]]]:
    """(task, metric, k, estimate) of one arm."""
    yield task, "accuracy", None, {"value": figures["accuracy"], "ci": figures["ci"], "n": figures["n"]}
    gap = {"value": figures["gap_recovered"], "ci": figures["gap_ci"], "n": figures["n"]}
    if gap["value"] is not None:
        yield task, "gap_recovered", None, gap
    single = ("trace_rate", "valid_trace_rate", "finished_rate", "tokens_per_problem", "repetition", "compressed")
    for name in (*single, "vs_base", "vs_sft", "vs_parent", "sharpening"):
        if figures.get(name) is not None:
            yield task, name, None, figures[name]
    for name in ("pass_at_k", "pass_at_k_valid_trace"):
        for k, figure in (figures.get(name) or {}).items():
            yield task, name, int(k), figure
    for k, figure in (figures.get("majority_at_k") or {}).items():
        yield task, "majority_at_k", int(k), figure["accuracy"]
    for text, ways in (figures.get("kl") or {}).items():
        for way, figure in ways.items():
            if figure is not None:
                yield task, f"kl.{text}.{way}", None, figure
    for name, label in (("off_target", "accuracy"), ("off_target_vs_base", "vs_base")):
        for other, figure in (figures.get(name) or {}).items():
            if figure is not None:
                yield other, label, None, figure


def _iter_trajectory_records(source: RunSource) -> Records:
    for model, target, arm, figures in _iter_arm_summaries(source):
        trajectory = figures.get("trajectory")
        if trajectory is None:
            continue
        arm_columns = {"model": model, "arm": arm, "method": figures["method"]}
        extra_series = {target: {"kl": trajectory["kl"], "neutral_perplexity": trajectory["neutral_perplexity"]}}
        for task, entry in trajectory["tasks"].items():
            series = {**entry, **extra_series.get(task, {})}
            for name, values in series.items():
                for step, point in zip(trajectory["steps"], values, strict=True) if isinstance(values, list) else ():
                    figure = point if isinstance(point, Mapping) else {"value": point}
                    low, high = figure.get("ci") or (None, None)
                    known = {"value": figure["value"], "low": low, "high": high, "n": figure.get("n")}
                    yield {**arm_columns, "task": task, "step": step, "metric": name, **known}


#: Name -> (its records, columns of an empty frame).
FRAMES: dict[str, tuple[Callable[[RunSource], Records], tuple[str, ...]]] = {
    "rows": (
        _iter_answer_records,
        ("model", "arm", "method", "task", "problem", "sample", "kind", "completion", "correct", "seed"),
    ),
    "metrics": (
        _iter_metric_records,
        ("model", "arm", "method", "task", "metric", "k", "value", "low", "high", "n", "p_holm"),
    ),
    "dose_response": (_read_record_list("dose_response"), (*_CELL, "layer", "strength", "absolute", "accuracy", "n")),
    "curves": (_read_record_list("curve"), (*_CELL, "step", "loss")),
    "trajectories": (
        _iter_trajectory_records,
        ("model", "arm", "method", "task", "step", "metric", "value", "low", "high", "n"),
    ),
    "costs": (_iter_cost_records, ("model", "task", "arm", "method", "seconds", "fit_seconds")),
    "cells": (_iter_cell_records, (*_CELL, "state", "error", "seconds", "fit_seconds", "policy_sha256")),
}
