"""The files of a run directory, each read through its type. Imports no torch.

What is missing, of another type, too deep, not finite or no JSON is one line that names the file and the field. Rows
have a reader of their own, `elicit.runs.read_rows`, since there are many.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elicit import documents, runs
from elicit.comparison.storage.file_types import Manifest, Metrics, Status, Summary
from elicit.errors import ElicitError


def read_file(path: Path, kind: Any) -> Any:
    """The JSON value in a file, unchanged, after it has been checked against a type.

    Raises:
        ElicitError: missing, no JSON, or a field that does not fit.
    """
    return check_value(runs.read_run_json(path), kind, path)


def check_value(value: Any, kind: Any, where: object) -> Any:
    """`value`, if it fits a type. Raises ElicitError with the first field that does not."""
    try:
        _get_type_adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise ElicitError(f"{where}: {documents.describe_first_error(error)}.") from None
    return value


def read_status(folder: Path) -> dict[str, Any]:
    """A cell's status; `{"state": "pending"}` before it ran."""
    path = folder / "status.json"
    status: dict[str, Any] = read_file(path, Status) if path.exists() else {"state": "pending"}
    return status


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The side effects that a cell measured; empty before it did."""
    path = folder / "metrics.jsonl"
    lines = enumerate(runs.read_lines(path), start=1)
    return [check_value(line, Metrics, f"{path}, line {number}") for number, line in lines]


def read_manifest(run: Path) -> dict[str, Any]:
    """A run's manifest; empty for a run without one."""
    path = run / "manifest.json"
    return dict(read_file(path, Manifest)) if path.exists() else {}


def read_summary(run: Path) -> dict[str, Any]:
    """A run's summary. Raises ElicitError where there is none."""
    return dict(read_file(run / "summary.json", Summary))


@functools.lru_cache(maxsize=32)
def _get_type_adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
