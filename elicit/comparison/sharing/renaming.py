"""Rename a folder on a file system that several machines share, and know whether it worked."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

#: The source is gone. ESTALE: NFS, when another machine has moved what this one still knew.
_GONE = (errno.ENOENT, errno.ESTALE)
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY)


def try_rename(source: Path, target: Path, *, proof: Path) -> bool:
    """Rename a folder. False: its source is gone, or its target is a folder with something in it.

    NFS sends a request again if the reply was lost; the second one fails, because the first has moved the source.

    Args:
        proof: a folder that exists after this renaming, and that no other process makes.
    """
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in _OCCUPIED:
            return False
        if error.errno not in _GONE:
            raise
        return exists_on_server(proof)
    return True


def exists_on_server(folder: Path) -> bool:
    """True if the folder exists. An NFS client may answer from its memory, but not when it is told to make one."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        return True
    except FileNotFoundError:
        return False
    try:
        os.rmdir(folder)
    except OSError as error:
        return error.errno in _OCCUPIED
    return False


def remove_empty_folders(folder: Path) -> None:
    """Remove a folder and those below it, as far as they are empty. What holds a file stays."""
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(parent)
