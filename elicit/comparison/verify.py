"""Recompute a run's results: every figure from its rows and metrics, every verdict from its completion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elicit import runs
from elicit.comparison.cell_state import load_test_problems, read_cell_status
from elicit.comparison.problems import Unjudged, load_judging_task, load_run_task
from elicit.comparison.prompt_check import find_prompt_differences
from elicit.comparison.reader import dialect_of, read_run_spec
from elicit.comparison.spec import checkpoints
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.storage.typed_files import read_summary
from elicit.comparison.summary.summarise import summarise_run
from elicit.format_versions import FORMAT_VERSION, SEED_INTERVALS
from elicit.schema import Row
from elicit.tasks import Verdict


class VerificationResult(NamedTuple):
    figures: int
    rows: int
    """Verdicts that were recomputed."""
    differences: list[str]
    notes: list[str]
    """Verdicts that could not be recomputed here, a line for each task, and figures that were not compared."""


def verify_run(run: Path) -> VerificationResult:
    """Recompute `summary.json` from the rows, each row's verdict from its completion, and the prompts' hashes.

    Raises:
        ElicitError: the directory is not a finished run.
    """
    summary, recomputed = read_summary(run), summarise_run(run)
    _drop_later_figures(recomputed, summary)
    printed, computed = dict(_flatten_json(summary)), dict(_flatten_json(recomputed))
    differences = []
    former = _list_former_figures(printed, computed) if summary.get(FORMAT_VERSION, 1) < SEED_INTERVALS else set()
    for figures in (printed, computed):
        figures.pop(FORMAT_VERSION, None)  # of the file, not of the run
    for key_path in sorted((printed.keys() | computed.keys()) - former):
        left, right = printed.get(key_path, "(absent)"), computed.get(key_path, "(absent)")
        if right is None and key_path not in printed:
            continue  # an older summary, from before this figure existed, of a run without it
        if not _values_match(left, right):
            differences.append(f"summary.json {key_path}: printed {left!r}, the rows give {right!r}")
    rows, wrong, notes = _rejudge_rows(run)
    spec, limit = read_run_spec(run)
    wrong += find_prompt_differences(spec, run, limit)
    if former:
        notes.insert(0, f"{len(former & printed.keys())} figures were not compared: {_FORMER}")
    return VerificationResult(len(printed.keys() - former), rows, differences + wrong, notes)


_FORMER = "intervals over problems alone and p values corrected over fewer tests, as earlier versions computed them"


def _list_former_figures(printed: Mapping[str, Any], computed: Mapping[str, Any]) -> set[str]:
    """Figures that summaries before `SEED_INTERVALS` have in another form, or lack: intervals of single arms, Holm."""

    def is_former(key_path: str) -> bool:
        entry, _, name = key_path.rpartition(".")
        if name in ("ci[0]", "ci[1]"):
            return f"{entry}.difference" not in computed
        return name in ("p_holm", "holm_tests", "fit_tokens", "answers")

    return {key_path for key_path in printed.keys() | computed.keys() if is_former(key_path)}


def _drop_later_figures(computed: dict[str, Any], printed: Mapping[str, Any]) -> None:
    """Drop the figures that no arm of the printed summary has: it was made before they existed."""
    known = {name for figures in _list_arm_figures(printed) for name in figures}
    for figures in _list_arm_figures(computed):
        for name in [name for name in figures if name not in known]:
            del figures[name]


def _list_arm_figures(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = [task for model in summary["models"].values() for task in model["tasks"].values()]
    return [figures for task in tasks for figures in task["arms"].values()]


def _flatten_json(data: Any, key_path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flatten_json(value, f"{key_path}.{key}" if key_path else str(key))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _flatten_json(value, f"{key_path}[{i}]")
    else:
        yield key_path, data


def _values_match(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float | int):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
    return bool(left == right)


def _iterate_rows(paths: Iterable[Path]) -> Iterator[tuple[Path, Row]]:
    for path in paths:
        for row in runs.read_rows(path):
            yield path, row


def _rejudge_rows(run: Path) -> tuple[int, list[str], list[str]]:
    """(rows judged, rows whose stored verdict is not what the verifier says, tasks whose verifier is not here)."""
    spec, limit = read_run_spec(run)
    count = 0
    wrong: list[str] = []
    notes: list[str] = []
    dialects: dict[str, Any] = {}
    for cell in list_cells(spec):
        if read_cell_status(cell, run)["state"] != "done":
            continue
        model_spec = spec.for_model(cell.model)
        if cell.model not in dialects:
            dialects[cell.model] = dialect_of(spec, run, cell.model)
        for label in (model_spec.task_label, *model_spec.off_target):
            judge = load_judging_task(spec, run, cell.model, label, dialects[cell.model], where=label)
            task = judge
            if isinstance(task, Unjudged):
                lines = wrong if task.is_changed else notes
                lines += [task.reason] if task.reason not in lines else []
                task = load_run_task(spec, run, cell.model, label, dialects[cell.model], where=label)
            problems = {problem.id: problem for problem in load_test_problems(task, model_spec, limit)}
            judged: dict[tuple[str, str], Verdict] = {}  # many samples of a problem are the same text
            homes = [cell.folder_in(run), *checkpoints.list_checkpoint_folders(cell.folder_in(run)).values()]
            for path, row in _iterate_rows(home / "rows" / f"{label}.jsonl" for home in homes):
                if row.problem not in problems:
                    count += 1
                    wrong.append(f"{path}: problem {row.problem} is not a test problem of {label}")
                    continue
                if isinstance(judge, Unjudged):
                    continue
                count += 1
                key = (row.problem, row.completion)
                if key not in judged:
                    judged[key] = judge.verify(problems[row.problem], row.completion)
                verdict = judged[key]
                if tuple(verdict) != (row.answer, row.correct, row.has_trace, row.trace_valid):
                    wrong.append(f"{path}: problem {row.problem}, sample {row.sample}: the verifier says {verdict}")
    return count, wrong, notes
