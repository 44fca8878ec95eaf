"""The folder of a run that several processes begin or take part in: made whole by one of them, the same for all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from elicit import runs
from elicit.comparison.reader import read_run_spec
from elicit.comparison.sharing.renaming import remove_empty_folders, try_rename
from elicit.comparison.spec import Spec
from elicit.comparison.spec.task_files import find_changed_files
from elicit.comparison.spec_identity import find_first_difference
from elicit.comparison.storage.manifest import hash_spec
from elicit.comparison.storage.typed_files import read_manifest
from elicit.errors import ElicitError


def is_begun(run: Path) -> bool:
    """True if the folder holds a run. `spec.yaml` is there from the beginning of a joined run."""
    return (run / "spec.yaml").exists()


def publish_new_run(run: Path, prepare: Callable[[Path], None]) -> None:
    """Make a run's folder beside its place, and rename it. Of several processes, one is the first; its run stays.

    Args:
        prepare: fills an empty folder with all that a run has before its first cell.

    Raises:
        TargetError: the place cannot be written, or a disk is mounted there.
    """
    run = run.resolve()
    with runs.writing_to(run):
        run.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{run.name}-", suffix=".tmp", dir=run.parent))
        try:
            prepare(scratch)
            scratch.chmod(0o755)
            _remove_remains(run)
            _put_in_place(scratch, run)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(scratch: Path, run: Path) -> None:
    try:
        try_rename(scratch, run, proof=run)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        raise runs.TargetError(f"{run} is where a disk is mounted. Name a folder in it with --out.") from None


def _remove_remains(run: Path) -> None:
    """Remove what a process leaves that was killed before the run began."""
    if is_begun(run) or not run.is_dir():
        return
    runs.remove_scratch(run)
    remove_empty_folders(run / "claims")
    (run / ".lock").unlink(missing_ok=True)


def check_same_run(spec: Spec, run: Path, limit: int | None) -> None:
    """Check that the run in a folder has this spec and limit, and was begun with these files.

    Device and cache size are each process's own.

    Raises:
        ElicitError: names the first difference.
    """
    old_spec, old_limit = read_run_spec(run)
    manifest = read_manifest(run)
    if manifest.get("spec_sha256") != hash_spec(old_spec.to_dict(), old_limit):
        raise ElicitError(
            f"{run} was begun or amended by a process that did not come to the end of it, or by an earlier version. "
            "Type the command without --join first."
        )
    difference = find_first_difference(old_spec, old_limit, spec, limit)
    if difference is not None:
        raise ElicitError(
            f"{run} holds a run of another spec: {difference.field} is {difference.first} there, and "
            f"{difference.second} here. All that take part have one spec and limit; to amend the run, type the command "
            "without --join first."
        )
    changed = find_changed_files(spec, manifest.get("files", {}))
    if changed:
        raise ElicitError(
            f"the file of {changed[0].label} is not the one that the run in {run} began with. Bring that file here, or "
            "name another folder with --out."
        )
