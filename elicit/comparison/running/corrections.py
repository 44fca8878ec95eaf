"""Rerun some arms of a run (`--replace`) or remove them (`--drop`); all other cells stay untouched. No torch.

1. The mark, `replacing.json`, names the cells to be emptied, and the fingerprints of those that are rerun.
2. Their folders are removed, each by one renaming. Then the new `spec.yaml` replaces the old, and the mark records it.
3. They run like any other cells. When all are done or failed, the mark is removed.

After a kill at any moment the same command continues: cells that were rerun since are not run a second time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from elicit import documents, runs
from elicit.comparison.spec import Spec, check_spec
from elicit.comparison.spec.budgets import remove_points
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.errors import ElicitError, unknown_name_error
from elicit.method import Method

#: The file of the mark.
CORRECTION_FILE = "replacing.json"


@dataclass(frozen=True)
class Corrections:
    """Arms to rerun and arms to remove."""

    replace: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def check_corrections(user_spec: Spec, run: Path, corrections: Corrections, before: Spec | None) -> None:
    """Check that these arms can be corrected.

    Args:
        user_spec: the spec as the user wrote it, with or without the dropped arms.
        before: the spec of the existing run; None without one.

    Raises:
        ElicitError: there is no run, or neither spec has the arm.
    """
    if before is None and (corrections.replace or corrections.drop):
        raise ElicitError(f"{run} holds no run: there is nothing to replace or to drop. See: elicit ls runs")
    for arm in corrections.replace:
        if arm in corrections.drop:
            raise ElicitError(f"arm {arm!r} is named by both --replace and --drop; choose one of them.")
        if arm not in user_spec.arms:
            raise unknown_name_error("arm", arm, user_spec.arms, where="--replace")
    for arm in corrections.drop:
        if before is not None and arm not in before.arms and arm not in user_spec.arms:
            raise unknown_name_error("arm", arm, before.arms, where="--drop")


def remove_arms(spec: Spec, arms: Collection[str], *, where: str) -> Spec:
    """Return the spec without some arms; unknown names are ignored.

    Raises:
        ElicitError: another arm needs one of them or is its control; or nothing would be left.
    """
    gone = [arm for arm in spec.arms if arm in arms]
    if not gone:
        return spec
    needing = {arm: names for arm, names in find_dependent_arms(spec.build_methods(), gone).items() if arm not in arms}
    if needing:
        first, names = next(iter(needing.items()))
        every = ",".join([*gone, *needing])
        raise ElicitError(f"--drop {','.join(gone)}: arm {first!r} needs {names}. Take both out: --drop {every}")
    plain = spec.to_dict()
    plain["arms"] = {arm: options for arm, options in plain["arms"].items() if arm not in gone}
    if isinstance(plain["samples"], dict) and plain["samples"]["arms"]:
        plain["samples"]["arms"] = [arm for arm in plain["samples"]["arms"] if arm not in gone]
        plain["samples"] = plain["samples"] if plain["samples"]["arms"] else 0
    plain["budgets"] = remove_points(spec.budgets, gone)
    for panel in plain["panels"].values():
        if panel["arms"] is not None:
            panel["arms"] = [arm for arm in panel["arms"] if arm not in gone]
    return check_spec(plain, where=where)


def find_dependent_arms(methods: Mapping[str, Method], arms: Iterable[str]) -> dict[str, str]:
    """Find arms that need any of these, directly or through others: name -> the arm it needs."""
    dependents: dict[str, str] = {}
    known = dict.fromkeys(arms)
    grown = True
    while grown:
        grown = False
        for name, method in methods.items():
            needed = next((arm for arm in method.needs if arm in known), None)
            if needed is not None and name not in known:
                dependents[name], known[name], grown = needed, None, True
    return dependents


def list_replaced_arms(spec: Spec, arms: Sequence[str]) -> tuple[str, ...]:
    """List the arms and all that need them, in the order of the spec: policies derived from them are rerun too."""
    every = {*arms, *find_dependent_arms(spec.build_methods(), arms)}
    return tuple(arm for arm in spec.arms if arm in every)


def list_corrected_cells(spec: Spec, before: Spec, run: Path, corrections: Corrections) -> list[Cell]:
    """List the cells to empty for the corrections, or those still to empty after an interruption.

    Cells that an interrupted command with the same purpose has rerun are left alone.
    """
    state = read_correction_state(run)
    new = {cell.name: cell.fingerprint for cell in list_cells(spec)}
    arms = {*list_replaced_arms(spec, corrections.replace), *corrections.drop}

    def must_empty(cell: Cell) -> bool:
        made_again = cell.name in state.cells and state.cells[cell.name] == new.get(cell.name)
        return cell.name in state.empty or (cell.arm in arms and not made_again)

    return [cell for cell in list_cells(before) if must_empty(cell)]


NO_CORRECTIONS = Corrections()


class CorrectionState(BaseModel):
    """Content of `replacing.json`: the corrections in progress."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    empty: list[str] = []
    """Cells to empty before anything else is done."""
    cells: dict[str, str] = {}
    """Cells to rerun: name -> the fingerprint they must have."""


def read_correction_state(run: Path) -> CorrectionState:
    """Read the corrections in progress; an empty mark without any."""
    path = run / CORRECTION_FILE
    return documents.read_record(path, CorrectionState) if path.exists() else CorrectionState()


def begin_corrections(spec: Spec, run: Path, corrections: Corrections, corrected: Sequence[Cell]) -> None:
    """Write the mark, before anything is emptied."""
    arms = list_replaced_arms(spec, corrections.replace)
    state = read_correction_state(run)
    again = {cell.name: cell.fingerprint for cell in list_cells(spec) if cell.arm in arms}
    new_state = CorrectionState(empty=[cell.name for cell in corrected], cells={**state.cells, **again})
    if new_state != CorrectionState():
        runs.write_json(run / CORRECTION_FILE, new_state.model_dump())


def mark_cells_emptied(run: Path) -> None:
    """Record in the mark that its cells are empty and that the run has the new spec."""
    state = read_correction_state(run)
    if state != CorrectionState():
        runs.write_json(run / CORRECTION_FILE, state.model_copy(update={"empty": []}).model_dump())


def end_corrections(run: Path, pending: Collection[str]) -> None:
    """Remove the mark when none of its cells is pending."""
    if (run / CORRECTION_FILE).exists() and not set(read_correction_state(run).cells) & set(pending):
        (run / CORRECTION_FILE).unlink()


def remove_cell(cell: Cell, run: Path) -> None:
    """Remove a cell's folder by one renaming, so that half of it can never be taken for a cell."""
    folder = cell.folder_in(run)
    if not folder.is_dir():
        return
    with runs.hold_lock(folder / ".lock", f"cell {cell.name}", patience=20), runs.writing_to(folder):
        trash = Path(tempfile.mkdtemp(prefix=".emptied-", suffix=".tmp", dir=run))
        os.replace(folder, trash / "cell")
    shutil.rmtree(trash, ignore_errors=True)
    parent = folder.parent
    with contextlib.suppress(OSError):  # the folder may hold other seeds or controls
        while parent != run / "cells":
            parent.rmdir()
            parent = parent.parent
