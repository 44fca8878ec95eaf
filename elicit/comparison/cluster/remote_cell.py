"""One cell on a worker of a cluster: in the run's folder if the worker sees it, else in a copy whose files return."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.cluster.cell_files import Files, read_files, write_files
from elicit.comparison.cluster.code_identity import read_code
from elicit.comparison.running.cell_runner import run_recorded_cell
from elicit.comparison.sharing.renaming import exists_on_server
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell
from elicit.errors import ElicitError


class CellTask(NamedTuple):
    """A cell to run."""

    cell: Cell
    spec: Spec
    run: Path
    """Absolute, as is the next."""
    claimed: Path
    """The cell's folder under the claim of this attempt: its name is used once, so that a worker that sees it sees the
    run's folder, and one that lost the claim finds nothing there."""
    limit: int | None
    directory: Path
    """Where the command was typed: relative names of models start there."""
    threads: int
    code: str | None
    """Hash of the code that sends it."""
    inputs: Files | None
    """What the cell reads of the run's folder; None: the worker looks into the folder itself."""


class CellAnswer(NamedTuple):
    """The end of a cell on a worker: a status or an error, or neither where the worker does not see the folder."""

    status: dict[str, Any] | None = None
    files: Files | None = None
    """All files of the cell, if it was run in a copy."""
    error: ElicitError | None = None
    """For the run, not for the cell alone."""


def run_cell_task(task: CellTask) -> CellAnswer:
    """Run a cell on this worker, once."""
    prepare_worker(task.directory, task.threads)
    if task.code != read_code():  # of a node that joined after the others were checked
        return CellAnswer(error=ElicitError(f"node {socket.gethostname()} has other code of elicit than this process."))
    try:
        if task.inputs is not None:
            return _run_in_copy(task, task.inputs)
        return _run_in_folder(task) if _sees_folder(task.claimed) else CellAnswer()
    except ElicitError as error:
        return CellAnswer(error=error)


def prepare_worker(directory: Path, threads: int) -> None:
    """Work as a process of the machine where the command was typed would, as far as this one has the same folders."""
    with contextlib.suppress(OSError):
        os.chdir(directory)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _sees_folder(folder: Path) -> bool:
    try:
        return exists_on_server(folder)
    except OSError:  # what it may not enter or write to is not the run's folder, for this purpose
        return False


def _run_in_folder(task: CellTask) -> CellAnswer:
    """Work through a link that leads nowhere once the claim is lost; see `elicit.comparison.sharing.claims`."""
    with tempfile.TemporaryDirectory(prefix="elicit-claims-") as links:
        link = Path(links) / task.claimed.parent.name
        link.symlink_to(task.claimed)
        return CellAnswer(run_recorded_cell(task.cell, task.spec, task.run, task.limit, link))


def _run_in_copy(task: CellTask, inputs: Files) -> CellAnswer:
    with tempfile.TemporaryDirectory(prefix="elicit-cell-") as folder:
        run = Path(folder)
        write_files(inputs, run)
        cell_folder = task.cell.folder_in(run)
        cell_folder.mkdir(parents=True, exist_ok=True)
        status = run_recorded_cell(task.cell, task.spec, run, task.limit, cell_folder)
        return CellAnswer(status, read_files(cell_folder))
