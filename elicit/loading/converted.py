"""Cache of converted models: each is made once, by one process, and is either complete or absent.

    $ELICIT_CACHE/gguf/SHA256/          a converted model; converted_from.json tells the size of each of its files
                      .SHA-xxxxxx/      a conversion under way, or what a killed one left
                      .SHA.lock         held by whoever converts; the system lets go of it when the process dies
                      .hashes/          sha256 of .gguf files, by path, size and times

1. The source is hashed; the hash of a file that has not changed since is remembered. 2. A folder whose files all have
their recorded sizes is used. That needs no lock, and no right to write. 3. Otherwise the process takes the lock; if it
had to wait, the folder is usually there by then. Remains of killed conversions are removed. 4. The new folder is
written under another name, flushed to the disk and renamed into place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from elicit import documents
from elicit.errors import ElicitError, one_line

ORIGIN = "converted_from.json"
#: Version of the conversion: a folder with another version is made again. 2: `add_space_prefix` is respected.
CONVERTER = 2

#: Seconds. A file that changed more recently than this before hashing could change again with the same timestamp.
_SETTLED = 2.0


def cache_root() -> Path:
    """$ELICIT_CACHE, or ~/.cache/elicit."""
    chosen = os.environ.get("ELICIT_CACHE", "")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "elicit"


def print_notice(text: str) -> None:
    """Print a line about a slow operation to stderr."""
    print(f"elicit: {text}", file=sys.stderr, flush=True)


def find_converted_folder(path: Path) -> Path | None:
    """Complete converted folder of the file `path`, if there is one."""
    target = cache_root() / "gguf" / file_hash(path)
    return target if is_complete_conversion(target) else None


def convert_once(path: Path, convert: Callable[[Path], None]) -> Path:
    """Converted folder of the file `path`; `convert` fills a new folder if there is none, or only a damaged one.

    Raises:
        ElicitError: a file that cannot be read, or a cache that cannot be written.
    """
    sha256 = file_hash(path)
    target = cache_root() / "gguf" / sha256
    if is_complete_conversion(target):
        return target
    with _hold_conversion_lock(target, path.name):
        if is_complete_conversion(target):  # another process has made it while we waited
            return target
        if target.exists():
            print_notice(
                f"{target} is damaged (a file is missing or has another size), or was made by another version of this "
                f"package: converting {path.name} again"
            )
        _remove_stale_scratch(target.parent, target=target)
        scratch = _make_scratch_folder(target)
        try:
            convert(scratch)
            with _translate_write_errors(target.parent):
                _write_origin_file(scratch, {"file": path.name, "sha256": sha256, "converter": CONVERTER})
                _move_into_place(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def is_complete_conversion(folder: Path) -> bool:
    """Return True if this converter version's files all have their full length. Contents are not read."""
    try:
        origin = documents.read_object(folder / ORIGIN)
        files = origin["files"]
        return (
            origin["converter"] == CONVERTER
            and bool(files)
            and all((folder / name).stat().st_size == size for name, size in files.items())
        )
    except (ElicitError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes. Cached until its size, times or location on the disk change.

    Raises:
        ElicitError: a file that cannot be read.
    """
    try:
        status = path.stat()
        state = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
        note = cache_root() / "gguf" / ".hashes" / f"{name}.json"
        known = _read_hash_note(note, state)
        if known is not None:
            return known
        settled = time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ElicitError(f"cannot read {path}: {error.strerror}.") from error
    if settled:
        _write_hash_note(note, {"path": str(path.resolve()), "state": state, "sha256": sha256})
    return sha256


def _read_hash_note(note: Path, state: list[int]) -> str | None:
    try:
        content = documents.read_object(note)
        return str(content["sha256"]) if content["state"] == state else None
    except (ElicitError, KeyError):
        return None


def _write_hash_note(note: Path, content: dict[str, object]) -> None:
    """Cache a hash. A cache that cannot be written only costs the time to hash again."""
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=note.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(scratch, note)
    except OSError:
        return


@contextmanager
def _hold_conversion_lock(target: Path, name: str) -> Iterator[None]:
    """Hold the target's lock, after waiting for its holder."""
    with _translate_write_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _lock_path(target.parent, target.name).open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_notice(f"another process is converting {name}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_stale_scratch(folder: Path, *, target: Path) -> None:
    """Remove remains of killed conversions: scratch folders whose lock nobody else holds."""
    for scratch in folder.glob(".*-*"):
        key = scratch.name[1:].split("-")[0]
        if key == target.name[:16]:
            shutil.rmtree(scratch, ignore_errors=True)
            continue
        try:
            with _lock_path(folder, key).open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(scratch, ignore_errors=True)
        except OSError:  # held by a conversion that is under way
            continue


def _lock_path(folder: Path, sha256: str) -> Path:
    return folder / f".{sha256[:16]}.lock"


def _make_scratch_folder(target: Path) -> Path:
    with _translate_write_errors(target.parent):
        return Path(tempfile.mkdtemp(prefix=f".{target.name[:16]}-", dir=target.parent))


def _write_origin_file(folder: Path, origin: dict[str, object]) -> None:
    """Write the files' sizes, last, and flush everything: after a power cut the sizes could be right and the bytes
    wrong."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    text = json.dumps({**origin, "files": sizes}, indent=1) + "\n"
    (folder / ORIGIN).write_text(text, encoding="utf-8")
    for path in [*files, folder / ORIGIN]:
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    folder.chmod(0o755)


def _move_into_place(scratch: Path, target: Path) -> None:
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name[:16]}-", dir=target.parent))
        os.replace(target, aside / "damaged")
        shutil.rmtree(aside, ignore_errors=True)
    os.replace(scratch, target)


@contextmanager
def _translate_write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cache_write_error(folder, error) from error


def cache_write_error(folder: Path, error: Exception) -> ElicitError:
    """One-line error for a full disk, or a folder without write permission."""
    return ElicitError(
        f"cannot write the converted model to {folder}: {one_line(error, 200)}. Free some space, or set "
        "ELICIT_CACHE to a folder that can be written."
    )
