"""Archives: a finished run as a few small files that can be committed.

    ARCHIVE/  spec.yaml  manifest.json  summary.json.xz  cells.json.xz  prompts.json.xz  problems.json.xz  rows.json.xz

Rows are stored by column, a fifth smaller than the tightest parquet (`elicit export` writes tables). Rows of a
checkpoint have its step in the column `step`; the column exists only in runs with such rows and is null for all others.
Logged values (losses, gradients, seconds) are rounded to six significant digits, which halves the size; the summary is
computed from the rounded values. The problems of tasks that read files are included, so that the archive is
self-contained; the manifest has their hash.
Policies (weights, vectors) are left out; everything printed can still be recomputed: `elicit verify ARCHIVE` and
`elicit report ARCHIVE` unpack it into a temporary run directory. Failed cells are part of the result: their status is
kept with its error but without its traceback, which contains paths of the machine.
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
from elicit.comparison.cell_state import is_done, read_cell_status
from elicit.comparison.problems import PROBLEMS_FOLDER, check_task_file, gather_problems, hash_problems, read_problems
from elicit.comparison.reader import read_run_spec
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.spec.option_values import map_texts
from elicit.comparison.storage import prompts
from elicit.comparison.storage.typed_files import read_manifest, read_metrics
from elicit.comparison.summary.summarise import summarise_run
from elicit.comparison.unpack import CELLS, PROBLEMS, PROMPTS, ROWS, SUMMARY, unpack_archive
from elicit.comparison.unpack import read_compressed_json as read_compressed_json
from elicit.errors import ElicitError
from elicit.format_versions import ARCHIVE_FORMAT_VERSION, CURRENT_VERSIONS
from elicit.tasks.datasets.stored_problems import StoredProblems

#: Options of tasks and arms that may name files.
_PATHS = (
    "task",
    "read",
    "path",
    "model",
    "amateur",
    "sae",
    "saes",
    "other",
    "method",
    "reward",
    "trainer_class",
    "function",
    "scorer",
)


def write_archive(run: Path, target: Path, *, partial: bool = False) -> Path:
    """Write the archive of a run to a new folder.

    Args:
        partial: leave out unfinished cells; the summary then covers the others and says so. For long runs whose
            rows are committed as they arrive.

    Raises:
        ElicitError: a run with cells that are neither done nor failed, or a target that exists or cannot be written.
    """
    spec, limit = read_run_spec(run)
    if target.exists():
        raise ElicitError(f"{target} exists already. Remove it, or name another folder.")
    records: list[dict[str, Any]] = []
    cell_records: dict[str, Any] = {}
    prompts_by_hash: dict[str, Any] = {}
    for cell in list_cells(spec):
        status, folder = read_cell_status(cell, run), cell.folder_in(run)
        if status["state"] == "failed":
            cell_records[cell.name] = {"status": {**status, "traceback": None}, "metrics": []}
            continue
        if not is_done(cell, spec, run, limit):
            if partial:
                continue
            raise ElicitError(
                f"{run} is not finished: cell {cell.name} is {_describe_state(status)}. Run it to its end first."
            )
        cell_records[cell.name] = {"status": status, "metrics": read_metrics(folder)}
        prompts_by_hash |= prompts.read_prompt_file(folder)
        model_spec = spec.for_model(cell.model)
        labels = (model_spec.task_label, *model_spec.off_target)
        for label in labels:
            rows = runs.read_rows(folder / "rows" / f"{label}.jsonl")
            records += [{"cell": cell.name, **row.to_json()} for row in rows]
        for step, checkpoint in checkpoints.read_checkpoints(folder, labels).items():
            cell_records[cell.name].setdefault("steps", []).append(checkpoint.metrics)
            rows = [row for label in labels for row in checkpoint.rows[label]]
            records += [{"cell": cell.name, **row.to_json(), "step": step} for row in rows]
    manifest = read_manifest(run)
    problem_sets = _gather_archived_problems(spec, limit, run, manifest)
    with runs.fresh_folder(target) as scratch:
        shutil.copyfile(run / "spec.yaml", scratch / "spec.yaml")
        strip_folders(scratch / "spec.yaml")
        problem_hashes = {name: hash_problems(problems) for name, problems in problem_sets.items()}
        manifest |= {ARCHIVE_FORMAT_VERSION: CURRENT_VERSIONS["archive"]}
        manifest |= {"problems": problem_hashes} if problem_hashes else {}
        runs.write_json(scratch / "manifest.json", manifest)
        if problem_sets:
            _write_compressed_json(
                scratch / PROBLEMS, {hash_problems(problems): problems for problems in problem_sets.values()}
            )
        _write_compressed_json(scratch / CELLS, _round_floats(cell_records))
        _write_compressed_json(scratch / PROMPTS, prompts_by_hash)
        _write_compressed_json(scratch / ROWS, _rows_to_columns(records))
        with open_run_directory(scratch) as unpacked_run:
            summary = summarise_run(unpacked_run)
        _write_compressed_json(scratch / SUMMARY, summary)
    return target


def _gather_archived_problems(
    spec: Spec, limit: int | None, run: Path, manifest: Mapping[str, Any]
) -> dict[str, StoredProblems]:
    """Problems of file tasks, from the run's own copy; older runs have no copy, so theirs are read from the files."""
    if "problems" in manifest:
        return {
            name: read_problems(run / PROBLEMS_FOLDER / f"{sha256}.json")
            for name, sha256 in manifest["problems"].items()
        }
    for model in spec.models:
        model_spec = spec.for_model(model)
        for label in (model_spec.task_label, *model_spec.off_target):
            check_task_file(spec, model, label, manifest.get("files", {}))
    return gather_problems(spec, limit)


def strip_folders(path: Path) -> None:
    """Reduce the paths of models and files to their names: folders of one machine mean nothing on another.

    Verification does not need them; a model's hash is in its cells.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data = map_texts(data, lambda name, text: _base_name(text) if name in _PATHS else text)
    data["models"] = {label: _base_name(name) for label, name in data["models"].items()}
    runs.write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _base_name(text: str) -> str:
    return Path(text).name if Path(text).is_absolute() else text


def _round_floats(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _round_floats(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_round_floats(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data


def _rows_to_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Transpose rows to columns; null where a row lacks a column."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _describe_state(status: Mapping[str, Any]) -> str:
    """Describe a cell's state, including one that is done but lacks something the spec asks for by now."""
    return "to be amended" if status["state"] == "done" else str(status["state"])


@contextmanager
def open_run_directory(path: Path) -> Iterator[Path]:
    """The run directory at `path`; for an archive, a temporary one with the same content.

    Raises:
        ElicitError: an archive with a file that is missing or damaged.
    """
    if not (path / ROWS).exists():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack_archive(path, Path(folder))
        yield Path(folder)


def _write_compressed_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write compressed JSON: the same bytes for the same content."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9))
