"""`elicit.open_run`: a run directory or a committed archive, read through one door. Imports no torch.

    run = elicit.open_run("runs/quickstart")          # or an archive: experiments/results/quickstart
    run.spec, run.manifest, run.summary
    for cell in run.cells(arms=["sft"], state="done"):
        cell.status["seconds"], cell.rows()[0].completion, cell.checkpoints
    policy = run.cell("cued", "sft", seed=0).policy() # the first thing that needs torch

Everything is read from the disk when it is asked for, and checked; nothing is written. An archive is unpacked into a
temporary folder, which goes when the run does, or at the end of `with elicit.open_run(path) as run:`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from elicit.comparison.reader import ArmData, read_arms, read_run_spec
from elicit.comparison.run_cell import RunCell, State
from elicit.comparison.run_files import RunFiles
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.storage.typed_files import read_manifest, read_summary
from elicit.comparison.summary.summarise import summarise_run
from elicit.comparison.unpack import ROWS, unpack_archive
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION


@dataclass(frozen=True, eq=False)
class Run(RunFiles):
    """A run, finished or not. Made by `open_run`."""

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """`summary.json` as it was written.

        Raises:
            ElicitError: none yet: the run has not ended.
        """
        return read_summary(self.folder)

    @property
    def current_summary(self) -> Mapping[str, Any]:
        """The summary as this version computes it: the written one, or a new one where that is of an earlier format.

        Raises:
            ElicitError: none yet: the run has not ended.
        """
        is_current = self.summary.get(FORMAT_VERSION, 1) == CURRENT_VERSIONS["summary"]
        return self.summary if is_current else self.computed_summary

    @cached_property
    def computed_summary(self) -> Mapping[str, Any]:
        """The same figures, made anew from the rows: `summary.json` may be of an earlier moment."""
        return summarise_run(self.folder)

    def cells(
        self, *, models: Sequence[str] | None = None, arms: Sequence[str] | None = None, state: State | None = None
    ) -> list[RunCell]:
        """The cells of the spec: all of them, or those of some models and arms, or in one state.

        They come model by model, arm by arm and seed by seed, in the spec's order.

        Raises:
            ElicitError: a model or an arm that the spec does not have, or an unknown state.
        """
        self.check_names(models, arms)
        if state is not None and state not in get_args(State):
            raise unknown_name_error("state", state, get_args(State), where=str(self.path))
        order = list(self.spec.arms)
        every = sorted(
            (RunCell(self, cell) for cell in list_cells(self.spec)),
            key=lambda cell: (list(self.spec.models).index(cell.model), order.index(cell.arm), cell.seed),
        )
        return [
            cell
            for cell in every
            if (models is None or cell.model in models)
            and (arms is None or cell.arm in arms)
            and (state is None or cell.state == state)
        ]

    def cell(self, model: str, arm: str, seed: int = 0) -> RunCell:
        """One cell.

        Raises:
            ElicitError: the spec does not have it; the message lists what there is.
        """
        matches = {cell.seed: cell for cell in self.cells(models=[model], arms=[arm])}
        if seed not in matches:
            raise unknown_name_error(f"seed of {model}/{arm}", seed, map(str, matches), where=str(self.path))
        return matches[seed]

    def arms(self, model: str) -> dict[str, ArmData]:
        """Everything on disk for one model: arm -> statuses, rows and metrics of its seeds, in the spec's order.

        Raises:
            ElicitError: a model that the spec does not have.
        """
        self.check_names([model])
        return read_arms(self.spec, self.folder, model)

    def check_names(self, models: Sequence[str] | None = None, arms: Sequence[str] | None = None) -> None:
        """Raises ElicitError for a model or an arm that the spec does not have."""
        for kind, names, known in (("model", models, self.spec.models), ("arm", arms, self.spec.arms)):
            for name in names or ():
                if name not in known:
                    raise unknown_name_error(kind, name, known, where=str(self.path))

    def close(self) -> None:
        """Remove the temporary folder of an archive. A run directory stays as it is."""
        if self.is_archive:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_run(path: str | os.PathLike[str]) -> Run:
    """A run directory or an archive, to be read. See the module's first lines.

    Raises:
        ElicitError: neither of the two, or a file in it that is damaged or of a later version.
    """
    run_path = Path(path)
    if not run_path.is_dir():
        raise ElicitError(
            f"{one_line(str(run_path), 200)} is not a folder. Name a run directory or an archive. See: elicit ls runs"
        )
    if not (run_path / ROWS).exists():
        return _read_run(run_path, run_path)
    folder = Path(tempfile.mkdtemp(prefix="elicit-archive-"))
    try:
        unpack_archive(run_path, folder)
        run = _read_run(run_path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run


def _read_run(path: Path, folder: Path) -> Run:
    spec, limit = read_run_spec(folder)
    return Run(path, folder, spec, limit, read_manifest(folder))
