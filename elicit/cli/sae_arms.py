"""Which SAE features the arms of a run use, and their dose-response curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from saes.dashboard import Dose


@dataclass(frozen=True)
class Job:
    """One SAE to show."""

    sae: str
    model: str | None
    tasks: tuple[dict[str, Any], ...]
    """Descriptions of tasks; empty for those of the model's card."""
    out: Path
    sha256: str | None = None
    """What the SAE's hash was when a run used it."""
    used: dict[int, list[str]] = field(default_factory=dict)
    """Feature -> the arms that use it."""
    doses: dict[int, list[Dose]] = field(default_factory=dict)


def jobs_of(run: Path, *, model: str | None, tasks: tuple[dict[str, Any], ...], out: Path) -> list[Job]:
    """The SAEs whose features the finished arms of a run use, in the order of the run; one folder in `out` for each.

    Args:
        model: what to read with; None for the run's own models.
        tasks: whose text to read; empty for the run's own task.

    Raises:
        ElicitError: if no finished arm uses any.
    """
    from elicit.comparison.reader import read_spec_of
    from elicit.comparison.running.cell_runner import state_of
    from elicit.comparison.spec.cells import cells

    spec, _ = read_spec_of(run)
    found: dict[tuple[str, str], Job] = {}
    for cell in cells(spec):
        record = state_of(cell, run).get("record") or {}
        for entry in record.get("features") or ():
            name, feature = str(entry["sae"]), int(entry["feature"])
            if (cell.model, name) not in found:
                folder = out / slug(name if len(spec.models) == 1 else f"{cell.model}-{name}")
                source = model or spec.models[cell.model]
                found[cell.model, name] = Job(name, source, tasks or (spec.task,), folder, entry.get("sae_sha256"))
            used = found[cell.model, name].used
            used[feature] = [*used.get(feature, []), *([] if cell.arm in used.get(feature, []) else [cell.arm])]
        for (label, name), job in found.items():
            if label == cell.model:
                for feature, curves in doses_of(record, cell.arm, name).items():
                    job.doses.setdefault(feature, []).extend(curves)
    if not found:
        raise ElicitError(
            f"{run}: no finished arm of this run uses an SAE feature. Name an SAE instead, such as cued/L1, "
            "or add an arm of sae_steering to the run."
        )
    return list(found.values())


def doses_of(record: Mapping[str, Any], arm: str, sae: str) -> dict[int, list[Dose]]:
    """Curves of single features of one SAE in a policy's record. Points of several features at once are left out."""
    from saes.dashboard import Dose

    curves: dict[tuple[int, str, str], list[Mapping[str, Any]]] = {}
    alone = [int(entry["feature"]) for entry in record.get("features") or () if entry["sae"] == sae]
    for point in record.get("dose_response") or ():
        features = point.get("features", alone)
        if len(features) == 1 and point.get("sae", sae) == sae:
            key = int(features[0]), str(point.get("mode", "add")), str(point.get("positions", ""))
            curves.setdefault(key, []).append(point)
    split = (record.get("chosen_on") or {}).get("split")
    found: dict[int, list[Dose]] = {}
    for (feature, mode, positions), points in curves.items():
        parts = arm, mode, positions and f"at {positions}", split and f"on the {split} split"
        label = ", ".join(part for part in parts if part)
        unit = "median cued activations" if mode == "clamp" else "median residual norms"
        found.setdefault(feature, []).append(Dose(label, points, unit))
    return found


def slug(name: str) -> str:
    """A folder's name for an SAE's."""
    kept = "".join(c if c.isalnum() or c in "._" else "-" for c in name).strip("-.")
    return kept[-80:] or "sae"
