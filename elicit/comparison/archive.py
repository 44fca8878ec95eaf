"""A finished run as a few small files, for committing: all rows in one of them, statuses and metrics in another.

    ARCHIVE/  spec.yaml  manifest.json  summary.json.xz  cells.json.xz  prompts.json.xz  problems.json.xz  rows.json.xz

Rows are one list a column, a fifth smaller than the tightest parquet (`elicit export` writes tables). Rows of a
checkpoint have its step in the column `step`, which is there only if a run has such rows, and null for all others. What
was logged (losses, gradients, seconds) is kept to six significant digits, half the size; the summary is made of that.
Problems are those of tasks that read files, so that nothing but the archive is needed; the manifest has their hash.
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
from elicit.comparison.problems import FOLDER, check_file, gather_problems, hash_of, read_problems
from elicit.comparison.reader import read_spec_of
from elicit.comparison.running.cell_runner import is_done, state_of
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.spec.cells import cells
from elicit.comparison.storage import prompts
from elicit.comparison.storage.typed_files import read_manifest, read_metrics
from elicit.comparison.summary.summarise import summarise
from elicit.comparison.unpack import CELLS, PROBLEMS, PROMPTS, ROWS, SUMMARY, unpack
from elicit.comparison.unpack import unpacked as unpacked
from elicit.errors import ElicitError
from elicit.tasks.datasets.stored_problems import KeptProblems

#: Options of tasks and arms that may name files.
_PATHS = ("path", "model", "amateur", "sae", "saes", "other")


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
        described[cell.name] = {"status": status, "metrics": read_metrics(folder)}
        asked |= prompts.read(folder)
        mine = spec.of(cell.model)
        labels = (mine.task_label, *mine.off_target)
        for label in labels:
            rows = runs.read_rows(folder / "rows" / f"{label}.jsonl")
            found += [{"cell": cell.name, **row.to_json()} for row in rows]
        for step, one in checkpoints.read(folder, labels).items():
            described[cell.name].setdefault("steps", []).append(one.metrics)
            rows = [row for label in labels for row in one.rows[label]]
            found += [{"cell": cell.name, **row.to_json(), "step": step} for row in rows]
    manifest = read_manifest(run)
    kept = _problems(spec, limit, run, manifest)
    with runs.fresh_folder(target) as scratch:
        shutil.copyfile(run / "spec.yaml", scratch / "spec.yaml")
        without_folders(scratch / "spec.yaml")
        named = {name: hash_of(problems) for name, problems in kept.items()}
        runs.write_json(scratch / "manifest.json", {**manifest, "problems": named} if named else manifest)
        if kept:
            _pack(scratch / PROBLEMS, {hash_of(problems): problems for problems in kept.values()})
        _pack(scratch / CELLS, _to_six_digits(described))
        _pack(scratch / PROMPTS, asked)
        _pack(scratch / ROWS, _columns(found))
        with opened(scratch) as back:
            summary = summarise(back)
        _pack(scratch / SUMMARY, summary)
    return target


def _problems(spec: Spec, limit: int | None, run: Path, manifest: Mapping[str, Any]) -> dict[str, KeptProblems]:
    """The problems of file tasks: those that the run kept, or, for a run from before it did, those of the files."""
    if "problems" in manifest:
        return {name: read_problems(run / FOLDER / f"{mark}.json") for name, mark in manifest["problems"].items()}
    for model in spec.models:
        mine = spec.of(model)
        for label in (mine.task_label, *mine.off_target):
            check_file(spec, model, label, manifest.get("files", {}))
    return gather_problems(spec, limit)


def without_folders(path: Path) -> None:
    """Models and files by name alone: where they lay on one machine says nothing on another, and is nobody's business.

    Rows are judged and figures recomputed without them; a model's own hash is in its cells.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["models"] = {label: _name(name) for label, name in data["models"].items()}
    panels = (data.get("panels") or {}).values()
    arms = (data.get("arms") or {}).values()
    for place in (data, *panels):
        for task in (place.get("task"), *(place.get("off_target") or {}).values()):
            _strip(task)
    for options in arms:
        _strip(options)
    runs.write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _strip(options: Any) -> None:
    """Names in the place of paths, in the options of a task or an arm and in those inside them."""
    for key, value in options.items() if isinstance(options, dict) else ():
        if isinstance(value, dict):
            _strip(value)
        elif key in _PATHS and isinstance(value, str):
            options[key] = _name(value)
        elif key in _PATHS and isinstance(value, list):
            options[key] = [_name(one) if isinstance(one, str) else one for one in value]


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


def _stage(status: Mapping[str, Any]) -> str:
    """A cell that is done, but not with all that the spec asks for by now."""
    return "to be amended" if status["state"] == "done" else str(status["state"])


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The run directory at `path`; for an archive, a temporary one with the same content.

    Raises:
        ElicitError: an archive with a file that is missing or damaged.
    """
    if not (path / ROWS).exists():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(path, Path(folder))
        yield Path(folder)


def _pack(path: Path, data: Mapping[str, Any]) -> None:
    """Compressed (curves, searches and prompts repeat themselves), and the same bytes for the same content."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9))
