"""The command line in forked copies of this process: they can be stopped and killed, and torch is there already."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from elicit.cli.main import run_command

_under_way: list[int] = []


class Ended(NamedTuple):
    code: int
    """Exit code; minus the signal that killed it."""
    err: str
    """All that it printed."""


class Process:
    """One `elicit` command under way."""

    def __init__(self, log: Path, *arguments: object, arm: Callable[[], None] = lambda: None) -> None:
        """Begin it.

        Args:
            log: file for its stderr.
            arm: called in the new process first.
        """
        self._log = log
        log.touch()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                with log.open("w", encoding="utf-8") as err:
                    for number in (1, 2):  # also of what it does not know of: a pipe would be held open
                        os.dup2(err.fileno(), number)
                    sys.stdout = sys.stderr = err
                    try:
                        arm()
                        code = run_command([str(argument) for argument in arguments])
                    except BaseException:
                        traceback.print_exc(file=err)
            finally:
                os._exit(code)
        _under_way.append(self.pid)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait_until_stopped(self) -> None:
        """Wait until it has stopped itself. Fails if it ended instead."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), self._log.read_text(encoding="utf-8")

    def wait(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        _under_way.remove(self.pid)
        return Ended(os.waitstatus_to_exitcode(status), self._log.read_text(encoding="utf-8"))


def kill_all() -> None:
    """End what a test that failed has left."""
    while _under_way:
        pid = _under_way.pop()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def wait_for(what: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until something is the case, and fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
