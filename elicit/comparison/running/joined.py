"""Run a comparison together with other processes, on this and other machines, in one shared folder.

Any number of processes may join, at any time. Each claims one cell after another (`elicit.comparison.sharing`) and
works on it under its claim; a cell that needs others waits until they have ended, whoever runs them. A process that
finds nothing to claim waits, and ends when every cell has ended. A cell that fails is tried again only by processes
that begin later.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.cell_state import covers_goal, describe_outcome, read_cell_status
from elicit.comparison.running.cell_policy import OtherWeightsError
from elicit.comparison.running.cell_runner import run_cell
from elicit.comparison.running.corrections import CORRECTION_FILE
from elicit.comparison.running.engine import Event, check_before_running
from elicit.comparison.running.executor import LocalExecutor
from elicit.comparison.running.run_folder import check_target, end_run, prepare_run_folder
from elicit.comparison.running.workers import Submit, WorkerDiedError, open_workers
from elicit.comparison.sharing.alone import check_not_alone, is_held_alone
from elicit.comparison.sharing.claims import close_claim, empty_claim, lock_name, open_claim
from elicit.comparison.sharing.locks import Locks
from elicit.comparison.sharing.new_run import check_same_run, is_begun, publish_new_run
from elicit.comparison.sharing.presence import LEASE, Presence, Watch, list_processes, remove_presence
from elicit.comparison.sharing.renaming import exists_on_server, remove_empty_folders
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.errors import ElicitError


def join_cells(
    spec: Spec,
    run: Path,
    *,
    arms: Sequence[str] | None = None,
    limit: int | None = None,
    workers: int | None = None,
    download: bool = False,
    lease: float = LEASE,
    command: Sequence[str] = (),
    report: Callable[[Event], None] = lambda _: None,
    checked: Callable[[], None] = lambda: None,
) -> list[Cell]:
    """Take part in a run, or begin it. Returns all cells of the run that failed, whoever ran them.

    Args:
        lease: seconds without a sign of life after which another process's cells are taken over.
        arms, limit, workers, download, report, checked: as for `run_cells`.

    Raises:
        ElicitError: the input is invalid, the folder holds another run, or an ordinary run is at work there.
    """
    todo = list_cells(spec, arms)
    _check_folder(spec, run, limit)
    executor = LocalExecutor(workers, spec)
    check_before_running(spec, run, todo, executor, limit=limit, download=download, checked=checked)
    watch = Watch(run, lease)
    check_not_alone(run, Locks(run, ""), watch)
    if not is_begun(run):
        publish_new_run(run, lambda folder: prepare_run_folder(spec, folder, limit=limit, command=command))
        check_same_run(spec, run, limit)
    with Presence(run, alone=False) as presence, tempfile.TemporaryDirectory(prefix="elicit-claims-") as links:
        locks = Locks(run, presence.process)
        check_not_alone(run, locks, watch)
        work = _Work(spec, run, limit, todo, locks, watch, Path(links), report)
        count = min(executor.count, len(todo))
        with work.giving_back(), open_workers(count) as submit:
            work.run_all(submit, count)
        end_run(spec, run)
        for process in list_processes(run):
            if watch.look_at(process) == "dead":
                remove_presence(run, process)
    remove_empty_folders(run / "claims")
    return [cell for cell in list_cells(spec) if read_cell_status(cell, run)["state"] == "failed"]


def _check_folder(spec: Spec, run: Path, limit: int | None) -> None:
    """Check that `run` is new, or holds exactly this run and no unfinished corrections."""
    if not is_begun(run):
        with contextlib.suppress(ElicitError):
            check_target(spec, run, limit=limit)
            return
        if not is_begun(run):  # otherwise another process has begun it meanwhile
            check_target(spec, run, limit=limit)
    check_same_run(spec, run, limit)
    check_target(spec, run, limit=limit)
    if (run / CORRECTION_FILE).exists():
        raise ElicitError(f"{run} has arms that are to be made again. Finish that first, without --join.")


class _Claim(NamedTuple):
    cell: Cell
    holder: Path
    """The folder of its lock."""
    link: Path
    """The path by which the cell's folder is reached."""


