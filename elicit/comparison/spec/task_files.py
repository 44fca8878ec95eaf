"""The files that tasks and arms of a spec take problems, code and vectors from, by hash: an edited file is another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.spec.code_references import find_code_file, list_arm_code, list_task_code
from elicit.comparison.spec.option_values import list_option_values
from elicit.comparison.spec.spec import Spec
from elicit.errors import ElicitError
from elicit.vectors.file import list_companions


class SourceFile(NamedTuple):
    """A file or a folder of problems, or a file of code."""

    model: str
    arm: str | None
    """The arm whose options name it; None for a task of the spec."""
    label: str
    """Label in the manifest: the task's, preceded by the model's where its panel has a task of its own."""
    path: Path


class ChangedFile(NamedTuple):
    """A file that has changed since a run began."""

    model: str
    arm: str | None
    label: str


def list_source_files(spec: Spec) -> Iterator[SourceFile]:
    """List the local files of all models' tasks and of all arms' options and code."""
    for model in spec.models:
        model_spec = spec.for_model(model)
        for label, description in {model_spec.task_label: model_spec.task, **model_spec.off_target}.items():
            is_default = description == {spec.task_label: spec.task, **spec.off_target}.get(label)
            yield from _existing_source(model, None, label if is_default else f"{model}/{label}", description)
        for arm, options in model_spec.arms.items():
            for place, reference in list_arm_code(options):
                if (source := find_code_file(reference)) is not None:
                    yield SourceFile(model, arm, f"arms.{arm}.{place}", source)
            for place, _, value in list_option_values(options):
                if isinstance(value, Mapping) and isinstance(value.get("task"), str):
                    yield from _existing_source(model, arm, f"arms.{arm}.{place}", value)
            for place, option, value in list_option_values(options):
                if option == "path" and isinstance(value, str):
                    yield from _list_arm_files(model, arm, f"arms.{arm}.{place}", value)


def hash_task_files(spec: Spec) -> dict[str, str]:
    """Label -> sha256 of every file; for a folder, of its files' names and hashes.

    Raises:
        ElicitError: a file cannot be read.
    """
    hashes: dict[Path, str] = {}
    hashes_by_label = {}
    for source in list_source_files(spec):
        if source.path not in hashes:
            hashes[source.path] = hash_path(source.path)
        hashes_by_label[source.label] = hashes[source.path]
    return hashes_by_label


def find_changed_files(spec: Spec, before: Mapping[str, str]) -> list[ChangedFile]:
    """Find files whose hash differs from the one in a manifest under the same label."""
    now = hash_task_files(spec)
    return [
        ChangedFile(source.model, source.arm, source.label)
        for source in list_source_files(spec)
        if before.get(source.label, now[source.label]) != now[source.label]
    ]


def _existing_source(model: str, arm: str | None, label: str, description: Mapping[str, Any]) -> Iterator[SourceFile]:
    for _, reference in list_task_code(description):
        if (source := find_code_file(reference)) is not None:
            yield SourceFile(model, arm, f"{label} (code)", source)
    path = description.get("path")
    if isinstance(path, str) and "\0" not in path and Path(path).expanduser().exists():  # otherwise a hub id
        yield SourceFile(model, arm, label, Path(path).expanduser())


def _list_arm_files(model: str, arm: str, label: str, text: str) -> Iterator[SourceFile]:
    """The file or folder that an arm was found in elsewhere: vectors, an adapter."""
    path = Path(text).expanduser()
    if "\0" in text or not path.exists():
        return
    yield SourceFile(model, arm, label, path)
    for companion in list_companions(path) if path.is_file() else ():
        if companion != path:
            yield SourceFile(model, arm, f"{label} ({companion.suffix})", companion)


def hash_path(path: Path) -> str:
    """The sha256 of a file; of a folder, that of its files' names and hashes.

    Raises:
        ElicitError: it cannot be read.
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
