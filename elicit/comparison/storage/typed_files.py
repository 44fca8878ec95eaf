"""Read the files of a run directory, each checked against its type. Imports no torch.

A value that is missing, of the wrong type, too deep, not finite or not JSON raises a one-line error that names the file
and the field. Rows have a faster reader, `elicit.runs.read_rows`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elicit import documents, runs
from elicit.comparison.storage.file_types import Manifest, Metrics, Status, Summary
from elicit.errors import ElicitError
from elicit.format_versions import ARCHIVE_FORMAT_VERSION, ROWS_FORMAT_VERSION, check_format_version


def read_file(path: Path, kind: Any) -> Any:
    """Read the JSON value in a file and check it against a type; the value is returned unchanged.

    Raises:
        ElicitError: the file is missing, is not JSON, or has an invalid field.
    """
    return check_value(runs.read_run_json(path), kind, path)


def check_value(value: Any, kind: Any, where: object) -> Any:
    """Return `value` if it fits a type. Raises ElicitError with the first field that does not."""
    try:
        _get_type_adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise ElicitError(f"{where}: {documents.describe_first_error(error)}.") from None
    return value


def read_status(folder: Path) -> dict[str, Any]:
    """Read a cell's status; `{"state": "pending"}` before it ran, or while its folder is elsewhere (a claim)."""
    path = folder / "status.json"
    try:
        status: dict[str, Any] = read_file(path, Status) if path.exists() else {"state": "pending"}
    except ElicitError:
        if path.exists():
            raise
        return {"state": "pending"}  # moved since it was seen
    return status


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read a cell's measured side effects; empty before they are measured."""
    path = folder / "metrics.jsonl"
    lines = enumerate(runs.read_lines(path), start=1)
    return [check_value(line, Metrics, f"{path}, line {number}") for number, line in lines]


def read_manifest(run: Path) -> dict[str, Any]:
    """Read a run's manifest; empty for a run without one."""
    path = run / "manifest.json"
    if not path.exists():
        return {}
    manifest = runs.read_run_json(path)
    if isinstance(manifest, dict):  # first of all: a file of a later version may fit no type of this one
        check_format_version(manifest, "run", path)
        check_format_version(manifest, "rows", path, key=ROWS_FORMAT_VERSION)
        check_format_version(manifest, "archive", path, key=ARCHIVE_FORMAT_VERSION)
    return dict(check_value(manifest, Manifest, path))


def read_summary(run: Path) -> dict[str, Any]:
    """A run's summary. Raises ElicitError where there is none."""
    return check_summary(runs.read_run_json(run / "summary.json"), run / "summary.json")


def check_summary(value: Any, path: Path) -> dict[str, Any]:
    """`value`, if it is a summary. Raises ElicitError for a later version, or the first field that does not fit."""
    if isinstance(value, dict):
        check_format_version(value, "summary", path)
    return dict(check_value(value, Summary, path))


@functools.lru_cache(maxsize=32)
def _get_type_adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
