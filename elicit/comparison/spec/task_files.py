"""The files that a spec's tasks and arms take problems and code from, by hash: an edited one is another. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.spec.path_resolution import CODE_OPTIONS
from elicit.comparison.spec.spec import Spec
from elicit.errors import ElicitError
from elicit.methods.catalog import is_built_in
from elicit.methods.outside import find_method_reference
from elicit.plugins import find_source_file, parse_reference


class SourceFile(NamedTuple):
    """A file or a folder that problems come from."""

    model: str
    arm: str | None
    """The arm whose options name it; None for a task of the spec."""
    label: str
    """As the manifest has it: the task's label, after the model's where the panel has a task of its own."""
    path: Path


class ChangedFile(NamedTuple):
    """A file that is not what it was when a run began."""

    model: str
    arm: str | None
    label: str


def list_source_files(spec: Spec) -> Iterator[SourceFile]:
    """The local files of all models' tasks and of all arms' options, and those of arms' code.

    Raises:
        ElicitError: code that is not here.
    """
    yield from list_task_files(spec)
    for model in spec.models:
        for arm, options in spec.for_model(model).arms.items():
            yield from _iter_code_files(model, arm, options)


def list_task_files(spec: Spec) -> Iterator[SourceFile]:
    """The local files of all models' tasks, and of the tasks that arms' options name."""
    for model in spec.models:
        model_spec = spec.for_model(model)
        for label, description in {model_spec.task_label: model_spec.task, **model_spec.off_target}.items():
            is_default = description == {spec.task_label: spec.task, **spec.off_target}.get(label)
            yield from _existing_source(model, None, label if is_default else f"{model}/{label}", description)
        for arm, options in model_spec.arms.items():
            for field, value in options.items():
                if isinstance(value, Mapping) and isinstance(value.get("task"), str):
                    yield from _existing_source(model, arm, f"arms.{arm}.{field}", value)


def hash_task_files(spec: Spec) -> dict[str, str]:
    """Label -> sha256 of every file; of a folder, that of its files' names and hashes.

    Raises:
        ElicitError: a file that cannot be read.
    """
    hashes: dict[Path, str] = {}
    hashes_by_label = {}
    for source in list_source_files(spec):
        if source.path not in hashes:
            hashes[source.path] = hash_path(source.path)
        hashes_by_label[source.label] = hashes[source.path]
    return hashes_by_label


def find_changed_files(spec: Spec, before: Mapping[str, str]) -> list[ChangedFile]:
    """The files whose hash is not the one that a manifest has under the same label."""
    now = hash_task_files(spec)
    return [
        ChangedFile(source.model, source.arm, source.label)
        for source in list_source_files(spec)
        if before.get(source.label, now[source.label]) != now[source.label]
    ]


def _iter_code_files(model: str, arm: str, options: Mapping[str, Any]) -> Iterator[SourceFile]:
    """The Python files behind a method, a reward or a trainer from outside."""
    for option in CODE_OPTIONS:
        text = str(options.get(option))
        if option == "method":
            reference = None if is_built_in(text) else find_method_reference(text)
        else:
            reference = text if parse_reference(text) is not None else None
        if reference is not None:
            yield SourceFile(model, arm, f"arms.{arm}.{option}", find_source_file(reference))


def _existing_source(model: str, arm: str | None, label: str, description: Mapping[str, Any]) -> Iterator[SourceFile]:
    path = description.get("path")
    if isinstance(path, str) and "\0" not in path and Path(path).expanduser().exists():  # else it is a hub id
        yield SourceFile(model, arm, label, Path(path).expanduser())


def hash_path(path: Path) -> str:
    """The sha256 of a file; of a folder, that of its files' names and hashes.

    Raises ElicitError for one that cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            lines = "".join(f"{file.relative_to(path)}\n{hash_path(file)}\n" for file in files)
            return hashlib.sha256(lines.encode()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ElicitError(f"{path} cannot be read: {error.strerror}.") from None
