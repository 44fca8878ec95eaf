"""A finished run as a few small files, for committing: rows in one parquet file, statuses and metrics in one JSON.

    ARCHIVE/  spec.yaml  manifest.json  summary.json  cells.json  rows.parquet

Policies (weights, vectors) are left out; everything printed can still be recomputed: `elicit verify ARCHIVE` and
`elicit report ARCHIVE` unpack it into a temporary run directory.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.cells import cells
from elicit.comparison.summarise import read_spec_of
from elicit.comparison.work import state_of
from elicit.errors import ElicitError

_WHOLE = ("spec.yaml", "manifest.json", "summary.json")


def archive(run: Path, target: Path) -> Path:
    """Write the archive of a run to a new folder.

    Raises:
        ElicitError: an unfinished run, or a target that exists or cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec, _ = read_spec_of(run)
    if target.exists():
        raise ElicitError(f"{target} exists already. Remove it, or name another folder.")
    found: list[dict[str, Any]] = []
    described: dict[str, Any] = {}
    for cell in cells(spec):
        status = state_of(cell, run)
        if status["state"] != "done":
            raise ElicitError(f"{run} is not finished: cell {cell.name} is {status['state']}. Run it to its end first.")
        folder = cell.folder(run)
        described[cell.name] = {"status": status, "metrics": runs.read_lines(folder / "metrics.jsonl")}
        for label in (spec.task_label, *spec.off_target):
            rows = runs.read_rows(folder / "rows" / f"{label}.jsonl")
            found += [{"cell": cell.name, **row.to_json()} for row in rows]
    with runs.fresh_folder(target) as scratch:
        for name in _WHOLE:
            shutil.copyfile(run / name, scratch / name)
        runs.write_json(scratch / "cells.json", described)
        pq.write_table(pa.Table.from_pylist(found), scratch / "rows.parquet", compression="zstd", compression_level=19)
    return target


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The run directory at `path`; for an archive, a temporary one with the same content."""
    if not (path / "rows.parquet").exists():
        yield path
        return
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        for name in _WHOLE:
            shutil.copyfile(path / name, run / name)
        for name, cell in runs.read_json(path / "cells.json").items():
            runs.write_json(run / "cells" / name / "status.json", cell["status"])
            runs.append_lines(run / "cells" / name / "metrics.jsonl", cell["metrics"])
        grouped: dict[Path, list[dict[str, Any]]] = {}
        for record in pq.read_table(path / "rows.parquet").to_pylist():
            place = run / "cells" / record.pop("cell") / "rows" / f"{record['task']}.jsonl"
            grouped.setdefault(place, []).append(record)
        for place, records in grouped.items():
            runs.append_lines(place, records)
        yield run
