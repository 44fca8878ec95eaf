"""Open a run's folder before its first cell: a new one, or a run that the spec amends or corrects. No torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from elicit import runs
from elicit.comparison.cell_state import is_done, read_cell_status
from elicit.comparison.problems import forget_problems, has_problem_pools, read_run_version, write_problems
from elicit.comparison.reader import read_run_spec
from elicit.comparison.running.amendment import check_amendment, list_outdated_cells
from elicit.comparison.running.corrections import (
    NO_CORRECTIONS,
    Corrections,
    begin_corrections,
    check_corrections,
    end_corrections,
    list_corrected_cells,
    mark_cells_emptied,
    remove_cell,
)
from elicit.comparison.spec import Spec, build_task
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.spec.task_files import ChangedFile, find_changed_files, hash_task_files
from elicit.comparison.storage.manifest import build_manifest, complete_manifest, read_run_date
from elicit.comparison.storage.typed_files import read_manifest
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION
from elicit.methods.catalog import is_built_in
from elicit.methods.outside import record_method
from elicit.tasks.sequential import draw_sequentially


class Target(NamedTuple):
    """A checked run folder."""

    empty: list[Cell]
    """Cells of the existing run to empty: corrected ones, and unfinished ones whose spec has changed."""
    corrected: list[Cell]
    """Those of them that `--replace` and `--drop` name, or that an interrupted correction left to do."""


def check_target(
    spec: Spec,
    run: Path,
    *,
    limit: int | None,
    corrections: Corrections = NO_CORRECTIONS,
    user_spec: Spec | None = None,
) -> Target:
    """Check that `run` is new, or holds a run that the spec may amend. Changes nothing.

    Args:
        spec: the spec without the dropped arms.
        user_spec: the spec as the user wrote it; None means `spec`.

    Raises:
        ElicitError: the directory holds another spec's run or something else, or cannot be written.
    """
    with runs.writing_to(run):
        if run.exists() and not run.is_dir():
            raise ElicitError(f"{run} is a file. Name another folder with --out.")
        there = (run / "spec.yaml").exists()
        if not there and run.is_dir() and not all(map(runs.is_lock_or_scratch, run.iterdir())):
            raise ElicitError(f"{run} is not a run directory and not empty. Name another folder with --out.")
    if not there:
        check_corrections(user_spec or spec, run, corrections, None)
        return Target([], [])
    before, old_limit = read_run_spec(run)
    check_corrections(user_spec or spec, run, corrections, before)
    corrected = list_corrected_cells(spec, before, run, corrections)
    gone = {cell.name for cell in corrected}
    finished = {cell.name: cell for cell in list_cells(before) if read_cell_status(cell, run)["state"] == "done"}
    bound = [cell for name, cell in finished.items() if name not in gone]
    check_amendment(
        _remaining_spec(before, corrections), spec.to_dict(), run, {(cell.model, cell.arm) for cell in bound}
    )
    old_count, new_count = _count_requested_problems(before, old_limit), _count_requested_problems(spec, limit)
    if new_count < old_count and bound:
        raise ElicitError(
            f"{run} holds a run with {old_count} test problems; --limit {limit} would shrink it. "
            "Name another folder with --out, or leave --limit out."
        )
    files = _check_task_files(spec, run, bound)
    stale = [
        cell
        for cell in list_outdated_cells(before, spec, fewer=new_count < old_count, files=files)
        if cell.name not in finished
    ]
    emptied = [*corrected, *(cell for cell in stale if cell.name not in gone)]
    _check_problem_draws(spec, run, limit, {cell.name for cell in emptied})
    return Target(emptied, corrected)


def prepare_run_folder(
    spec: Spec,
    run: Path,
    *,
    limit: int | None,
    command: Sequence[str],
    corrections: Corrections = NO_CORRECTIONS,
    user_spec: Spec | None = None,
) -> None:
    """Create the run directory, or bring the existing one to this spec.

    Raises:
        ElicitError: as for `check_target`.
    """
    target = check_target(spec, run, limit=limit, corrections=corrections, user_spec=user_spec)
    runs.remove_scratch(run)
    begin_corrections(spec, run, corrections, target.corrected)
    for cell in target.empty:
        remove_cell(cell, run)
    plain = spec.to_dict()
    problems = write_problems(spec, limit, run)
    text = yaml.safe_dump(
        {FORMAT_VERSION: CURRENT_VERSIONS["spec"], **plain, "limit": limit}, sort_keys=False, allow_unicode=True
    )
    runs.write_text(run / "spec.yaml", text)
    mark_cells_emptied(run)
    manifest = build_manifest(
        plain,
        limit,
        command,
        version=read_run_version(run),
        files=hash_task_files(spec),
        problems=problems,
        methods=describe_outside_methods(spec),
        date=read_run_date(run),
    )
    runs.write_json(run / "manifest.json", manifest)
    forget_problems(run, problems)


def describe_outside_methods(spec: Spec) -> dict[str, dict[str, Any]]:
    """Arm -> its method from outside, for the manifest: enough to report a run where the code is not installed."""
    names = {arm: str(options["method"]) for arm, options in spec.arms.items()}
    methods = spec.build_methods()
    return {arm: record_method(name, methods[arm]).to_record() for arm, name in names.items() if not is_built_in(name)}


def end_run(spec: Spec, run: Path) -> None:
    """Complete the manifest, and end the corrections if none of their cells is pending."""
    every = [(cell, read_cell_status(cell, run)) for cell in list_cells(spec)]
    done = [(cell, status) for cell, status in every if status["state"] == "done"]
    models = {cell.model: status.get("model") for cell, status in done}
    devices: dict[str, list[str]] = {}
    for cell, status in done:
        for device in status.get("devices", ()):
            devices.setdefault(device, []).append(cell.name)
    processes: dict[str, list[str]] = {}
    for cell, status in done:
        if (shared := status.get("processes")) is not None:
            processes.setdefault(f"{shared['count']} ({shared['backend']})", []).append(cell.name)
    runs.write_json(run / "manifest.json", complete_manifest(read_manifest(run), models, devices, processes))
    end_corrections(run, [cell.name for cell, status in every if status["state"] == "pending"])


def _remaining_spec(before: Spec, corrections: Corrections) -> dict[str, object]:
    """The run's spec as plain data, without the dropped arms."""
    plain = before.to_dict()
    dropped = set(corrections.drop)
    plain["arms"] = {arm: options for arm, options in plain["arms"].items() if arm not in dropped}
    if isinstance(plain["samples"], dict) and plain["samples"]["arms"]:
        sampled = [arm for arm in plain["samples"]["arms"] if arm not in dropped]
        plain["samples"] = {**plain["samples"], "arms": sampled} if sampled else 0
    return plain


