"""Worker processes of a run: a pool of spawned processes, or this process where there is one worker.

Workers stop when their parent dies, so that a killed run leaves no process writing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Event as Began
from typing import Any

from elicit.comparison.running.cell_policy import forget_models
from elicit.comparison.running.parent_watch import exit_with_parent
from elicit.comparison.spec import Spec
from elicit.errors import ElicitError
from elicit.loading import threads


def default_workers(spec: Spec) -> int:
    """Default number of workers: two, which hide each other's imports and waiting; one on a GPU or outside engine, and
    where a training has processes of its own.
    """
    if spec.engine != "transformers" or spec.processes > 1:
        return 1
    return 1 if spec.device.startswith(("cuda", "balanced")) or (os.cpu_count() or 1) < 2 else 2


class WorkerDiedError(ElicitError):
    """A worker process died, whatever the reason."""

    def __init__(self, cell_name: str) -> None:
        super().__init__(
            f"a worker process died while {cell_name} was under way: killed, or out of memory. The same command goes "
            "on where it stopped; --workers 1 needs less memory."
        )


Submit = Callable[..., "Future[dict[str, Any]]"]


def check_main_guard() -> None:
    """Stop a worker that runs its parent's script again because the script has no main guard.

    Raises:
        SystemExit: in such a worker.
    """
    # Set by multiprocessing while a spawned process imports the main module, and absent otherwise.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(f"elicit: {_GUARD}")


_GUARD = (
    'worker processes read the script that starts them once more. Put the call under: if __name__ == "__main__": '
    "(or type workers=1)"
)


@contextmanager
def open_workers(count: int) -> Iterator[Submit]:
    """Yield a submit function: in this process for one worker, else to a pool of spawned processes."""
    if count <= 1:
        yield _run_inline
        return
    forget_models()  # the workers have their own
    context = multiprocessing.get_context("spawn")
    began = context.Event()
    pool = ProcessPoolExecutor(
        count, mp_context=context, initializer=_initialize_worker, initargs=(os.getpid(), count, began)
    )

    def submit_without_sigint(function: Callable[..., Any], *args: Any) -> Future[dict[str, Any]]:
        # Block SIGINT while spawning, so that only the parent handles Ctrl-C: workers inherit the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return pool.submit(function, *args)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield submit_without_sigint
    except WorkerDiedError:
        if not began.is_set():
            raise ElicitError(f"no worker process could begin: {_GUARD}") from None
        raise
    finally:
        # On an interrupt, do not wait for cells in progress: they resume.
        for process in list((pool._processes or {}).values()) if sys.exc_info()[0] is not None else []:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _run_inline(function: Callable[..., Any], *args: Any) -> Future[dict[str, Any]]:
    future: Future[dict[str, Any]] = Future()
    try:
        future.set_result(function(*args))
    except Exception as error:
        future.set_exception(error)
    return future


def _initialize_worker(parent: int, workers: int, began: Began) -> None:
    """Set up a worker process."""
    began.set()
    threads.set_core_share(workers)
    exit_with_parent(parent)
