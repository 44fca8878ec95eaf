"""Run a comparison's cells, side by side and resumable at any moment.

The run directory is the only state. Cells with status "done" are skipped; the others are submitted to an executor as
soon as the arms they need are done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.cell_state import describe_outcome, is_done
from elicit.comparison.running.corrections import NO_CORRECTIONS, Corrections, remove_arms
from elicit.comparison.running.executor import CellExecutor, LocalExecutor, PreparedRun
from elicit.comparison.running.preflight import check_cells
from elicit.comparison.running.run_folder import check_target, end_run, prepare_run_folder
from elicit.comparison.running.template_check import check_chat_templates
from elicit.comparison.running.workers import WorkerDiedError
from elicit.comparison.sharing.alone import work_alone
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.loading import catalog

#: Seconds after which it is asked again if there is room: a cluster grows.
_LOOK = 10.0


class Event(NamedTuple):
    """Report of a cell's start or end."""

    cell: Cell
    state: str
    """"started", "done", "failed", "kept" (finished in an earlier run) or "elsewhere" (ended in another process)."""
    finished: int
    total: int
    message: str


def run_cells(
    spec: Spec,
    run: Path,
    *,
    arms: Sequence[str] | None = None,
    limit: int | None = None,
    workers: int | None = None,
    executor: CellExecutor | None = None,
    download: bool = False,
    corrections: Corrections = NO_CORRECTIONS,
    command: Sequence[str] = (),
    report: Callable[[Event], None] = lambda _: None,
    checked: Callable[[], None] = lambda: None,
) -> list[Cell]:
    """Run a comparison. Returns the cells that failed.

    Args:
        arms: only these arms and what they need.
        limit: at most this many test problems of each task.
        workers: processes of this machine; None means 2 (1 on one core or on a GPU); 1 runs in this process.
        executor: runs the cells, instead of these processes.
        download: allow downloads of hub ids that are not on this machine, before the first cell.
        corrections: arms of the run in `run` to rerun or to remove.
        report: called when a cell starts or ends.
        checked: called after all checks, before anything is written.

    Raises:
        ElicitError: the input is invalid, or the target cannot be written.
    """
    user_spec, spec = spec, remove_arms(spec, corrections.drop, where="spec")
    executor = LocalExecutor(workers, spec) if executor is None else executor
    todo = list_cells(spec, arms)
    target = check_target(spec, run, limit=limit, corrections=corrections, user_spec=user_spec)
    again = {cell.name for cell in target.empty}
    check_before_running(spec, run, todo, executor, again=again, limit=limit, download=download, checked=checked)
    with work_alone(run) as locks:
        prepare_run_folder(spec, run, limit=limit, command=command, corrections=corrections, user_spec=user_spec)
        finished_cells = [cell for cell in todo if is_done(cell, spec, run, limit)]
        finished = {cell.name for cell in finished_cells}
        for i, cell in enumerate(finished_cells):
            report(Event(cell, "kept", i + 1, len(todo), ""))
        pending = [cell for cell in todo if cell.name not in finished]
        failed: list[Cell] = []
        with executor.work_on(PreparedRun(spec, run, limit, locks), pending):
            _run_pending_cells(pending, finished, executor, failed, report, len(todo))
        end_run(spec, run)
    return failed


def check_before_running(
    spec: Spec,
    run: Path,
    todo: Sequence[Cell],
    executor: CellExecutor,
    *,
    again: Collection[str] = (),
    limit: int | None,
    download: bool,
    checked: Callable[[], None],
) -> None:
    """Make all checks of cells before the first, and fetch what they need.

    Args:
        again: names of cells that will be run even if they are finished.
        checked: called at the end.

    Raises:
        ElicitError: the input is invalid.
    """
    for model in spec.models.values():
        catalog.resolve_model(model)
    pending = [cell for cell in todo if cell.name in again or not is_done(cell, spec, run, limit)]
    executor.prepare(spec, pending, limit=limit, download=download)
    check_chat_templates(spec)
    check_cells(spec, run, todo, limit=limit, again=again)
    checked()


def _run_pending_cells(
    pending: list[Cell],
    finished: set[str],
    executor: CellExecutor,
    failed: list[Cell],
    report: Callable[[Event], None],
    total: int,
) -> None:
    """Submit cells as soon as the arms they need are done and the executor has room."""
    running: dict[Future[dict[str, Any]], Cell] = {}
    waiting = list(pending)
    while waiting or running:
        open_arms = {(cell.model, cell.arm) for cell in [*waiting, *running.values()]}
        ready = [cell for cell in waiting if not any((cell.model, arm) in open_arms for arm in cell.needs)]
        for cell in ready:
            if executor.has_room(cell, running.values()):
                waiting.remove(cell)
                report(Event(cell, "started", len(finished), total, ""))
                running[executor.submit(cell)] = cell
        completed, _ = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
        for future in completed:
            cell = running.pop(future)
            try:
                status = future.result()
            except BrokenExecutor:
                raise WorkerDiedError(cell.name) from None
            finished.add(cell.name)
            if status["state"] != "done":
                failed.append(cell)
            report(Event(cell, status["state"], len(finished), total, describe_outcome(status)))
