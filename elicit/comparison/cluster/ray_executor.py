"""Cells as tasks of a Ray cluster.

1. This process has the run to itself and claims each cell that it sends out (`elicit.comparison.sharing`).
2. A worker works in the folder of the claim. One that does not see it says so; then the cell's inputs are sent along,
   its files come back, and this process puts them in place.
3. When a worker or its node dies, the claim is given back and another is taken: what the first still writes leads
   nowhere, and the next worker goes on where it stopped.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.cluster.cell_files import read_inputs, write_files
from elicit.comparison.cluster.code_identity import read_code
from elicit.comparison.cluster.demand import (
    Demand,
    ResourceOptions,
    check_demands,
    choose_worker_device,
    estimate_demands,
)
from elicit.comparison.cluster.nodes import Node, NodeQuestion, check_nodes, list_nodes
from elicit.comparison.cluster.remote_cell import CellAnswer, CellTask, run_cell_task
from elicit.comparison.running.executor import PreparedRun
from elicit.comparison.running.prepare_models import fetch_models
from elicit.comparison.sharing.claims import close_claim, lock_name, open_claim
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell
from elicit.errors import ElicitError, one_line

#: Seconds before a cell is sent out again, each time that its worker dies.
_PAUSES = (1.0, 5.0, 25.0)
#: Most cells at a time, seconds between two looks at a task, and at the nodes.
_MOST, _LOOK, _NODES = 1000, 1.0, 5.0
#: Seconds without a node that could hold a cell after which it is given up: a new node takes minutes.
_LONELY = 600.0


class RayExecutor:
    """Runs cells on the cluster that this process is connected to."""

    def __init__(self, options: ResourceOptions, workers: int | None) -> None:
        """Choose the resources of a cell.

        Args:
            workers: cells at a time, also beyond what the cluster holds (one that grows by itself then does); None: as
                many as it holds.
        """
        self._options, self._workers = options, workers
        self._demands: dict[str, Demand] = {}
        self._sends_inputs = False
        self._ending = threading.Event()
        self._nodes: list[Node] = []
        self._looked = -_NODES

    def prepare(self, spec: Spec, cells: Sequence[Cell], *, limit: int | None, download: bool) -> None:
        models = tuple(dict.fromkeys(cell.model for cell in cells))
        fetch_models(spec, models, download=download)
        nodes = self._look_at_nodes()
        resources = [node.resources for node in nodes]
        self._demands = estimate_demands(spec, cells, self._options, resources, limit=limit)
        check_demands(self._demands, resources)
        check_nodes(nodes, set(self._demands.values()), NodeQuestion(spec, models, download, Path.cwd()))

    @contextmanager
    def work_on(self, run: PreparedRun, cells: Sequence[Cell]) -> Iterator[None]:
        import ray

        self._run, self._remote = run, ray.remote(run_cell_task)
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="elicit-cell")
        with tempfile.TemporaryDirectory(prefix="elicit-claims-") as links:
            self._links = Path(links)
            try:
                yield
            finally:
                # Claims are given back: what is under way can write nothing more, and ends with the connection. It is
                # not cancelled: Ray 2.60 ends the whole process if a task ends just then.
                self._ending.set()
                self._threads.shutdown(wait=True, cancel_futures=True)

    def has_room(self, cell: Cell, running: Collection[Cell]) -> bool:
        if not running or self._workers is not None:
            return len(running) < (self._workers or _MOST)
        nodes = self._look_at_nodes()
        demands = [self._demands[each.name].to_resources() for each in (*running, cell)]
        names = {name for demand in demands for name in demand}
        return len(running) < _MOST and all(
            sum(demand.get(name, 0.0) for demand in demands)
            <= sum(node.resources.get(name, 0.0) for node in nodes if self._demands[cell.name].fits(node.resources))
            for name in names
        )

    def submit(self, cell: Cell) -> Future[dict[str, Any]]:
        return self._threads.submit(self._run_cell, cell)

    def _look_at_nodes(self) -> list[Node]:
        if time.monotonic() - self._looked >= _NODES:
            self._nodes, self._looked = list_nodes(), time.monotonic()
        return self._nodes

    def _run_cell(self, cell: Cell) -> dict[str, Any]:
        """Send a cell out until a worker has ended it. Returns its status."""
        from ray.exceptions import RayError, RayTaskError

        for pause in (*_PAUSES, None):
            try:
                return self._send_out(cell)
            except RayTaskError:
                raise
            except RayError as error:
                if self._ending.is_set():
                    raise CancelledError from None
                cause = type(error).__name__
                if pause is not None:
                    print(f"elicit: {cell.name}: its worker died ({cause}); it is sent out again", file=sys.stderr)
                    self._ending.wait(pause)
        raise ElicitError(
            f"{cell.name} was sent out {len(_PAUSES) + 1} times, and each time its worker or its node died ({cause}). "
            "The same command goes on where it stopped; --memory-per-cell leaves a cell more of its node."
        )

    def _send_out(self, cell: Cell) -> dict[str, Any]:
        """Claim a cell and have a worker run it."""
        with self._claim(cell) as link:
            answer = CellAnswer()
            if not self._sends_inputs:
                answer = self._await(cell, self._start(cell, link, sends_inputs=False))
            if answer == CellAnswer():
                self._sends_inputs = True
                answer = self._await(cell, self._start(cell, link, sends_inputs=True))
            if answer.error is not None:
                raise answer.error
            if answer.files is not None:
                with runs.fresh_folder(Path(os.readlink(link))) as folder:
                    write_files(answer.files, folder)
            assert answer.status is not None
            return answer.status

    @contextmanager
    def _claim(self, cell: Cell) -> Iterator[Path]:
        """The folder of a cell under a claim of this process; in the end it is moved to its place."""
        locks, place = self._run.locks, cell.folder_in(self._run.path)
        holder = locks.take_free(lock_name(cell))
        lost = ElicitError(
            f"the claims of this process in {self._run.path} are gone: taken over by another, or removed. The same "
            "command goes on with what is there."
        )
        if holder is None:
            raise lost
        link = self._links / holder.name
        if not open_claim(holder, place, link):
            raise lost
        try:
            yield link
        finally:
            moved = close_claim(holder, place)
            locks.release(holder)
            link.unlink()
            if not moved:
                raise lost

    def _start(self, cell: Cell, link: Path, *, sends_inputs: bool) -> Any:
        run, demand = self._run, self._demands[cell.name]
        claimed = Path(os.readlink(link))
        spec = run.spec.model_copy(update={"device": choose_worker_device(run.spec.device, demand.gpus)})
        inputs = read_inputs(cell, run.spec, run.path, claimed) if sends_inputs else None
        threads = max(1, int(demand.cpus))
        place = run.path.absolute()
        task = CellTask(cell, spec, place, claimed, run.limit, Path.cwd(), threads, read_code(), inputs)
        options = {"num_cpus": demand.cpus, "num_gpus": demand.gpus, "memory": int(demand.gib * 2**30)}
        return self._remote.options(**options, max_retries=0, name=cell.name).remote(task)

    def _await(self, cell: Cell, task: Any) -> CellAnswer:
        """Wait for a task to end.

        Raises:
            CancelledError: the run ends first.
            ElicitError: no node could hold the cell for a long time, or the connection is lost.
        """
        future, lonely = task.future(), time.monotonic()
        try:
            while True:
                try:
                    answer: CellAnswer = future.result(timeout=_LOOK)
                    return answer
                except NotYet:
                    if self._ending.is_set():
                        raise CancelledError from None
                if any(self._demands[cell.name].fits(node.resources) for node in self._look_at_nodes()):
                    lonely = time.monotonic()
                elif time.monotonic() - lonely > _LONELY:
                    check_demands({cell.name: self._demands[cell.name]}, [node.resources for node in self._nodes])
        except ConnectionError as error:
            raise ElicitError(
                f"the connection to the cluster is lost ({one_line(error, 200)}). The same command goes on later."
            ) from error
