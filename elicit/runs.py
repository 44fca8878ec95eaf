"""Reading and writing one run directory. Torch-free; every file is either appended and flushed or renamed into place.

runs/NAME/  spec.yaml  manifest.json  summary.json  report.html
  cells/MODEL/ARM/SEED/  status.json  policy/  rows/TASK.jsonl  metrics.jsonl
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elicit import documents
from elicit.errors import ElicitError, one_line
from elicit.schema import Row

#: How the names of files end that are not in their place yet. They begin with a dot.
_SCRATCH = ".tmp"
#: Bytes of the largest file of rows that is read.
LARGEST = 8 << 30
#: A file size limit (EFBIG) is met and cured like a full disk.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: ENOENT is what some file systems say of a folder that cannot be made, and of one that was removed meanwhile.
_REFUSED = (
    *(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
    *(errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP),
)


class TargetError(ElicitError):
    """The run's folder cannot be written: a fault of the target and not of the arm at work."""


@contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Turn what the operating system says about a target into one clear message.

    Raises:
        TargetError: no space, or a place that cannot be written.
    """
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number in _FULL:
            raise TargetError(
                f"no space left while writing {target}. What was finished is kept: free some space and type the same "
                "command again."
            ) from error
        if number in _REFUSED:
            raise TargetError(
                f"cannot write {target}: {os.strerror(number)}. Name a folder that you may write to with --out."
            ) from error
        raise


def _error_number(error: Exception) -> int:
    """The system's number for a failed write, 0 if it is something else."""
    if isinstance(error, OSError):
        return error.errno or 0
    # safetensors wraps what the system says into an error of its own, and tells its number only in words.
    match = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(match[1]) if match else 0


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", suffix=_SCRATCH, dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(scratch, 0o644)
            os.replace(scratch, path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON whole or not at all. NaN is refused: what is not known is null."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_run_json(path: Path) -> Any:
    """The value in a JSON file of a run.

    Raises:
        ElicitError: missing, or no JSON within the bounds of `elicit.documents`.
    """
    if not path.exists():
        raise ElicitError(f"{path} is missing. Is {path.parent} a run directory? See: elicit ls runs")
    return documents.read_json(path)


def append_lines(path: Path, records: Iterable[Any]) -> None:
    """Append records as JSON lines, flushed to the disk before returning: all of them, or none if the disk is full."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                while text:
                    text = text[file.write(text) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise


def read_lines(path: Path) -> list[Any]:
    """Read JSON lines; a torn last line (a process was killed while writing it) is left out.

    Raises:
        ElicitError: a line that is not JSON, with its number.
    """
    return [documents.parse_json(line, at) for at, line in _label_lines(path, _whole_lines(path))]


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    text = documents.read_bytes(path, limit=LARGEST)
    return text[: text.rfind(b"\n") + 1].split(b"\n")[:-1]


def trim_torn_line(path: Path) -> None:
    """Cut a torn last line off, so that appending starts on a line of its own."""
    if not path.exists():
        return
    text = path.read_bytes()
    end = text.rfind(b"\n") + 1
    if end < len(text):
        with path.open("r+b") as file:
            file.truncate(end)


def read_rows(path: Path) -> list[Row]:
    """The rows of one cell and task; a torn last line is left out.

    Raises:
        ElicitError: a line that is not a row of the task that the file is named after, with its number and the field.
    """
    lines = _whole_lines(path)
    try:
        rows: list[Row] = _build_rows_adapter(list[Row]).validate_json(
            b"[" + b",".join(lines) + b"]", strict=True, extra="forbid"
        )
    except ValueError:
        rows = []
    if len(rows) != len(lines):  # one by one, to name the line
        rows = [_parse_row_line(line, at) for at, line in _label_lines(path, lines)]
    for number, row in enumerate(rows, start=1):
        if row.task != path.stem:
            task = one_line(repr(row.task), 60)
            raise ElicitError(f"{path}, line {number}: field task is {task}; expected {path.stem!r}, the file's name.")
    return rows


def _parse_row_line(line: bytes, at: str) -> Row:
    try:
        return documents.as_record(documents.parse_json(line, at), Row, at)
    except ElicitError as error:
        raise ElicitError(f"{error} Remove the line, and the same `elicit run` makes it again.") from None


def _label_lines(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """(where it stands, line)."""
    for number, line in enumerate(lines, start=1):
        yield f"{path}, line {number}", line


@functools.lru_cache(maxsize=2)
def _build_rows_adapter(kind: Any) -> Any:
    """Imported late: what only writes, or lists folders, should start fast."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def is_lock_or_scratch(path: Path) -> bool:
    """Whether a file is a lock, or scratch that a killed process left."""
    return path.name == ".lock" or (path.name.startswith(".") and path.name.endswith(_SCRATCH))


def remove_scratch(folder: Path) -> None:
    """Remove the scratch that a killed process left in `folder`. Call it only under the folder's lock."""
    for path in folder.glob(f".*{_SCRATCH}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def hold_lock(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock file; the operating system lets go of it when the process dies.

    Raises:
        ElicitError: another process holds it for longer than `patience` seconds.
    """
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ElicitError(f"{what} is in use by another process. Wait for it, or stop it.") from None
                time.sleep(0.1)
        yield


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """A scratch folder that takes the place of `target` when the block ends well, and vanishes otherwise."""
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=_SCRATCH, dir=target.parent))
        try:
            yield scratch
            scratch.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            os.replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
