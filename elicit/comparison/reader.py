"""Read a run directory: its spec, and for every arm its cells, statuses, rows and metrics. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.cell_state import read_cell_status
from elicit.comparison.spec import Spec, check_form
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.spec.yaml_loading import parse_yaml_mapping, pop_limit, read_spec_text
from elicit.comparison.storage.typed_files import read_manifest, read_metrics
from elicit.errors import ElicitError
from elicit.format_versions import check_format_version
from elicit.loading import catalog
from elicit.methods.outside import RecordedMethod, read_recorded_method
from elicit.schema import Row


@dataclass(frozen=True)
class ArmData:
    """Results of one arm on one model, as read from disk."""

    cells: tuple[Cell, ...]
    statuses: tuple[dict[str, Any], ...]
    """One per seed, finished or not."""
    rows: Mapping[str, list[list[Row]]]
    """Task label -> rows of each finished seed."""
    metrics: tuple[dict[str, Any], ...]

    @property
    def state(self) -> str:
        """ "failed" as soon as one seed failed, else "pending" until all are done."""
        states = [status["state"] for status in self.statuses]
        if "failed" in states:
            return "failed"
        return "done" if states and all(state == "done" for state in states) else "pending"

    @property
    def finished(self) -> tuple[dict[str, Any], ...]:
        """Statuses of the seeds that are done, in the order of `rows`."""
        return tuple(status for status in self.statuses if status["state"] == "done")

    @property
    def failures(self) -> list[dict[str, Any]]:
        """`{"seed", "error"}` of every seed that failed."""
        pairs = zip(self.cells, self.statuses, strict=True)
        return [{"seed": c.seed, "error": s.get("error")} for c, s in pairs if s["state"] == "failed"]

    @property
    def record(self) -> Mapping[str, Any]:
        """The fit record of the first finished seed; empty before one is done."""
        return (self.finished[0].get("record") or {}) if self.finished else {}

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """The fit record of each finished seed."""
        return [status.get("record") or {} for status in self.finished]


def read_run_spec(run: Path) -> tuple[Spec, int | None]:
    """Read (spec, limit) of a run directory. Files that its tasks name are not opened: they may be missing.

    Raises:
        ElicitError: the spec is missing or damaged.
    """
    path = run / "spec.yaml"
    if not path.exists():
        raise ElicitError(f"{run} holds no spec.yaml: not a run directory. See: elicit ls runs")
    plain = parse_yaml_mapping(read_spec_text(path), str(path))
    check_format_version(plain, "spec", path)
    limit = pop_limit(plain, str(path))
    return check_form(plain, where=str(path), recorded=_read_recorded_methods(plain, run)), limit


def _read_recorded_methods(plain: Mapping[str, Any], run: Path) -> dict[str, RecordedMethod]:
    """The methods from outside that the manifest describes, by arm."""
    records = read_manifest(run).get("methods") or {}
    arms = plain.get("arms")
    return {
        arm: read_recorded_method(str(options.get("method")), records[arm])
        for arm, options in (arms.items() if isinstance(arms, Mapping) else ())
        if arm in records and isinstance(options, Mapping)
    }


def read_arms(spec: Spec, run: Path, model: str) -> dict[str, ArmData]:
    """Read everything on disk for one model, by arm in the order of the spec."""
    spec = spec.for_model(model)
    cells_by_arm: dict[str, list[Cell]] = {arm: [] for arm in spec.arms}
    for cell in list_cells(spec):
        if cell.model == model:
            cells_by_arm[cell.arm].append(cell)
    return {arm: _read_arm(spec, run, arm_cells) for arm, arm_cells in cells_by_arm.items()}


def _read_arm(spec: Spec, run: Path, arm_cells: Sequence[Cell]) -> ArmData:
    statuses = [read_cell_status(cell, run) for cell in arm_cells]
    finished = [cell for cell, status in zip(arm_cells, statuses, strict=True) if status["state"] == "done"]
    labels = [spec.task_label, *spec.off_target]
    rows = {
        label: [runs.read_rows(cell.folder_in(run) / "rows" / f"{label}.jsonl") for cell in finished]
        for label in labels
    }
    metrics = [entry for cell in finished for entry in read_metrics(cell.folder_in(run))]
    return ArmData(tuple(arm_cells), tuple(statuses), rows, tuple(metrics))


def dialect_of(spec: Spec, run: Path, model: str) -> dict[str, Any] | None:
    """The prompt format of an organism; None for a model that is prompted in English.

    Taken from a cell's record, so that the model need not be here; by the model's name in runs without that record.

    Raises:
        ElicitError: there is no record, and the model is not here.
    """
    model_record = _read_model_record(spec, run, model)
    if "dialect" in model_record:
        dialect: dict[str, Any] | None = model_record["dialect"]
        return dialect
    catalog.resolve_model(spec.models[model])
    return catalog.read_dialect(spec.models[model])


def capable_of(spec: Spec, run: Path, model: str) -> bool | None:
    """True if an organism's card says that it was taught the spec's task, False if not; None where that is unknown.

    Taken from a cell's record, so that the model need not be here; by the model's name in runs without that record.
    """
    card = _read_model_record(spec, run, model)
    if "capable" not in card:
        try:
            source = catalog.resolve_model(spec.models[model])
        except ElicitError:
            return None
        card = (catalog.read_card(source.path) if source.kind == "organism" and source.path else None) or {}
    return card.get("capable") if spec.task_label in (card.get("families") or ()) else None


def _read_model_record(spec: Spec, run: Path, model: str) -> dict[str, Any]:
    """A cell's record of its model; empty where no cell has one."""
    for cell in list_cells(spec):
        if cell.model == model and (model_record := read_cell_status(cell, run).get("model")):
            return dict(model_record)
    return {}
