"""Unpack an archive into a run directory; every part is checked before it is written. Imports no torch."""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, get_type_hints

from typing_extensions import TypedDict

from elicit import documents, runs
from elicit.comparison.problems import PROBLEMS_FOLDER, check_problems
from elicit.comparison.reader import read_run_spec
from elicit.comparison.spec import Spec
from elicit.comparison.spec import checkpoints as steps
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.storage import prompts
from elicit.comparison.storage.file_types import Metrics, Prompts, Status, StepMetrics
from elicit.comparison.storage.typed_files import check_summary, check_value, read_manifest
from elicit.errors import ElicitError, one_line
from elicit.schema import Count, Row

CELLS = "cells.json.xz"
PROBLEMS = "problems.json.xz"
PROMPTS = "prompts.json.xz"
ROWS = "rows.json.xz"
SUMMARY = "summary.json.xz"
_WHOLE = ("spec.yaml", "manifest.json")
#: Bytes that one part may unpack to: some millions of rows. Stops decompression bombs.
_LARGEST = 1 << 30


class ArchivedCell(TypedDict):
    """An archived cell without its rows."""

    status: Status
    metrics: list[Metrics]
    steps: NotRequired[list[StepMetrics]]


def unpack_archive(path: Path, run: Path) -> None:
    """Write the run directory that an archive was made from.

    Args:
        run: an empty folder.

    Raises:
        ElicitError: a part is missing or damaged; names the field.
    """
    spec, _ = read_run_spec(path)
    manifest = read_manifest(path)
    archived = read_archived_cells(path) or {}
    homes = {cell.name: run / "cells" / cell.name for cell in list_cells(spec)}
    for name in archived:
        if name not in homes:
            raise ElicitError(f"{path / CELLS}: {one_line(repr(name), 80)} is not a cell of the archive's spec.yaml.")
    columns = _read_row_columns(path / ROWS, spec, archived)
    prompts_by_hash = (
        check_value(read_compressed_json(path / PROMPTS), Prompts, path / PROMPTS) if (path / PROMPTS).exists() else {}
    )
    problem_sets = read_compressed_json(path / PROBLEMS) if (path / PROBLEMS).exists() else {}
    for sha256 in manifest.get("problems", {}).values():
        if sha256 not in problem_sets:
            raise ElicitError(f"{path / PROBLEMS}: the problems {sha256[:12]}… that the manifest names are missing.")
    for sha256, problems in problem_sets.items():
        check_problems(problems, sha256, path / PROBLEMS)
    for name in _WHOLE:
        runs.write_text(run / name, documents.read_bytes(path / name).decode())
    if (path / SUMMARY).exists():  # it is written last
        runs.write_json(run / "summary.json", check_summary(read_compressed_json(path / SUMMARY), path / SUMMARY))
    for sha256, problems in problem_sets.items():
        runs.write_json(run / PROBLEMS_FOLDER / f"{sha256}.json", problems)
    for name, cell in archived.items():
        runs.write_json(homes[name] / "status.json", cell["status"])
        runs.append_lines(homes[name] / "metrics.jsonl", cell["metrics"])
        for metrics in cell.get("steps", ()):
            runs.write_json(steps.checkpoint_folder(homes[name], metrics["step"]) / steps.METRICS_FILE, metrics)
    _write_rows(columns, homes, prompts_by_hash)


def read_archived_cells(path: Path) -> dict[str, Any] | None:
    """The cells of an archive without their rows; None for a run directory."""
    if not (path / ROWS).exists():
        return None
    archived: dict[str, Any] = check_value(read_compressed_json(path / CELLS), dict[str, ArchivedCell], path / CELLS)
    return archived


def read_compressed_json(path: Path) -> dict[str, Any]:
    """Read the object in one of an archive's `.json.xz` files.

    Raises:
        ElicitError: a file is missing, damaged or too large.
    """
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
    try:
        text = reader.decompress(documents.read_bytes(path), _LARGEST)
    except (EOFError, lzma.LZMAError) as error:
        raise ElicitError(f"{path} cannot be read: {error}") from None
    if not reader.eof:
        what = "is cut short" if reader.needs_input else f"unpacks to more than {_LARGEST:,} bytes"
        raise ElicitError(f"{path} {what}.")
    return documents.as_object(documents.parse_json(text, path), path)


def _read_row_columns(path: Path, spec: Spec, archived: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Read rows as columns; check that lengths and types agree and that every cell and task exists."""
    columns: dict[str, list[Any]] = check_value(read_compressed_json(path), dict[str, list[Any]], path)
    kinds = {**get_type_hints(Row, include_extras=True), "cell": str}
    optional = {"notes": kinds.pop("notes") | None, "step": Count | None}
    if not columns:
        return {}
    for name, kind in {**kinds, **{name: kind for name, kind in optional.items() if name in columns}}.items():
        if name not in columns:
            raise ElicitError(f"{path}: the column {name} is missing.")
        check_value(columns[name], list[kind], f"{path}: column {name}")  # type: ignore[valid-type]
    for name, values in columns.items():
        if name not in kinds and name not in optional:
            raise ElicitError(f"{path}: unknown column {one_line(repr(name), 60)}.")
        if len(values) != len(columns["cell"]):
            raise ElicitError(f"{path}: column {name} has {len(values)} rows, column cell {len(columns['cell'])}.")
    for name, label in dict.fromkeys(zip(columns["cell"], columns["task"], strict=True)):
        if name not in archived:
            raise ElicitError(f"{path}: rows of {one_line(repr(name), 80)}, which is not a cell of {CELLS}.")
        model_spec = spec.for_model(name.partition("/")[0])
        if label not in (model_spec.task_label, *model_spec.off_target):
            raise ElicitError(f"{path}: rows of task {one_line(repr(label), 60)}, which the spec does not have.")
    return columns


def _write_rows(columns: Mapping[str, list[Any]], homes: Mapping[str, Path], prompts_by_hash: prompts.Prompts) -> None:
    grouped: dict[tuple[str, int | None, str], list[dict[str, Any]]] = {}
    for record in _columns_to_records(columns):
        key = record.pop("cell"), record.pop("step", None), record["task"]
        grouped.setdefault(key, []).append(record)
    for (cell_name, step, task), records in grouped.items():
        home = homes[cell_name]
        folder = home if step is None else steps.checkpoint_folder(home, step)
        runs.append_lines(folder / "rows" / f"{task}.jsonl", records)
        cell_prompts = {
            mark: prompts_by_hash[mark] for record in records if (mark := record["prompt_hash"]) in prompts_by_hash
        }
        if cell_prompts:
            prompts.write_prompt_file(home, {**prompts.read_prompt_file(home), **cell_prompts})


def _columns_to_records(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        record = dict(zip(columns, values, strict=True))
        if record.get("notes") is None:
            record.pop("notes", None)
        yield record
