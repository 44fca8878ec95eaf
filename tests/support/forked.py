"""Code in a forked copy of this process: as cut off from it as a new one, and torch is there already."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import NamedTuple


class Done(NamedTuple):
    code: int
    out: str
    """What it printed; for code that raised, with the traceback."""


def forked(code: str, *arguments: str) -> Done:
    """Run `code` as a program with these arguments."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                sys.stdout, sys.argv = file, ["-c", *arguments]  # type: ignore[assignment]
                exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
                status = 0
            except BaseException:
                traceback.print_exc(file=file)
            finally:
                file.flush()
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        file.seek(0)
        return Done(os.waitstatus_to_exitcode(waited), file.read())
