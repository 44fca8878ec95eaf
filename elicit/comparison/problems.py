"""The test problems of a run's tasks of files and of code from outside, kept in the run. Imports no torch.

    problems/SHA256.json     one file for each different set of problems
    manifest.json            problems: {MODEL/LABEL: SHA256}, the hash of the file's content

So they are judged and shown where the files are gone; those of code from outside are shown, and judged where the code
is here. Problems that a program of ours or reasoning-gym draws are drawn again instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elicit import runs
from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.spec import Spec, build_task
from elicit.comparison.spec.code_references import list_task_code
from elicit.comparison.spec.task_files import hash_path, list_source_files
from elicit.comparison.storage.typed_files import check_value, read_manifest
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION, PROBLEM_POOLS
from elicit.plugins import MissingCodeError, parse_reference, source_sha256
from elicit.tasks import Task
from elicit.tasks.datasets.stored_problems import (
    StoredCode,
    StoredProblems,
    dump_problems,
    restore_record_task,
    restore_task,
)
from elicit.tasks.sequential import draw_sequentially

PROBLEMS_FOLDER = "problems"


class Unjudged(NamedTuple):
    """Why the verdicts on a task cannot be recomputed here."""

    reason: str
    is_changed: bool
    """The code is here, but is another than the run's: a difference, where absent code is none."""


def hash_problems(problem_set: StoredProblems) -> str:
    """The hash of stored problems, computed from their content alone."""
    return hashlib.sha256(_to_canonical_json(problem_set).encode()).hexdigest()


def gather_problems(spec: Spec, limit: int | None) -> dict[str, StoredProblems]:
    """MODEL/LABEL -> the test problems of every task that reads a file or a dataset, or is code from outside.

    Raises:
        ElicitError: a file is missing or has too few problems.
    """
    problem_sets: dict[str, StoredProblems] = {}
    for model in spec.models:
        model_spec = spec.for_model(model)
        for label, description in {model_spec.task_label: model_spec.task, **model_spec.off_target}.items():
            task = build_task(description, where=f"task {label!r}")
            problem_set = dump_problems(task, count_test_problems(model_spec, limit), _describe_code(description))
            if problem_set is not None:
                problem_sets[f"{model}/{label}"] = problem_set
    return problem_sets


def write_problems(spec: Spec, limit: int | None, run: Path) -> dict[str, str]:
    """Keep those problems in the run. Returns MODEL/LABEL -> hash."""
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
    """A task of a run, as its problems were when it was run. Runs no code from outside: see `load_judging_task`.

    Args:
        label: label of the target task or of an off-target one.
        dialect: see `build_task`.

    Raises:
        ElicitError: a file is missing or has changed, and the run has no copy of its problems.
    """
    description, stored = _describe_task(spec, model, label), _read_stored(run, model, label)
    if stored is not None:
        return restore_task(description, stored)
    check_task_file(spec, model, label, read_manifest(run).get("files", {}))
    return build_task_of_run(run, description, dialect, where=where)


def load_judging_task(
    spec: Spec, run: Path, model: str, label: str, dialect: Mapping[str, Any] | None, *, where: str = "task"
) -> Task | Unjudged:
    """The same task with its verifier, which may be code from outside; why not, where that code is not here.

    The code is run only if its source is the one that the run was made with.

    Raises:
        ElicitError: as `load_run_task`.
    """
    description, stored = _describe_task(spec, model, label), _read_stored(run, model, label)
    if stored is None or "code" not in stored:
        return load_run_task(spec, run, model, label, dialect, where=where)
    code, kept = stored["code"], f"{label}: verdicts were taken from the rows"
    reference = dict(list_task_code(description)).get(code["field"])
    try:
        if reference is None:
            raise MissingCodeError(f"{code['reference']} is not offered by any installed package")
        now = source_sha256(reference)
    except MissingCodeError:
        absent = "not here" if ".py:" in code["reference"] else "not installed"
        return Unjudged(f"{kept}, because {code['reference']} is {absent}", is_changed=False)
    if now != code["sha256"]:
        hashes = f"its sha256 is {now[:12]}…, the run's {code['sha256'][:12]}…"
        return Unjudged(f"{kept}: {code['reference']} is not the code that the run was made with ({hashes})", True)
    try:
        if code["field"] == "read":
            return restore_record_task(description, stored)
        task = build_task_of_run(run, description, None, where=where)
        if dump_problems(task, len(stored["problems"]), code) != stored:
            return Unjudged(f"{kept}: {code['reference']} gives other problems than those of the run", True)
        return build_task_of_run(run, description, dialect, where=where)
    except ElicitError as error:
        return Unjudged(f"{kept}, because {code['reference']} cannot be used here: {error}", is_changed=False)


def build_task_of_run(
    run: Path, description: Mapping[str, Any], dialect: Mapping[str, Any] | None, *, where: str
) -> Task:
    """A task whose problems are drawn as they were when the run began; see `elicit.comparison.spec.build_task`."""
    task = build_task(description, dialect, where=where)
    return task if has_problem_pools(run) else draw_sequentially(task)


def has_problem_pools(run: Path) -> bool:
    """True if the generated problems of a run come from pools."""
    return read_run_version(run) >= PROBLEM_POOLS


def read_run_version(run: Path) -> int:
    """The format of a run: as its manifest says, or the current one before there is a manifest."""
    manifest = read_manifest(run)
    return int(manifest.get(FORMAT_VERSION, 1)) if manifest else CURRENT_VERSIONS["run"]


def _describe_task(spec: Spec, model: str, label: str) -> Mapping[str, Any]:
    model_spec = spec.for_model(model)
    return {**model_spec.off_target, model_spec.task_label: model_spec.task}[label]


def _read_stored(run: Path, model: str, label: str) -> StoredProblems | None:
    sha256 = read_manifest(run).get("problems", {}).get(f"{model}/{label}")
    return None if sha256 is None else read_problems(run / PROBLEMS_FOLDER / f"{sha256}.json")


def _describe_code(description: Mapping[str, Any]) -> StoredCode | None:
    """The code from outside of a task that is about to run."""
    for field, reference in list_task_code(description):
        parts = parse_reference(reference)
        assert parts is not None
        name = f"{Path(parts.module).name}:{parts.name}" if parts.is_file else reference
        return {"field": field, "reference": name, "sha256": source_sha256(reference)}
    return None


def check_task_file(spec: Spec, model: str, label: str, files: Mapping[str, str]) -> None:
    """Check that a task's file is the one the run was made with, for runs without a copy of the problems.

    Raises:
        ElicitError: the file's content has changed.
    """
    names = {label, f"{model}/{label}"}
    for source in list_source_files(spec):
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
