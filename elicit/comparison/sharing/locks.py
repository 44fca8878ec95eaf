"""Locks that are folders: renaming decides who holds one.

1. To take a free lock, HOLDER is made inside a hidden folder, which is renamed to NAME. That fails if NAME holds one.
2. To take a dead process's lock, NAME/ITS is renamed to NAME/MINE. What it did under NAME/ITS then leads nowhere.
3. To release a lock, NAME/HOLDER and NAME are removed.

A holder's name is used once, PROCESS-NUMBER: a process that was thought dead cannot mistake another's lock for its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from elicit.comparison.sharing.presence import Watch
from elicit.comparison.sharing.renaming import remove_empty_folders, try_rename


class Locks:
    """The locks of a run, taken in the name of one process."""

    def __init__(self, run: Path, process: str) -> None:
        self.process = process
        self._folder = run / "claims" / "held"
        self._numbers = itertools.count()

    def list_holders(self) -> dict[str, Path]:
        """Name -> holder's folder, of every lock that is held."""
        try:
            names = [name for name in os.listdir(self._folder) if not name.startswith(".")]
        except OSError:
            return {}
        return {name: holder for name in sorted(names) if (holder := self.find_holder(name)) is not None}

    def find_holder(self, name: str) -> Path | None:
        """The folder of a lock's holder, None for a free lock."""
        try:
            return next((self._folder / name / holder for holder in os.listdir(self._folder / name)), None)
        except OSError:
            return None

    def take(self, name: str, watch: Watch) -> Path | None:
        """Take a lock that is free or a dead process's. Returns the holder's folder; None if another process has it."""
        holder = self.find_holder(name)
        if holder is None:
            return self.take_free(name)
        return self.take_over(holder) if watch.look_at(process_of(holder)) == "dead" else None

    def take_free(self, name: str) -> Path | None:
        """Take a free lock. Returns None if it has a holder by now."""
        holder = self._make_name()
        prepared, mine = self._folder / f".{holder}", self._folder / name / holder
        with contextlib.suppress(FileNotFoundError):  # the last process to leave removes empty folders
            (prepared / holder).mkdir(parents=True, exist_ok=True)
            if try_rename(prepared, self._folder / name, proof=mine):
                return mine
        remove_empty_folders(prepared)
        return None

    def take_over(self, holder: Path) -> Path | None:
        """Take the lock of a dead process, with what is in its folder. Returns None if another was faster."""
        mine = holder.parent / self._make_name()
        return mine if try_rename(holder, mine, proof=mine) else None

    def release(self, holder: Path) -> None:
        """Release a lock whose folder is empty. One that was lost to another process stays that one's."""
        for folder in (holder, holder.parent):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _make_name(self) -> str:
        return f"{self.process}-{next(self._numbers)}"


def process_of(holder: Path) -> str:
    """The process that a holder's folder belongs to."""
    return holder.name.rpartition("-")[0]
