"""Read and write a run directory. Every file is either appended and flushed or renamed into place. No torch.

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

#: Suffix of files that are not yet in place; their names begin with a dot.
_SCRATCH = ".tmp"
#: Most bytes of a file of rows.
LARGEST = 8 << 30
#: A file size limit (EFBIG) is treated like a full disk.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Some file systems report ENOENT for a folder that cannot be created, or that was removed meanwhile.
_REFUSED = (
    *(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
    *(errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP),
)


class TargetError(ElicitError):
    """The run's folder cannot be written: a fault of the target, not of the current arm."""


@contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Turn the operating system's errors about a target into one clear message.

    Raises:
        TargetError: the disk is full, or the place cannot be written.
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
    """The system's error number for a failed write, 0 for other errors."""
    if isinstance(error, OSError):
        return error.errno or 0
    # safetensors wraps the system's error, and gives its number only in the text.
    match = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(match[1]) if match else 0


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: whole or not at all."""
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", suffix=_SCRATCH, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(scratch, 0o644)
            os.replace(scratch, path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically. NaN is refused: unknown values are null."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_run_json(path: Path) -> Any:
    """Read the value in a JSON file of a run.

    Raises:
        ElicitError: the file is missing, or is not JSON within the limits of `elicit.documents`.
    """
    if not path.exists():
        raise ElicitError(f"{path} is missing. Is {path.parent} a run directory? See: elicit ls runs")
    return documents.read_json(path)


def append_lines(path: Path, records: Iterable[Any]) -> None:
    """Append records as JSON lines and flush them to disk: all of them, or none if the disk is full."""
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
    """Read JSON lines, without a torn last line (from a process killed while writing).

    Raises:
        ElicitError: a line is not JSON; gives its number.
    """
    return [documents.parse_json(line, at) for at, line in _label_lines(path, _whole_lines(path))]


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    text = documents.read_bytes(path, limit=LARGEST)
    return text[: text.rfind(b"\n") + 1].split(b"\n")[:-1]


def trim_torn_line(path: Path) -> None:
    """Remove a torn last line, so that appending starts on a new line."""
    if not path.exists():
        return
    text = path.read_bytes()
    end = text.rfind(b"\n") + 1
    if end < len(text):
        with path.open("r+b") as file:
            file.truncate(end)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of one cell and task, without a torn last line.

    Raises:
        ElicitError: a line is not a row of the task after which the file is named; gives its number and the field.
    """
    lines = _whole_lines(path)
    try:
        rows: list[Row] = _build_rows_adapter(list[Row]).validate_json(
            b"[" + b",".join(lines) + b"]", strict=True, extra="forbid"
        )
    except ValueError:
        rows = []
    if len(rows) != len(lines):  # parse one by one, to name the line
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
    """Yield (file and line number, line)."""
    for number, line in enumerate(lines, start=1):
        yield f"{path}, line {number}", line


@functools.lru_cache(maxsize=2)
def _build_rows_adapter(kind: Any) -> Any:
    """Build the rows' type adapter; pydantic is imported late, so that commands that read no rows start fast."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def is_lock_or_scratch(path: Path) -> bool:
    """True if a file is a lock, a folder of claims, or scratch left by a killed process."""
    return path.name in (".lock", "claims") or (path.name.startswith(".") and path.name.endswith(_SCRATCH))


def remove_scratch(folder: Path) -> None:
    """Remove scratch left in `folder` by a killed process. Call it only under the folder's lock."""
    for path in folder.glob(f".*{_SCRATCH}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def hold_lock(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock file; the operating system releases it when the process dies.

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
    """Yield a scratch folder that replaces `target` if the block succeeds, and is removed otherwise."""
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
