"""A finished run as a few small files, for committing: all rows in one of them, statuses and metrics in another.

    ARCHIVE/  spec.yaml  manifest.json  summary.json.xz  cells.json.xz  prompts.json.xz  rows.json.xz

Rows are one list a column, a fifth smaller than the tightest parquet (`elicit export` writes tables). Rows of a
checkpoint have its step in the column `step`, which is there only if a run has such rows, and null for all others. What
was logged (losses, gradients, seconds) is kept to six significant digits, half the size; the summary is made of that.
Policies (weights, vectors) are left out; everything printed can still be recomputed: `elicit verify ARCHIVE` and
`elicit report ARCHIVE` unpack it into a temporary run directory. Cells that failed are part of the result: their
status is kept, with its error and without its traceback (which names places on the machine).
"""

from __future__ import annotations

import json
import lzma
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from elicit import runs
from elicit.comparison import prompts, steps
from elicit.comparison.cells import cells
from elicit.comparison.read import read_spec_of
from elicit.comparison.summarise import summarise
from elicit.comparison.work import is_done, state_of
from elicit.errors import ElicitError

CELLS = "cells.json.xz"
PROMPTS = "prompts.json.xz"
ROWS = "rows.json.xz"
SUMMARY = "summary.json.xz"
_PLAIN = "summary.json"
_WHOLE = ("spec.yaml", "manifest.json")


def archive(run: Path, target: Path, *, partial: bool = False) -> Path:
    """Write the archive of a run to a new folder.

    Args:
        partial: leave out cells that are not finished; the summary is then that of the others, which says so. For runs
            of many hours, whose rows are kept as they come.

    Raises:
        ElicitError: a run with cells that are neither done nor failed, or a target that exists or cannot be written.
    """
    spec, limit = read_spec_of(run)
    if target.exists():
        raise ElicitError(f"{target} exists already. Remove it, or name another folder.")
    found: list[dict[str, Any]] = []
    described: dict[str, Any] = {}
    asked: dict[str, Any] = {}
    for cell in cells(spec):
        status, folder = state_of(cell, run), cell.folder(run)
        if status["state"] == "failed":
            described[cell.name] = {"status": {**status, "traceback": None}, "metrics": []}
            continue
        if not is_done(cell, spec, run, limit):
            if partial:
                continue
            raise ElicitError(f"{run} is not finished: cell {cell.name} is {_stage(status)}. Run it to its end first.")
        described[cell.name] = {"status": status, "metrics": runs.read_lines(folder / "metrics.jsonl")}
        asked |= prompts.read(folder)
        mine = spec.of(cell.model)
        labels = (mine.task_label, *mine.off_target)
        for label in labels:
            rows = runs.read_rows(folder / "rows" / f"{label}.jsonl")
            found += [{"cell": cell.name, **row.to_json()} for row in rows]
        for step, one in steps.read(folder, labels).items():
            described[cell.name].setdefault("steps", []).append(one.metrics)
            rows = [row for label in labels for row in one.rows[label]]
            found += [{"cell": cell.name, **row.to_json(), "step": step} for row in rows]
    with runs.fresh_folder(target) as scratch:
        for name in _WHOLE:
            shutil.copyfile(run / name, scratch / name)
        without_folders(scratch / "spec.yaml")
        _pack(scratch / CELLS, _to_six_digits(described))
        _pack(scratch / PROMPTS, asked)
        _pack(scratch / ROWS, _columns(found))
        with opened(scratch) as kept:
            summary = summarise(kept)
        _pack(scratch / SUMMARY, summary)
    return target


def without_folders(path: Path) -> None:
    """Models and files by name alone: where they lay on one machine says nothing on another, and is nobody's business.

    Rows are judged and figures recomputed without them; a model's own hash is in its cells.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["models"] = {label: _name(name) for label, name in data["models"].items()}
    panels = (data.get("panels") or {}).values()
    for place in (data, *panels):
        for task in (place.get("task"), *(place.get("off_target") or {}).values()):
            if task and isinstance(task.get("path"), str):
                task["path"] = _name(task["path"])
    runs.write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _name(text: str) -> str:
    return Path(text).name if Path(text).is_absolute() else text


def _to_six_digits(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _to_six_digits(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_to_six_digits(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Null where a row lacks a column."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _records(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        record = dict(zip(columns, values, strict=True))
        if record.get("notes") is None:
            record.pop("notes", None)
        yield record


def _stage(status: Mapping[str, Any]) -> str:
    """A cell that is done, but not with all that the spec asks for by now."""
    return "to be amended" if status["state"] == "done" else str(status["state"])


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The run directory at `path`; for an archive, a temporary one with the same content."""
    if not (path / ROWS).exists():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        for name in _WHOLE:
            shutil.copyfile(path / name, run / name)
        if (path / SUMMARY).exists():  # it is written last
            runs.write_json(run / _PLAIN, unpacked(path / SUMMARY))
        for name, cell in unpacked(path / CELLS).items():
            runs.write_json(run / "cells" / name / "status.json", cell["status"])
            runs.append_lines(run / "cells" / name / "metrics.jsonl", cell["metrics"])
            for metrics in cell.get("steps", ()):
                home = steps.folder_of(run / "cells" / name, metrics["step"])
                runs.write_json(home / steps.METRICS, metrics)
        grouped: dict[tuple[str, int | None, str], list[dict[str, Any]]] = {}
        for record in _records(unpacked(path / ROWS)):
            key = record.pop("cell"), record.pop("step", None), record["task"]
            grouped.setdefault(key, []).append(record)
        asked = unpacked(path / PROMPTS) if (path / PROMPTS).exists() else {}
        for (cell_name, step, task), records in grouped.items():
            home = run / "cells" / cell_name
            place = home if step is None else steps.folder_of(home, step)
            runs.append_lines(place / "rows" / f"{task}.jsonl", records)
            mine = {mark: asked[mark] for record in records if (mark := record["prompt_hash"]) in asked}
            if mine:
                prompts.write(home, {**prompts.read(home), **mine})
        yield run


def _pack(path: Path, data: Mapping[str, Any]) -> None:
    """Compressed (curves, searches and prompts repeat themselves), and the same bytes for the same content."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9))


def unpacked(path: Path) -> dict[str, Any]:
    """What one of an archive's `.json.xz` holds. Raises ElicitError for a file that is missing or damaged."""
    try:
        found: dict[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise ElicitError(f"{path} cannot be read: {error}") from None
    return found
