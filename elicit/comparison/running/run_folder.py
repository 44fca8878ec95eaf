"""The folder of a run before its first cell: new, or a run that the spec amends or corrects. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from elicit import runs
from elicit.comparison.problems import forget_problems, write_problems
from elicit.comparison.reader import read_spec_of
from elicit.comparison.running.amendment import check_amendment, outdated
from elicit.comparison.running.cell_runner import state_of
from elicit.comparison.running.corrections import (
    NONE,
    Corrections,
    begin_corrections,
    check_corrections,
    corrected_cells,
    emptied,
    empty,
    end_corrections,
)
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, cells
from elicit.comparison.spec.task_files import Changed, changed_files, task_files
from elicit.comparison.storage.manifest import begun, date_of, ended
from elicit.comparison.storage.typed_files import read_manifest
from elicit.errors import ElicitError


class Target(NamedTuple):
    """A folder that has been checked."""

    empty: list[Cell]
    """Cells of the run that is there which are to be emptied: corrected ones, and unfinished ones of another spec."""
    corrected: list[Cell]
    """Those of them that `--replace` and `--drop` name, or that an interrupted correction left."""


def check_target(
    spec: Spec, run: Path, *, limit: int | None, corrections: Corrections = NONE, given: Spec | None = None
) -> Target:
    """Check that `run` is new, or holds a run that the spec amends. Changes nothing.

    Args:
        spec: without the arms that are dropped.
        given: the spec as the user has it; `spec` where nothing is dropped.

    Raises:
        ElicitError: the directory holds another spec's run, something else, or cannot be written.
    """
    with runs.writing_to(run):
        if run.exists() and not run.is_dir():
            raise ElicitError(f"{run} is a file. Name another folder with --out.")
        there = (run / "spec.yaml").exists()
        if not there and run.is_dir() and not all(map(runs.is_ours, run.iterdir())):
            raise ElicitError(f"{run} is not a run directory and not empty. Name another folder with --out.")
    if not there:
        check_corrections(given or spec, run, corrections, None)
        return Target([], [])
    before, old_limit = read_spec_of(run)
    check_corrections(given or spec, run, corrections, before)
    corrected = corrected_cells(spec, before, run, corrections)
    gone = {cell.name for cell in corrected}
    finished = {cell.name: cell for cell in cells(before) if state_of(cell, run)["state"] == "done"}
    bound = [cell for name, cell in finished.items() if name not in gone]
    check_amendment(_kept(before, corrections), spec.plain(), run, {(cell.model, cell.arm) for cell in bound})
    had, wanted = _problems_wanted(before, old_limit), _problems_wanted(spec, limit)
    if wanted < had and bound:
        raise ElicitError(
            f"{run} holds a run with {had} test problems; --limit {limit} would shrink it. "
            "Name another folder with --out, or leave --limit out."
        )
    files = _check_files(spec, run, bound)
    stale = [cell for cell in outdated(before, spec, fewer=wanted < had, files=files) if cell.name not in finished]
    return Target([*corrected, *(cell for cell in stale if cell.name not in gone)], corrected)


def open_run(
    spec: Spec,
    run: Path,
    *,
    limit: int | None,
    command: Sequence[str],
    corrections: Corrections = NONE,
    given: Spec | None = None,
) -> None:
    """Create the run directory, or turn the one that is there into one of this spec.

    Raises:
        ElicitError: as for `check_target`.
    """
    target = check_target(spec, run, limit=limit, corrections=corrections, given=given)
    runs.sweep(run)
    begin_corrections(spec, run, corrections, target.corrected)
    for cell in target.empty:
        empty(cell, run)
    plain = spec.plain()
    problems = write_problems(spec, limit, run)
    text = yaml.safe_dump({**plain, "limit": limit}, sort_keys=False, allow_unicode=True)
    runs.write_text(run / "spec.yaml", text)
    emptied(run)
    manifest = begun(plain, limit, command, files=task_files(spec), problems=problems, date=date_of(run))
    runs.write_json(run / "manifest.json", manifest)
    forget_problems(run, problems)


def end_run(spec: Spec, run: Path) -> None:
    """Complete the manifest, and the corrections if none of their cells is pending."""
    every = [(cell, state_of(cell, run)) for cell in cells(spec)]
    done = [(cell, status) for cell, status in every if status["state"] == "done"]
    models = {cell.model: status.get("model") for cell, status in done}
    devices: dict[str, list[str]] = {}
    for cell, status in done:
        for device in status.get("devices", ()):
            devices.setdefault(device, []).append(cell.name)
    runs.write_json(run / "manifest.json", ended(read_manifest(run), models, devices))
    end_corrections(run, [cell.name for cell, status in every if status["state"] == "pending"])


def _kept(before: Spec, corrections: Corrections) -> dict[str, object]:
    """The run's spec as plain data, without dropped arms where these are named."""
    plain = before.plain()
    dropped = set(corrections.drop)
    plain["arms"] = {arm: options for arm, options in plain["arms"].items() if arm not in dropped}
    if isinstance(plain["samples"], dict) and plain["samples"]["arms"]:
        sampled = [arm for arm in plain["samples"]["arms"] if arm not in dropped]
        plain["samples"] = {**plain["samples"], "arms": sampled} if sampled else 0
    return plain


def _problems_wanted(spec: Spec, limit: int | None) -> int:
    return spec.test if limit is None else min(limit, spec.test)


def _check_files(spec: Spec, run: Path, bound: Sequence[Cell]) -> list[Changed]:
    """The files of tasks and arms that have changed since the run began.

    Raises:
        ElicitError: finished cells were made with one of them: their rows must not be mixed with those of another.
    """
    changed = changed_files(spec, read_manifest(run).get("files", {}))
    for source in changed:
        if any(cell.model == source.model and source.arm in (None, cell.arm) for cell in bound):
            raise ElicitError(
                f"the file of task {source.label!r} has changed since the run in {run} began. "
                "Name another folder with --out, or bring the old file back."
            )
    return changed
