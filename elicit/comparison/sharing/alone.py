"""An ordinary run has its folder to itself: no joined process and no other machine works there meanwhile.

On one machine, the file lock says so at once. For the others there is the lock `alone`. Joined processes look for it
after each lock that they take, and this looks for them after it has taken its own: so one of two that begin at the same
time notices the other.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from elicit import runs
from elicit.comparison.sharing.claims import close_claim, place_of
from elicit.comparison.sharing.locks import Locks, process_of
from elicit.comparison.sharing.presence import (
    LEASE,
    Presence,
    Watch,
    describe_process,
    list_processes,
    read_kernel_id,
    read_process_facts,
    remove_presence,
)
from elicit.comparison.sharing.renaming import remove_empty_folders
from elicit.errors import ElicitError

#: Seconds of waiting for a sign of life before it is said: most come sooner.
_SILENCE = 3.0
#: The name of the lock.
ALONE = "alone"


@contextmanager
def work_alone(run: Path) -> Iterator[Locks]:
    """Have a run to oneself. What processes that are dead had claimed is moved to its place first.

    Yields:
        Locks in the name of this process, for an executor that works on cells under claims.

    Raises:
        ElicitError: another process works on the run.
    """
    with runs.hold_lock(run / ".lock", f"the run {run}"):
        _remove_ended_runs(run)
        with Presence(run, alone=True) as presence:
            locks, watch = Locks(run, presence.process), Watch(run, LEASE)
            holder = _take_run(run, locks, watch)
            try:
                _give_up_processes(run, set(list_processes(run)) - {presence.process}, watch)
                _give_up_locks(run, locks, watch)
                yield locks
            finally:
                locks.release(holder)
        remove_empty_folders(run / "claims")


def check_not_alone(run: Path, locks: Locks, watch: Watch) -> None:
    """Check that no ordinary run has the run to itself, before joining it. The lock of a dead one is removed.

    An ordinary run works on cells in their places, and would do so after a pause: one that has its file lock is alive.

    Raises:
        ElicitError: one does.
    """
    lone = {process for process in list_processes(run) if read_process_facts(run, process).get("alone")}
    if not lone and locks.find_holder(ALONE) is None:
        return
    with runs.hold_lock(run / ".lock", f"the run {run}"):
        _remove_ended_runs(run)
        holder = locks.find_holder(ALONE)
        if holder is not None and process_of(holder) not in lone:
            lone.add(process_of(holder))
        _give_up_processes(run, lone & set(list_processes(run)), watch)
        if holder is not None and (mine := locks.take_over(holder)) is not None:
            locks.release(mine)


def is_held_alone(run: Path, locks: Locks, watch: Watch) -> bool:
    """True while an ordinary run has the run to itself, or looks for joined processes before it refuses to begin."""
    holder = locks.find_holder(ALONE)
    if holder is None:
        return False
    if watch.look_at(process_of(holder)) == "dead":
        with contextlib.suppress(ElicitError):
            check_not_alone(run, locks, watch)
    return True


def _remove_ended_runs(run: Path) -> None:
    """Remove the signs of ordinary runs on this machine: they would have the file lock that this process has."""
    for process in list_processes(run):
        facts = read_process_facts(run, process)
        if facts.get("alone") and facts.get("kernel") == read_kernel_id():
            remove_presence(run, process)


def _take_run(run: Path, locks: Locks, watch: Watch) -> Path:
    """Take the lock `alone`."""
    while (mine := locks.take_free(ALONE)) is None:
        holder = locks.find_holder(ALONE)
        if holder is not None:
            _give_up_processes(run, {process_of(holder)} & set(list_processes(run)), watch)
            if (mine := locks.take_over(holder)) is not None:
                break
    return mine


def _give_up_processes(run: Path, processes: Collection[str], watch: Watch) -> None:
    """Wait until these processes are known to be dead, and remove their signs of life.

    Raises:
        ElicitError: one of them lives.
    """
    left, told, began = set(processes), False, time.monotonic()
    while left:
        for process in sorted(left):
            life = watch.look_at(process)
            if life == "living":
                raise ElicitError(
                    f"{run} is in use by {describe_process(run, process)}. Wait for it or stop it; to work on a run "
                    "together, give every process --join."
                )
            if life == "dead":
                left.remove(process)
                remove_presence(run, process)
        if left and not told and time.monotonic() - began > _SILENCE:
            names = ", ".join(describe_process(run, process) for process in sorted(left))
            print(f"elicit: waiting up to {watch.lease:.0f} s for a sign of life of {names}", file=sys.stderr)
            told = True
        time.sleep(watch.patience if left else 0)


def _give_up_locks(run: Path, locks: Locks, watch: Watch) -> None:
    """Take over every lock on a cell, and move the cell to its place."""
    for name, holder in locks.list_holders().items():
        if name == ALONE:
            continue
        _give_up_processes(run, {process_of(holder)} & set(list_processes(run)), watch)
        mine = locks.take_over(holder)
        if mine is None:
            raise ElicitError(f"{run} is in use by another process. Wait for it, or stop it.")
        close_claim(mine, place_of(name, run))
        locks.release(mine)
