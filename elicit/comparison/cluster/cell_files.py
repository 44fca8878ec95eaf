"""Files of a cell as bytes, for a node that does not see the run's folder."""

from __future__ import annotations

from pathlib import Path

from elicit import runs
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, parent_seed

#: Path below a folder -> content.
Files = dict[str, bytes]


def read_files(folder: Path, prefix: Path = Path()) -> Files:
    """Every file in a folder and below it, without locks and scratch; their names begin with `prefix`."""
    return {
        str(prefix / path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(map(runs.is_lock_or_scratch, (path, *path.relative_to(folder).parents)))
    }


def write_files(files: Files, folder: Path) -> None:
    """Write files into a folder that no other process reads yet."""
    for name, content in files.items():
        path = folder / name
        with runs.writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def read_inputs(cell: Cell, spec: Spec, run: Path, folder: Path) -> Files:
    """The files of a run that a cell reads: its own so far, the policies it needs, the hashes of its model's weights.

    Args:
        folder: the cell's own folder.

    Returns:
        Files by their path in the run.
    """
    methods = spec.for_model(cell.model).build_methods()
    files = {"manifest.json": (run / "manifest.json").read_bytes()}
    model_folder = run / "cells" / cell.model
    for path in sorted(model_folder.rglob("status.json")):
        files[str(path.relative_to(run))] = path.read_bytes()
    for arm in cell.needs:
        policy = model_folder / arm / str(parent_seed(methods[arm], cell.seed)) / "policy"
        files |= read_files(policy, policy.relative_to(run))
    return files | read_files(folder, cell.folder_in(Path()))
