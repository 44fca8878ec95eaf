"""Merge runs of one spec, each with some of its cells done, into one run.

1. All have the same spec and limit, began with the same files, problems and code, and ran on the same weights.
2. A cell that is done in several has the same rows in all of them, those at checkpoints too; the first run's is taken.
3. The result is made beside its place and renamed. Cells that no run has finished are left to run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from elicit import runs
from elicit.comparison.cell_state import is_done, read_cell_status
from elicit.comparison.problems import PROBLEMS_FOLDER, read_problems
from elicit.comparison.reader import read_run_spec
from elicit.comparison.running.corrections import CORRECTION_FILE
from elicit.comparison.running.run_folder import end_run
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.spec_identity import find_first_difference
from elicit.comparison.storage.typed_files import read_manifest
from elicit.comparison.summary.summarise import write_summary
from elicit.comparison.unpack import ROWS
from elicit.errors import ElicitError, one_line
from elicit.format_versions import FORMAT_VERSION
from elicit.schema import Row

#: Parts of the manifest that runs to be merged have in common.
_COMMON = (FORMAT_VERSION, "files", "problems", "methods")


class MergedRun(NamedTuple):
    """Where the cells of a merged run come from."""

    cells: Mapping[str, Path]
    """Name of each finished cell -> the run that it was taken from."""
    total: int
    """Cells of the spec."""


@dataclass(frozen=True)
class _Source:
    """A run to be merged."""

    path: Path
    spec: Spec
    limit: int | None
    manifest: Mapping[str, Any]
    finished: Mapping[str, Cell]


def merge_runs(paths: Sequence[Path], target: Path, *, command: Sequence[str] = ()) -> MergedRun:
    """Write a run with the finished cells of several.

    Args:
        command: the command line, for the manifest.

    Raises:
        ElicitError: the runs do not belong together: names the first difference; or the target exists already.
    """
    if target.exists():
        raise ElicitError(f"{target} exists already. Name another folder with --out.")
    if len({path.resolve() for path in paths}) < 2:
        raise ElicitError("merge needs two runs or more. Type: elicit merge RUN1 RUN2 --out RUN")
    sources = [_read_source(path) for path in paths]
    first = sources[0]
    for source in sources[1:]:
        _check_same_run(first, source)
    date = _check_models(sources)
    homes = _choose_sources(sources)
    if not homes:
        raise ElicitError(f"none of {', '.join(map(str, paths))} has a finished cell. Run them first.")
    with runs.fresh_folder(target) as scratch:
        shutil.copyfile(first.path / "spec.yaml", scratch / "spec.yaml")
        for sha256 in set(first.manifest.get("problems", {}).values()):
            runs.write_json(
                scratch / PROBLEMS_FOLDER / f"{sha256}.json",
                read_problems(first.path / PROBLEMS_FOLDER / f"{sha256}.json"),
            )
        start = min(source.manifest["start"] for source in sources)
        manifest = {**first.manifest, "command": list(command), "date": date, "start": start}
        runs.write_json(scratch / "manifest.json", manifest)
        for name, source in homes.items():
            cell = source.finished[name]
            shutil.copytree(cell.folder_in(source.path), cell.folder_in(scratch), ignore=_list_remains)
        end_run(first.spec, scratch)
        write_summary(scratch)
    return MergedRun({name: source.path for name, source in homes.items()}, len(list_cells(first.spec)))


def _list_remains(folder: str, names: list[str]) -> set[str]:
    """Locks and scratch, which are not copied."""
    return {name for name in names if runs.is_lock_or_scratch(Path(folder) / name)}


def _read_source(path: Path) -> _Source:
    if (path / ROWS).exists():
        raise ElicitError(f"{path} is an archive, which keeps no policies. Name the run directory that it was made of.")
    if (path / CORRECTION_FILE).exists():
        raise ElicitError(f"{path} has arms that are to be made again. Run it to its end first.")
    spec, limit = read_run_spec(path)
    finished = {cell.name: cell for cell in list_cells(spec) if is_done(cell, spec, path, limit)}
    manifest = read_manifest(path)
    if not manifest:
        raise ElicitError(f"{path} has no manifest.json: its problems and files are not known, so it cannot be merged.")
    return _Source(path, spec, limit, manifest, finished)


def _check_same_run(first: _Source, second: _Source) -> None:
    """Raise ElicitError for another spec or limit, or other files, problems or code."""
    difference = find_first_difference(first.spec, first.limit, second.spec, second.limit)
    if difference is not None:
        raise ElicitError(
            f"{first.path} and {second.path} are runs of two specs: {difference.field} is {difference.first} in the "
            f"first, {difference.second} in the second. Only runs of one spec and limit are merged."
        )
    for part in _COMMON:
        left, right = first.manifest.get(part), second.manifest.get(part)
        if left != right:
            what = one_line(_describe_difference(left, right), 120)
            raise ElicitError(f"{first.path} and {second.path} differ in {part} of manifest.json: {what}.")


def _describe_difference(left: Any, right: Any) -> str:
    """The first entry of two mappings that differs, else the two values."""
    if not isinstance(left, Mapping) or not isinstance(right, Mapping):
        return f"{left!r} and {right!r}"
    name = next(name for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name))
    return f"{name} is {left.get(name)!r} and {right.get(name)!r}"


def _check_models(sources: Sequence[_Source]) -> str:
    """Check that the cells of a model ran on the same weights, and were told the same day. Returns the day.

    Raises:
        ElicitError: names the model and the two runs.
    """
    seen: dict[tuple[str, str], tuple[Any, Path]] = {}
    for source, cell, status in _iterate_finished(sources):
        for fact in ("weights_sha256", "tokenizer_sha256", "date"):
            value = (status.get("model") or {}).get(fact)
            before, path = seen.setdefault((cell.model, fact), (value, source.path))
            if value != before:
                raise ElicitError(
                    f"{cell.model} was another model in {source.path} than in {path}: {fact} is {value} and {before}."
                )
    days = {value: path for (_, fact), (value, path) in seen.items() if fact == "date" and value is not None}
    if len(days) > 1:
        raise ElicitError(f"the prompts of {' and '.join(map(str, days.values()))} give different days: {list(days)}.")
    first = sources[0].manifest
    return next(iter(days), None) or first.get("date") or str(first["start"])[:10]


def _iterate_finished(sources: Sequence[_Source]) -> Iterator[tuple[_Source, Cell, dict[str, Any]]]:
    for source in sources:
        for cell in source.finished.values():
            yield source, cell, read_cell_status(cell, source.path)


def _choose_sources(sources: Sequence[_Source]) -> dict[str, _Source]:
    """Name of each finished cell -> the first run that has it.

    Raises:
        ElicitError: another run has other rows.
    """
    chosen: dict[str, _Source] = {}
    for source in sources:
        for name, cell in source.finished.items():
            before = chosen.setdefault(name, source)
            if before is not source:
                _check_same_rows(cell, before.path, source.path)
    return chosen


def _check_same_rows(cell: Cell, first: Path, second: Path) -> None:
    folders = cell.folder_in(first), cell.folder_in(second)
    files = [{path.relative_to(folder) for path in folder.glob("**/rows/*.jsonl")} for folder in folders]
    for name in sorted(files[0] | files[1]):
        left, right = (_index_rows(folder / name) for folder in folders)
        for key in dict.fromkeys([*left, *right]):
            if left.get(key) != right.get(key):
                raise ElicitError(
                    f"{cell.name} is done in {first} and in {second}, with different rows: {name}, problem {key[0]}, "
                    f"sample {key[1]}. Merge runs of which one has it, or make it again."
                )


def _index_rows(path: Path) -> dict[tuple[str, int], Row]:
    return {(row.problem, row.sample): row for row in runs.read_rows(path)}
