"""Copies of file tasks' test problems inside the run, so that it can be verified without the files. No torch.

    problems/SHA256.json     one file for each different set of problems
    manifest.json            problems: {MODEL/LABEL: SHA256}, the hash of the file's content

Problems that a program generates (our own families, reasoning-gym) are generated again instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.spec import Spec, build_task
from elicit.comparison.spec.task_files import hash_task_files, list_source_files
from elicit.comparison.storage.typed_files import check_value, read_manifest
from elicit.errors import ElicitError
from elicit.tasks import Task
from elicit.tasks.datasets.stored_problems import StoredProblems, dump_problems, restore_task

PROBLEMS_FOLDER = "problems"


def hash_problems(problem_set: StoredProblems) -> str:
    """The hash of stored problems, computed from their content alone."""
    return hashlib.sha256(_to_canonical_json(problem_set).encode()).hexdigest()


def gather_problems(spec: Spec, limit: int | None) -> dict[str, StoredProblems]:
    """MODEL/LABEL -> the test problems of every task that reads a file or a dataset.

    Raises:
        ElicitError: a file is missing or has too few problems.
    """
    problem_sets: dict[str, StoredProblems] = {}
    for model in spec.models:
        model_spec = spec.for_model(model)
        for label, description in {model_spec.task_label: model_spec.task, **model_spec.off_target}.items():
            problem_set = dump_problems(
                build_task(description, where=f"task {label!r}"), count_test_problems(model_spec, limit)
            )
            if problem_set is not None:
                problem_sets[f"{model}/{label}"] = problem_set
    return problem_sets


def write_problems(spec: Spec, limit: int | None, run: Path) -> dict[str, str]:
    """Store the test problems of every task that reads a file or a dataset. Returns MODEL/LABEL -> hash."""
    hashes = {}
    for name, problem_set in gather_problems(spec, limit).items():
        hashes[name] = hash_problems(problem_set)
        runs.write_json(run / PROBLEMS_FOLDER / f"{hashes[name]}.json", problem_set)
    return hashes


def forget_problems(run: Path, hashes: Mapping[str, str]) -> None:
    """Remove stored problems that the manifest no longer names: an earlier, smaller set."""
    for path in (run / PROBLEMS_FOLDER).glob("*.json"):
        if path.stem not in hashes.values():
            path.unlink()


def read_problems(path: Path) -> StoredProblems:
    """Read stored problems. Raises ElicitError if they are damaged or do not match the hash in the file's name."""
    return check_problems(runs.read_run_json(path), path.stem, path)


def check_problems(value: Any, sha256: str, where: object) -> StoredProblems:
    """Return `value` if it is a set of stored problems with this hash; raise ElicitError otherwise."""
    problem_set: StoredProblems = check_value(value, StoredProblems, where)
    if hash_problems(problem_set) != sha256:
        raise ElicitError(f"{where}: these are not the problems that the run was made with (their hash differs).")
    return problem_set


def load_run_task(
    spec: Spec, run: Path, model: str, label: str, dialect: Mapping[str, Any] | None, *, where: str = "task"
) -> Task:
    """Load a task of a run with the problems that the run used.

    Args:
        label: label of the target task or of an off-target one.
        dialect: see `build_task`.

    Raises:
        ElicitError: a file is missing or has changed, and the run has no copy of its problems.
    """
    model_spec = spec.for_model(model)
    description = {**model_spec.off_target, model_spec.task_label: model_spec.task}[label]
    manifest = read_manifest(run)
    sha256 = manifest.get("problems", {}).get(f"{model}/{label}")
    if sha256 is not None:
        return restore_task(description, read_problems(run / PROBLEMS_FOLDER / f"{sha256}.json"))
    check_task_file(spec, model, label, manifest.get("files", {}))
    return build_task(description, dialect, where=where)


def check_task_file(spec: Spec, model: str, label: str, files: Mapping[str, str]) -> None:
    """Check that a task's file is the one the run was made with, for runs without a copy of the problems.

    Raises:
        ElicitError: the file's content has changed.
    """
    names = {label, f"{model}/{label}"}
    for source in list_source_files(spec):
        known = files.get(source.label)
        if source.model == model and source.label in names and known is not None:
            now = hash_task_files(spec)[source.label]
            if now != known:
                raise ElicitError(
                    f"{source.path} is not the file that the run was made with: its sha256 is {now[:12]}…, the "
                    f"manifest says {known[:12]}…. Bring the old file back under this name."
                )


def _to_canonical_json(problem_set: StoredProblems) -> str:
    return json.dumps(problem_set, ensure_ascii=False, sort_keys=True)
