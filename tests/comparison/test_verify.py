"""`elicit verify` recomputes: it agrees with an honest run and names every change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.comparisons import elicit, reference

_ROWS = "cells/cued/sft/1/rows/addition.jsonl"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference(), tmp_path / "run"))


def _edit_row(run: Path, change: Callable[[dict[str, Any]], None], wanted: Callable[[dict[str, Any]], bool]) -> str:
    """Change the first row that fits; returns its problem."""
    path = run / _ROWS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    row = next(line for line in lines if wanted(line))
    change(row)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return str(row["problem"])


def test_an_honest_run_agrees(run: Path) -> None:
    done = elicit("verify", run)
    assert done.code == 0, done.out
    figures, verdicts = (int(done.out.split()[i]) for i in (0, 3))
    assert done.out == f"{figures} figures and {verdicts} verdicts checked, 0 differ\n"
    # 6 cells, 20 problems, 1 + 4 answers on the task and 1 off target
    assert verdicts == 6 * 20 * 6
    assert figures > 200


def test_a_changed_figure_is_found(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    arm = summary["models"]["cued"]["tasks"]["addition"]["arms"]["sft"]
    arm["accuracy"] += 1e-4
    (run / "summary.json").write_text(json.dumps(summary))
    done = elicit("verify", run)
    assert done.code == 1
    assert "summary.json models.cued.tasks.addition.arms.sft.accuracy: printed " in done.out
    assert done.out.count("\n") == 2


def test_a_removed_figure_is_found(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    del summary["models"]["cued"]["tasks"]["addition"]["arms"]["base"]
    (run / "summary.json").write_text(json.dumps(summary))
    done = elicit("verify", run)
    assert done.code == 1
    assert "arms.base.accuracy: printed '(absent)', the rows give " in done.out


def test_a_changed_row_is_found(run: Path) -> None:
    """A verdict that does not belong to its completion: the row is named, and so is the figure it moves."""
    problem = _edit_row(run, lambda row: row.update(correct=not row["correct"]), lambda row: row["sample"] == 0)
    done = elicit("verify", run)
    assert done.code == 1
    assert f"{_ROWS}: problem {problem}, sample 0: the verifier says " in done.out
    assert "arms.sft.accuracy: printed " in done.out


def test_a_changed_completion_is_found(run: Path) -> None:
    problem = _edit_row(run, lambda row: row.update(completion="#nothing"), lambda row: row["answer"] is not None)
    done = elicit("verify", run)
    assert done.code == 1
    assert f"problem {problem}, sample " in done.out


def test_a_row_of_a_problem_that_is_no_test_problem_is_found(run: Path) -> None:
    _edit_row(run, lambda row: row.update(problem="0" * 16), lambda row: True)
    done = elicit("verify", run)
    assert done.code == 1
    assert "problem 0000000000000000 is not a test problem of addition" in done.out


def test_a_lost_row_is_found(run: Path) -> None:
    path = run / _ROWS
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    done = elicit("verify", run)
    assert done.code == 1
    assert "summary.json" in done.out


def test_a_damaged_line_is_named(run: Path) -> None:
    path = run / _ROWS
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "{not json\n", *lines[4:]]))
    done = elicit("verify", run)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{_ROWS}, line 4 is not JSON" in done.err


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = elicit("verify", tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "summary.json is missing" in done.err
