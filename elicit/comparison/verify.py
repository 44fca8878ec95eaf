"""Recompute what a run printed: every figure from its rows and metrics, every verdict from its completion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from elicit import runs
from elicit.comparison.problems import run_task
from elicit.comparison.prompt_check import differing_prompts
from elicit.comparison.reader import dialect_of, read_spec_of
from elicit.comparison.running.cell_runner import problems_of, state_of
from elicit.comparison.spec import checkpoints
from elicit.comparison.spec.cells import cells
from elicit.comparison.storage.typed_files import read_summary
from elicit.comparison.summary.summarise import summarise
from elicit.schema import Row
from elicit.tasks import Verdict


class Verified(NamedTuple):
    figures: int
    rows: int
    differences: list[str]


def verify(run: Path) -> Verified:
    """Compare `summary.json` with what the rows give, each row's verdict with its completion's, and what was asked.

    Raises:
        ElicitError: if the directory is not a finished run.
    """
    printed = dict(_leaves(read_summary(run)))
    computed = dict(_leaves(summarise(run)))
    differences = []
    for place in sorted(printed.keys() | computed.keys()):
        left, right = printed.get(place, "(absent)"), computed.get(place, "(absent)")
        if right is None and place not in printed:
            continue  # a summary from before there was such a figure, of a run that has none
        if not _same(left, right):
            differences.append(f"summary.json {place}: printed {left!r}, the rows give {right!r}")
    rows, wrong = _judge_again(run)
    spec, limit = read_spec_of(run)
    wrong += differing_prompts(spec, run, limit)
    return Verified(len(printed), rows, differences + wrong)


def _leaves(data: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _leaves(value, f"{place}[{i}]")
    else:
        yield place, data


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float | int):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
    return bool(left == right)


def _rows(paths: Iterable[Path]) -> Iterator[tuple[Path, Row]]:
    for path in paths:
        for row in runs.read_rows(path):
            yield path, row


def _judge_again(run: Path) -> tuple[int, list[str]]:
    """(rows judged, rows whose stored verdict is not what the verifier says)."""
    spec, limit = read_spec_of(run)
    count, wrong = 0, []
    dialects: dict[str, Any] = {}
    for cell in cells(spec):
        if state_of(cell, run)["state"] != "done":
            continue
        mine = spec.of(cell.model)
        if cell.model not in dialects:
            dialects[cell.model] = dialect_of(spec, run, cell.model)
        for label in (mine.task_label, *mine.off_target):
            task = run_task(spec, run, cell.model, label, dialects[cell.model], where=label)
            problems = {problem.id: problem for problem in problems_of(task, mine, limit)}
            judged: dict[tuple[str, str], Verdict] = {}  # many samples of a problem are the same text
            homes = [cell.folder(run), *checkpoints.folders(cell.folder(run)).values()]
            for path, row in _rows(home / "rows" / f"{label}.jsonl" for home in homes):
                count += 1
                if row.problem not in problems:
                    wrong.append(f"{path}: problem {row.problem} is not a test problem of {label}")
                    continue
                key = (row.problem, row.completion)
                if key not in judged:
                    judged[key] = task.verify(problems[row.problem], row.completion)
                verdict = judged[key]
                if tuple(verdict) != (row.answer, row.correct, row.has_trace, row.trace_valid):
                    wrong.append(f"{path}: problem {row.problem}, sample {row.sample}: the verifier says {verdict}")
    return count, wrong
