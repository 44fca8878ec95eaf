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
from elicit.comparison.running.cell_runner import count_test_problems
from elicit.comparison.spec import Spec, build_task
from elicit.comparison.spec.task_files import hash_path, list_task_files
from elicit.comparison.storage.typed_files import check_value, read_manifest
from elicit.errors import ElicitError
from elicit.tasks import Task
from elicit.tasks.datasets.stored_problems import StoredProblems, dump_problems, restore_task

PROBLEMS_FOLDER = "problems"


def hash_problems(problem_set: StoredProblems) -> str:
    """The hash of kept problems, from their content alone."""
    return hashlib.sha256(_to_canonical_json(problem_set).encode()).hexdigest()


def gather_problems(spec: Spec, limit: int | None) -> dict[str, StoredProblems]:
    """MODEL/LABEL -> the test problems of every task that reads a file or a dataset.

    Raises:
        ElicitError: a file that is gone, or has too few problems.
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
    """Keep the test problems of every task that reads a file or a dataset. Returns MODEL/LABEL -> hash."""
    hashes = {}
    for name, problem_set in gather_problems(spec, limit).items():
        hashes[name] = hash_problems(problem_set)
        runs.write_json(run / PROBLEMS_FOLDER / f"{hashes[name]}.json", problem_set)
    return hashes


def forget_problems(run: Path, hashes: Mapping[str, str]) -> None:
    """Remove kept problems that the manifest no longer names: an earlier, smaller set."""
    for path in (run / PROBLEMS_FOLDER).glob("*.json"):
        if path.stem not in hashes.values():
            path.unlink()


def read_problems(path: Path) -> StoredProblems:
    """Kept problems from their file. Raises ElicitError if they are damaged, or its name is not their hash."""
    return check_problems(runs.read_run_json(path), path.stem, path)


def check_problems(value: Any, sha256: str, where: object) -> StoredProblems:
    """`value`, if it is a set of kept problems with this hash."""
    problem_set: StoredProblems = check_value(value, StoredProblems, where)
    if hash_problems(problem_set) != sha256:
        raise ElicitError(f"{where}: these are not the problems that the run was made with (their hash differs).")
    return problem_set


def load_run_task(
    spec: Spec, run: Path, model: str, label: str, dialect: Mapping[str, Any] | None, *, where: str = "task"
) -> Task:
    """A task of a run, as its problems were when it was run.

    Args:
        label: the target task's or that of one off target.
        dialect: see `build_task`.

    Raises:
        ElicitError: the run kept no problems of a file that is gone, or has changed.
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
    """Check that a task's file is the one that the run was made with, for runs that kept no problems.

    Raises:
        ElicitError: another file stands under its name.
    """
    names = {label, f"{model}/{label}"}
    for source in list_task_files(spec):
        known = files.get(source.label)
        if source.model == model and source.label in names and known is not None:
            now = hash_path(source.path)
            if now != known:
                raise ElicitError(
                    f"{source.path} is not the file that the run was made with: its sha256 is {now[:12]}…, the "
                    f"manifest says {known[:12]}…. Bring the old file back under this name."
                )


def _to_canonical_json(problem_set: StoredProblems) -> str:
    return json.dumps(problem_set, ensure_ascii=False, sort_keys=True)
