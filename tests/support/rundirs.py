"""Run directories made by hand: rows with known verdicts, and no model. For figures that can be worked out on paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from elicit import runs
from elicit.comparison.cell_state import goal_of
from elicit.comparison.spec import Spec, check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.summary.summarise import summarise_run
from elicit.schema import Row


class Said(NamedTuple):
    """One completion, as far as the figures look at it."""

    answer: str | None
    correct: bool
    tokens: int = 5
    valid: bool | None = None
    """Whether its trace is valid; None: it shows none."""
    notes: Mapping[str, float] = {}


def right(tokens: int = 5, valid: bool | None = None) -> Said:
    return Said("yes", True, tokens, valid)


def wrong(answer: str | None = "no", tokens: int = 5) -> Said:
    return Said(answer, False, tokens)


class Told(NamedTuple):
    """What a cell left: its own answer to every problem, its samples of some, and the rest of its status."""

    answers: Sequence[Said] = ()
    samples: Sequence[Sequence[Said]] = ()
    off_target: Sequence[Said] = ()
    record: Mapping[str, Any] = {}
    fit_seconds: float | None = None
    seconds: float | None = None
    error: str | None = None


def make(run: Path, data: Mapping[str, Any], told: Mapping[str, Told]) -> Spec:
    """Write a run directory: `told` maps MODEL/ARM/SEED to what that cell left. Cells without an entry are pending."""
    spec = check_spec({"models": ["cued"], "task": "addition", **data})
    runs.write_text(run / "spec.yaml", yaml.safe_dump({**spec.to_dict(), "limit": None}, sort_keys=False))
    for cell in list_cells(spec):
        if cell.name not in told:
            continue
        one, folder = told[cell.name], cell.folder_in(run)
        if one.error is not None:
            runs.write_json(folder / "status.json", {"state": "failed", "error": one.error, "traceback": None})
            continue
        status = {
            "state": "done",
            "goal": goal_of(cell, spec, None),
            "seconds": one.seconds,
            "fit_seconds": one.fit_seconds,
            "record": dict(one.record),
        }
        runs.write_json(folder / "status.json", status)
        runs.append_lines(folder / "metrics.jsonl", [])
        rows = [_row(spec.task_label, cell.seed, i, 0, said) for i, said in enumerate(one.answers)]
        rows += [
            _row(spec.task_label, cell.seed, i, 1 + j, said)
            for i, drawn in enumerate(one.samples)
            for j, said in enumerate(drawn)
        ]
        _write(folder, spec.task_label, rows)
        for label in spec.off_target:
            _write(folder, label, [_row(label, cell.seed, i, 0, said) for i, said in enumerate(one.off_target)])
    return spec


def _write(folder: Path, label: str, rows: Sequence[Row]) -> None:
    runs.append_lines(folder / "rows" / f"{label}.jsonl", [row.to_json() for row in rows])


def _row(label: str, seed: int, problem: int, sample: int, said: Said) -> Row:
    return Row(
        task=label,
        problem=f"p{problem}",
        sample=sample,
        kind="sample" if sample else "answer",
        prompt_hash="",
        completion=json.dumps(said.answer),
        tokens=said.tokens,
        finished=True,
        answer=said.answer,
        correct=said.correct,
        has_trace=said.valid is not None,
        trace_valid=said.valid,
        seed=seed,
        firings=0,
        prompt_tokens=1,
        notes=said.notes,
    )


def arms_of(run: Path, model: str = "cued", label: str = "addition") -> dict[str, Any]:
    """The summary's entries of one model."""
    found: dict[str, Any] = summarise_run(run)["models"][model]["tasks"][label]["arms"]
    json.dumps(found, allow_nan=False)
    return found
