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
from elicit.interop.source import Source, opened

if TYPE_CHECKING:
    import pandas as pd

Records = Iterator[dict[str, Any]]

_CELL = ("model", "arm", "method", "seed")


def rows(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per completion: all tasks, own answers (`sample` 0) and samples at temperature 1.

    Raises:
        ElicitError: no run, or an unknown arm. So do all functions here.
    """
    return _frame(run, "rows", arms)


def metrics(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per figure of `summary.json`: task, metric, k (for curves over k), value, low, high (95 %), n."""
    return _frame(run, "metrics", arms)


def dose_response(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per (layer, strength, ...) that a steering arm was tuned over, on the select split."""
    return _frame(run, "dose_response", arms)


def curves(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per training step: loss, and for RL reward, entropy, lengths."""
    return _frame(run, "curves", arms)


def trajectories(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per arm, task, training step and figure: accuracy, rates, tokens, loss, entropy, KL, over all seeds."""
    return _frame(run, "trajectories", arms)


def costs(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per model and arm: tokens, labels, floating-point operations and seconds, means over seeds."""
    return _frame(run, "costs", arms)


def cells(run: str | Path, *, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per cell, failed and pending ones included: state, error, seconds, hashes."""
    return _frame(run, "cells", arms)


def write(
    run: str | Path, folder: Path, *, form: Literal["csv", "parquet"], arms: Sequence[str] | None = None
) -> list[Path]:
    """Write every frame into an existing folder, one file each. Returns the files."""
    written = []
    with opened(run) as source:
        source.check(arms)
        for name in FRAMES:
            frame, path = _made(source, name, arms), folder / f"{name}.{form}"
            if form == "csv":
                frame.to_csv(path, index=False)
            else:
                frame.to_parquet(path, index=False)
            written.append(path)
    return written


def _frame(run: str | Path, name: str, arms: Sequence[str] | None) -> pd.DataFrame:
    with opened(run) as source:
        source.check(arms)
        return _made(source, name, arms)


def _made(source: Source, name: str, arms: Sequence[str] | None) -> pd.DataFrame:
    import pandas as pd

    records, columns = FRAMES[name]
    found = [one for one in records(source) if arms is None or one["arm"] in arms]
    frame = pd.DataFrame(found)
    return frame if found else pd.DataFrame(columns=list(columns))


def _rows(source: Source) -> Records:
    for cell in source.cells():
        place = {"model": cell.cell.model, "arm": cell.cell.arm, "method": cell.method}
        for mine in cell.rows.values():
            for row in mine:
                yield {**place, **vars(row), "notes": json.dumps(dict(row.notes)) if row.notes else None}


def _cells(source: Source) -> Records:
    for cell, status in source.statuses():
        facts = status.get("model") or {}
        known = {key: status.get(key) for key in ("state", "error", "seconds", "fit_seconds", "policy_sha256")}
        yield {
            **_place(source, cell),
            **known,
            **{key: facts.get(key) for key in ("weights_sha256", "dtype", "device")},
        }


def _place(source: Source, cell: Cell) -> dict[str, Any]:
    return {
        "model": cell.model,
        "arm": cell.arm,
        "method": source.spec.arms[cell.arm]["method"],
        "seed": cell.seed,
    }


def _listed(key: str) -> Callable[[Source], Records]:
    """Entries of a list in every cell's record."""

    def records(source: Source) -> Records:
        for cell, status in source.statuses():
            for entry in (status.get("record") or {}).get(key) or () if status["state"] == "done" else ():
                yield {**_place(source, cell), **dict(_flat(entry))}

    return records


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested figures as dotted columns, intervals as two columns, other lists as text."""
    for key, value in entry.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif key.endswith("ci") and (value is None or len(value) == 2):
            low, high = value or (None, None)
            yield from ((f"{name}_low", low), (f"{name}_high", high))
        else:
            yield name, "+".join(map(str, value)) if isinstance(value, list) else value


def _entries(source: Source) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for model, found in source.summary.get("models", {}).items():
        for task, entry in found["tasks"].items():
            for arm, figures in entry["arms"].items():
                yield model, task, arm, figures


def _costs(source: Source) -> Records:
    for model, task, arm, figures in _entries(source):
        yield {"model": model, "task": task, "arm": arm, "method": figures["method"], **figures["budget"]}


def _metrics(source: Source) -> Records:
    for model, task, arm, figures in _entries(source):
        place = {"model": model, "arm": arm, "method": figures["method"]}
        for on, name, k, figure in _figures(task, figures):
            low, high = figure.get("ci") or (None, None)
            value = figure["value"] if "value" in figure else figure["difference"]
            known = {"value": value, "low": low, "high": high, "n": figure.get("n"), "p_holm": figure.get("p_holm")}
            yield {**place, "task": on, "metric": name, "k": k, **known}


def _figures(task: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, str, int | None, Mapping[str, Any]]]:
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


def _trajectories(source: Source) -> Records:
    for model, target, arm, figures in _entries(source):
        found = figures.get("trajectory")
        if found is None:
            continue
        place = {"model": model, "arm": arm, "method": figures["method"]}
        beside = {target: {"kl": found["kl"], "neutral_perplexity": found["neutral_perplexity"]}}
        for task, entry in found["tasks"].items():
            listed = {**entry, **beside.get(task, {})}
            for name, values in listed.items():
                for step, one in zip(found["steps"], values, strict=True) if isinstance(values, list) else ():
                    figure = one if isinstance(one, Mapping) else {"value": one}
                    low, high = figure.get("ci") or (None, None)
                    known = {"value": figure["value"], "low": low, "high": high, "n": figure.get("n")}
                    yield {**place, "task": task, "step": step, "metric": name, **known}


#: Name -> (its records, columns of an empty frame).
FRAMES: dict[str, tuple[Callable[[Source], Records], tuple[str, ...]]] = {
    "rows": (_rows, ("model", "arm", "method", "task", "problem", "sample", "kind", "completion", "correct", "seed")),
    "metrics": (_metrics, ("model", "arm", "method", "task", "metric", "k", "value", "low", "high", "n", "p_holm")),
    "dose_response": (_listed("dose_response"), (*_CELL, "layer", "strength", "absolute", "accuracy", "n")),
    "curves": (_listed("curve"), (*_CELL, "step", "loss")),
    "trajectories": (_trajectories, ("model", "arm", "method", "task", "step", "metric", "value", "low", "high", "n")),
    "costs": (_costs, ("model", "task", "arm", "method", "seconds", "fit_seconds")),
    "cells": (_cells, (*_CELL, "state", "error", "seconds", "fit_seconds", "policy_sha256")),
}
