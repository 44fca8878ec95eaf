"""One case in a forked process with limits of time and memory: a hang or a flood is an outcome and no accident."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from elicit.errors import ElicitError

SECONDS = 30
BYTES = 4 << 30


class Outcome(NamedTuple):
    """What became of a case."""

    kind: str
    """fine, refused, raised (an error that is not for the user), killed (too long, too much memory, a crash)."""
    text: str
    """The line that refused it, or the traceback."""
    seconds: float
    bytes: int
    """Largest resident memory of the process that ran it."""


def run_limited(case: Callable[[], None], *, seconds: float = SECONDS, extra_bytes: int = BYTES) -> Outcome:
    """Run `case` in a fork of this process. `extra_bytes`: address space it may take beyond what there is already."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            kind = "raised"
            try:
                os.dup2(file.fileno(), 2)
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + extra_bytes,) * 2)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, in C code, too
                signal.setitimer(signal.ITIMER_REAL, seconds)
                case()
                kind = "fine"
            except ElicitError as error:
                kind = "refused"
                file.write(str(error))
            except BaseException:
                traceback.print_exc(file=file)
            finally:
                file.flush()
                os._exit(["fine", "refused", "raised"].index(kind))
        _, status, usage = os.wait4(child, 0)
        took = time.monotonic() - started
        file.seek(0)
        code = os.waitstatus_to_exitcode(status)
        kind = ["fine", "refused", "raised"][code] if code in (0, 1, 2) else "killed"
        text = file.read() if code >= 0 else f"ended by {signal.Signals(-code).name}"
        return Outcome(kind, text, took, usage.ru_maxrss * 1024)
