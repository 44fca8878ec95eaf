"""The folder of a cell while one of several processes works on it: under its lock, and reached by a link.

1. The folder is moved from its place into the lock's folder, by renaming; without one, an empty folder is made.
2. Files that rows are appended to are replaced by copies: what a process that lost the cell still writes through an
   open file goes to the old one.
3. Work is done through a symbolic link on this machine. When the lock is taken over, the link leads nowhere: a process
   that was only paused can then neither write nor make the folder anew, since `mkdir` does not follow such a link.
4. The folder is moved to its place, by renaming, done, failed or unfinished.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from elicit import runs
from elicit.comparison.sharing.renaming import exists_on_server, try_rename
from elicit.comparison.spec.cells import Cell

_FOLDER = "cell"


def lock_name(cell: Cell) -> str:
    """The name of a cell's lock. Names of models and arms have no @."""
    return cell.name.replace("/", "@")


def place_of(name: str, run: Path) -> Path:
    """The place of the cell with this lock."""
    return run / "cells" / name.replace("@", "/")


def open_claim(holder: Path, place: Path, link: Path) -> bool:
    """Move a cell's folder under the lock of this process, and make a link to it. False: the lock was lost meanwhile.

    Raises:
        TargetError: the folder cannot be written.
    """
    folder = holder / _FOLDER
    link.symlink_to(folder.absolute())
    try:
        with runs.writing_to(folder):
            if not folder.is_dir() and not try_rename(place, folder, proof=folder):
                folder.mkdir()
            _renew_files(link)
    except runs.TargetError:
        if exists_on_server(holder):
            raise
        return False
    return True


def empty_claim(link: Path) -> None:
    """Remove all that is in the folder of a claimed cell. One that was lost keeps it."""
    with contextlib.suppress(FileNotFoundError):
        for path in list(link.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def close_claim(holder: Path, place: Path) -> bool:
    """Move a cell's folder to its place. False: the cell was lost to another process, which has not finished it yet.

    Raises:
        TargetError: the place cannot be written, or has another folder in it.
    """
    with runs.writing_to(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if try_rename(holder / _FOLDER, place, proof=place):
            return True
    if exists_on_server(holder / _FOLDER):
        raise runs.TargetError(f"{place} was written to while {holder} had the cell. Remove one of the two folders.")
    return False


def _renew_files(folder: Path) -> None:
    """Replace files that are appended to by copies, in a folder and all below it; scratch of killed processes goes.

    The scratch file that is made first has an NFS client ask for the folder's present content.
    """
    runs.remove_scratch(folder)
    handle, scratch = tempfile.mkstemp(prefix=".claimed-", suffix=".tmp", dir=folder)
    os.close(handle)
    os.unlink(scratch)
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            _renew_files(path)
        elif path.suffix == ".jsonl":
            runs.write_bytes(path, path.read_bytes())
