"""Workers share a run directory: one removes its scratch folder while another looks through the cells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from elicit.comparison.run import open_run
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import parse_spec

SPEC = "models: [cued]\ntask: addition\narms: [base, cue_prompt]\ntest: 4\nkl_problems: 0\n"


def test_a_scratch_folder_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed at the moment in which the folder above it has been listed."""
    spec, run = parse_spec(SPEC), tmp_path / "run"
    assert run_cells(spec, run, arms=["base"], workers=1) == []
    scratch = run / "cells" / "cued" / "base" / "0" / "scratch"
    scratch.mkdir()
    scan, seen = os.scandir, []

    def remove_then_scan(path: Any = ".") -> Any:
        if path in (scratch, str(scratch)):
            seen.append(path)
            scratch.rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", remove_then_scan)
    assert run_cells(spec, run, workers=1) == []
    assert seen, "the folder was looked into"
    assert [cell.state for cell in open_run(run).cells()] == ["done", "done"]
