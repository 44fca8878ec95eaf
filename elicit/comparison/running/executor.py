"""Executors of cells: the interface, and the one that runs them in worker processes of this machine.

The engine decides which cell may begin; an executor says whether it has room for one, and runs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from elicit.comparison.running.cell_runner import run_cell_in_place
from elicit.comparison.running.preflight import check_this_device
from elicit.comparison.running.prepare_models import prepare_models
from elicit.comparison.running.workers import Submit, check_main_guard, default_workers, open_workers
from elicit.comparison.sharing.locks import Locks
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell
from elicit.errors import ElicitError


class PreparedRun(NamedTuple):
    """A run whose folder is ready for its first cell, and which this process has to itself."""

    spec: Spec
    path: Path
    limit: int | None
    locks: Locks


class CellExecutor(Protocol):
    """Runs cells side by side."""

    def prepare(self, spec: Spec, cells: Sequence[Cell], *, limit: int | None, download: bool) -> None:
        """Check that these cells can be run, and fetch their models. Nothing has been written yet.

        Raises:
            ElicitError: one of them cannot be run.
        """

    def work_on(self, run: PreparedRun, cells: Sequence[Cell]) -> AbstractContextManager[None]:
        """Begin, and end when the block ends. After an exception cells under way are stopped: they resume."""

    def has_room(self, cell: Cell, running: Collection[Cell]) -> bool:
        """True if a cell can begin beside those that are running; always if none is."""

    def submit(self, cell: Cell) -> Future[dict[str, Any]]:
        """Run a cell. The future's result is the cell's status; a worker that died is a `BrokenExecutor`."""


class LocalExecutor:
    """Worker processes of this machine; this process where there is one worker."""

    def __init__(self, workers: int | None, spec: Spec) -> None:
        """Choose the number of processes.

        Args:
            workers: None for the default of the spec's device.

        Raises:
            ElicitError: fewer than one.
        """
        self.count = workers if workers is not None else default_workers(spec)
        if self.count > 1:
            check_main_guard()
        if self.count < 1:
            raise ElicitError(f"workers is {workers}; expected at least 1.")

    def prepare(self, spec: Spec, cells: Sequence[Cell], *, limit: int | None, download: bool) -> None:
        models = dict.fromkeys(cell.model for cell in cells)
        prepare_models(spec, models, workers=min(self.count, len(cells)), download=download)
        if cells:
            check_this_device(spec)

    @contextmanager
    def work_on(self, run: PreparedRun, cells: Sequence[Cell]) -> Iterator[None]:
        with open_workers(min(self.count, len(cells))) as submit:
            self._run, self._submit = run, submit
            yield

    def has_room(self, cell: Cell, running: Collection[Cell]) -> bool:
        return len(running) < self.count

    def submit(self, cell: Cell) -> Future[dict[str, Any]]:
        return self._submit(run_cell_in_place, cell, self._run.spec, self._run.path, self._run.limit)

    _run: PreparedRun
    _submit: Submit
