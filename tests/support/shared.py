"""What several test files read and none changes: made once for a whole test run, whatever the number of workers."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from elicit import runs

_NAME = "ELICIT_TESTS_SHARED"


def prepare() -> None:
    """Name the folder, in the process that starts the workers: they inherit its environment, and it cleans up."""
    if _NAME not in os.environ:
        os.environ[_NAME] = folder = tempfile.mkdtemp(prefix="elicit-tests-")
        owner = os.getpid()  # a forked child that ends in the usual way leaves the folder alone
        atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)


def once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name`, filled by `make` in the first process that asks for it; the others wait."""
    folder = Path(os.environ[_NAME]) / name
    with runs.hold_lock(folder.with_suffix(".lock"), name, patience=600):
        made = folder.with_suffix(".made")
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make(folder)
            made.touch()
    return folder
