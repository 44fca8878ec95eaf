"""The test problems of a run's file tasks, kept in the run: judged and shown where the files are gone. No torch.

    problems/SHA256.json     one file for each different set of problems
    manifest.json            problems: {MODEL/LABEL: SHA256}, the hash of the file's content

Problems that a program draws (our own families, reasoning-gym) are drawn again instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.running.cell_runner import tested
from elicit.comparison.spec import Spec, build_task
from elicit.comparison.spec.task_files import source_files, task_files
from elicit.comparison.storage.typed_files import check_value, read_manifest
from elicit.errors import ElicitError
from elicit.tasks import Task
from elicit.tasks.datasets.stored_problems import KeptProblems, keep_problems, kept_task

FOLDER = "problems"


def hash_of(kept: KeptProblems) -> str:
    """The hash of kept problems, from their content alone."""
    return hashlib.sha256(_text(kept).encode()).hexdigest()


def gather_problems(spec: Spec, limit: int | None) -> dict[str, KeptProblems]:
    """MODEL/LABEL -> the test problems of every task that reads a file or a dataset.

    Raises:
        ElicitError: a file that is gone, or has too few problems.
    """
    found: dict[str, KeptProblems] = {}
    for model in spec.models:
        mine = spec.of(model)
        for label, description in {mine.task_label: mine.task, **mine.off_target}.items():
            kept = keep_problems(build_task(description, where=f"task {label!r}"), tested(mine, limit))
            if kept is not None:
                found[f"{model}/{label}"] = kept
    return found


def write_problems(spec: Spec, limit: int | None, run: Path) -> dict[str, str]:
    """Keep the test problems of every task that reads a file or a dataset. Returns MODEL/LABEL -> hash."""
    hashes = {}
    for name, kept in gather_problems(spec, limit).items():
        hashes[name] = hash_of(kept)
        runs.write_json(run / FOLDER / f"{hashes[name]}.json", kept)
    return hashes


def forget_problems(run: Path, hashes: Mapping[str, str]) -> None:
    """Remove kept problems that the manifest no longer names: an earlier, smaller set."""
    for path in (run / FOLDER).glob("*.json"):
        if path.stem not in hashes.values():
            path.unlink()


def read_problems(path: Path) -> KeptProblems:
    """Kept problems from their file. Raises ElicitError if they are damaged, or its name is not their hash."""
    return check_problems(runs.read_json(path), path.stem, path)


def check_problems(value: Any, sha256: str, where: object) -> KeptProblems:
    """`value`, if it is a set of kept problems with this hash."""
    kept: KeptProblems = check_value(value, KeptProblems, where)
    if hash_of(kept) != sha256:
        raise ElicitError(f"{where}: these are not the problems that the run was made with (their hash differs).")
    return kept


def run_task(
    spec: Spec, run: Path, model: str, label: str, dialect: Mapping[str, Any] | None, *, where: str = "task"
) -> Task:
    """A task of a run, as its problems were when it was run.

    Args:
        label: the target task's or that of one off target.
        dialect: see `build_task`.

    Raises:
        ElicitError: the run kept no problems of a file that is gone, or has changed.
    """
    mine = spec.of(model)
    description = {**mine.off_target, mine.task_label: mine.task}[label]
    manifest = read_manifest(run)
    sha256 = manifest.get("problems", {}).get(f"{model}/{label}")
    if sha256 is not None:
        return kept_task(description, read_problems(run / FOLDER / f"{sha256}.json"))
    check_file(spec, model, label, manifest.get("files", {}))
    return build_task(description, dialect, where=where)


def check_file(spec: Spec, model: str, label: str, files: Mapping[str, str]) -> None:
    """Check that a task's file is the one that the run was made with, for runs that kept no problems.

    Raises:
        ElicitError: another file stands under its name.
    """
    names = {label, f"{model}/{label}"}
    for source in source_files(spec):
        known = files.get(source.label)
        if source.model == model and source.label in names and known is not None:
            now = task_files(spec)[source.label]
            if now != known:
                raise ElicitError(
                    f"{source.path} is not the file that the run was made with: its sha256 is {now[:12]}…, the "
                    f"manifest says {known[:12]}…. Bring the old file back under this name."
                )


def _text(kept: KeptProblems) -> str:
    return json.dumps(kept, ensure_ascii=False, sort_keys=True)