class _Work:
    """The cells of one process at a joined run."""

    def __init__(
        self,
        spec: Spec,
        run: Path,
        limit: int | None,
        todo: Sequence[Cell],
        locks: Locks,
        watch: Watch,
        links: Path,
        report: Callable[[Event], None],
    ) -> None:
        self.spec, self.run, self.limit, self.todo = spec, run, limit, todo
        self.locks, self.watch, self.links, self.report = locks, watch, links, report
        self.claims: dict[str, _Claim] = {}
        """By the name of the cell."""
        self.ended: set[str] = set()
        """Names of cells that are done, or failed since this process began."""
        self.failed_before = {cell.name: self._read_status(cell) for cell in todo}

    def run_all(self, submit: Submit, count: int) -> None:
        """Claim and run cells, at most `count` at a time, until every one has ended."""
        running: dict[Future[dict[str, Any]], _Claim] = {}
        self._note_ended("kept")
        while len(self.ended) < len(self.todo):
            for cell in self._list_ready():
                if len(running) < count and (claim := self._claim(cell)) is not None:
                    self._report(cell, "started")
                    running[submit(run_cell, cell, self.spec, self.run, self.limit, claim.link)] = claim
            if running:
                completed, _ = wait(running, timeout=self.watch.patience, return_when=FIRST_COMPLETED)
                for future in completed:
                    self._finish(running.pop(future), future)
            else:
                time.sleep(self.watch.patience)
            self._note_ended("elsewhere")

    @contextlib.contextmanager
    def giving_back(self) -> Iterator[None]:
        """At the end, move what is unfinished to its place, for the others."""
        try:
            yield
        finally:
            for claim in self.claims.values():
                self._give_back(claim.cell, claim.holder)

    def _give_back(self, cell: Cell, holder: Path) -> bool:
        """Move a cell to its place. False: another process has taken it over."""
        moved = close_claim(holder, cell.folder_in(self.run))
        self.locks.release(holder)
        return moved

    def _list_ready(self) -> list[Cell]:
        """Cells that have not ended, are not run here, and need none that has not ended."""
        waiting = [cell for cell in self.todo if cell.name not in self.ended]
        open_arms = {(cell.model, cell.arm) for cell in waiting}
        return [
            cell
            for cell in waiting
            if cell.name not in self.claims and not any((cell.model, arm) in open_arms for arm in cell.needs)
        ]

    def _claim(self, cell: Cell) -> _Claim | None:
        """Claim a cell. None: another process has it, it has just ended, or nobody may begin a cell now."""
        holder = self.locks.take(lock_name(cell), self.watch)
        if holder is None:
            return None
        if self._has_ended(cell) or is_held_alone(self.run, self.locks, self.watch):
            self._give_back(cell, holder)
            return None
        claim = _Claim(cell, holder, self.links / holder.name)
        if not open_claim(holder, cell.folder_in(self.run), claim.link):
            return None
        self.claims[cell.name] = claim
        return claim

    def _finish(self, claim: _Claim, future: Future[dict[str, Any]]) -> None:
        """Give a cell back that is done or failed, unless another process has taken it over."""
        cell, error = claim.cell, future.exception()
        if isinstance(error, BrokenExecutor):
            raise WorkerDiedError(cell.name) from None
        if error is not None and exists_on_server(claim.holder):
            raise error
        if error is None:
            self._check_weights(claim, future.result())
        del self.claims[cell.name]
        if error is None and self._give_back(cell, claim.holder):
            status = future.result()
            self.ended.add(cell.name)
            self._report(cell, status["state"], describe_outcome(status))

    def _check_weights(self, claim: _Claim, status: Mapping[str, Any]) -> None:
        """Check that no other machine has other weights under this name, of which a cell ended while this one ran.

        Raises:
            OtherWeightsError: one has. The cell is emptied: it is made again by whoever has the weights of the run.
        """
        here = _read_weights(status)
        for cell in self.todo:
            there = _read_weights(self._read_status(cell)) if cell.model == claim.cell.model else None
            if here is not None and there is not None and here != there:
                empty_claim(claim.link)
                raise OtherWeightsError(
                    f"the weights of {cell.model} ({here[:12]}) are not those of {cell.name} ({there[:12]}), which "
                    "ended meanwhile. Bring the same model to all machines."
                )

    def _note_ended(self, state: str) -> None:
        for cell in self.todo:
            if cell.name not in self.ended and self._has_ended(cell):
                self.ended.add(cell.name)
                self._report(cell, state, self._read_status(cell).get("error") or "")

    def _has_ended(self, cell: Cell) -> bool:
        status = self._read_status(cell)
        failed = status["state"] == "failed" and status != self.failed_before[cell.name]
        return failed or covers_goal(status, cell, self.spec, self.limit)

    def _read_status(self, cell: Cell) -> dict[str, Any]:
        return read_cell_status(cell, self.run)

    def _report(self, cell: Cell, state: str, message: str = "") -> None:
        self.report(Event(cell, state, len(self.ended), len(self.todo), message))


def _read_weights(status: Mapping[str, Any]) -> str | None:
    """The hash of the weights that a cell was done with; None for one that is not done."""
    weights: str | None = (status.get("model") or {}).get("weights_sha256") if status["state"] == "done" else None
    return weights