def _count_requested_problems(spec: Spec, limit: int | None) -> int:
    return spec.test if limit is None else min(limit, spec.test)


def _check_problem_draws(spec: Spec, run: Path, limit: int | None, emptied: Collection[str]) -> None:
    """Check that what is left to run in a run of an earlier version meets the same problems as what is finished.

    Args:
        emptied: names of cells that will be made again.

    Raises:
        ElicitError: its problems were drawn in another way than now.
    """
    if has_problem_pools(run):
        return
    for cell in list_cells(spec):
        if cell.name not in emptied and is_done(cell, spec, run, limit):
            continue
        model_spec = spec.for_model(cell.model)
        for label, description in {model_spec.task_label: model_spec.task, **model_spec.off_target}.items():
            task = build_task(description, where=f"task {label!r}")
            if draw_sequentially(task) != task:
                raise ElicitError(
                    f"{run} was begun by an earlier version of elicit, which drew other problems of task {label!r}: it "
                    "can be read, and not be continued. Name another folder with --out."
                )


def _check_task_files(spec: Spec, run: Path, bound: Sequence[Cell]) -> list[ChangedFile]:
    """Find files of tasks and arms that have changed since the run began.

    Raises:
        ElicitError: finished cells were made with one of them; rows of old and new files must not be mixed.
    """
    changed = find_changed_files(spec, read_manifest(run).get("files", {}))
    for source in changed:
        if any(cell.model == source.model and source.arm in (None, cell.arm) for cell in bound):
            thing = f"task {source.label!r}" if source.arm is None else source.label
            remedy = f", or make its cells again: --replace {source.arm}" if source.arm is not None else ""
            raise ElicitError(
                f"the file of {thing} has changed since the run in {run} began. "
                f"Name another folder with --out, or bring the old file back{remedy}."
            )
    return changed
