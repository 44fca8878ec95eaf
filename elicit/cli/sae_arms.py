"""SAE features that the arms of a run use, and their dose-response curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from saes.dashboard import Dose


@dataclass(frozen=True)
class DashboardJob:
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


def find_jobs(run: Path, *, model: str | None, tasks: tuple[dict[str, Any], ...], out: Path) -> list[DashboardJob]:
    """The SAEs whose features the finished arms of a run use, in the order of the run; one folder in `out` for each.

    Args:
        model: what to read with; None for the run's own models.
        tasks: whose text to read; empty for the run's own task.

    Raises:
        ElicitError: if no finished arm uses any.
    """
    from elicit.comparison.run import open_run

    opened_run = open_run(run)
    spec = opened_run.spec
    jobs: dict[tuple[str, str], DashboardJob] = {}
    for cell in opened_run.cells():
        record = cell.record
        for entry in record.get("features") or ():
            name, feature = str(entry["sae"]), int(entry["feature"])
            if (cell.model, name) not in jobs:
                folder = out / to_folder_name(name if len(spec.models) == 1 else f"{cell.model}-{name}")
                source = model or spec.models[cell.model]
                jobs[cell.model, name] = DashboardJob(
                    name, source, tasks or (spec.task,), folder, entry.get("sae_sha256")
                )
            used = jobs[cell.model, name].used
            used[feature] = [*used.get(feature, []), *([] if cell.arm in used.get(feature, []) else [cell.arm])]
        for (label, name), job in jobs.items():
            if label == cell.model:
                for feature, curves in collect_doses(record, cell.arm, name).items():
                    job.doses.setdefault(feature, []).extend(curves)
    if not jobs:
        raise ElicitError(
            f"{run}: no finished arm of this run uses an SAE feature. Name an SAE instead, such as cued/L1, "
            "or add an arm of sae_steering to the run."
        )
    return list(jobs.values())


def collect_doses(record: Mapping[str, Any], arm: str, sae: str) -> dict[int, list[Dose]]:
    """Curves of single features of one SAE in a policy's record. Points of several features at once are left out."""
    from saes.dashboard import Dose

    curves: dict[tuple[int, str, str], list[Mapping[str, Any]]] = {}
    arm_features = [int(entry["feature"]) for entry in record.get("features") or () if entry["sae"] == sae]
    for point in record.get("dose_response") or ():
        features = point.get("features", arm_features)
        if len(features) == 1 and point.get("sae", sae) == sae:
            key = int(features[0]), str(point.get("mode", "add")), str(point.get("positions", ""))
            curves.setdefault(key, []).append(point)
    split = (record.get("chosen_on") or {}).get("split")
    doses: dict[int, list[Dose]] = {}
    for (feature, mode, positions), points in curves.items():
        parts = arm, mode, positions and f"at {positions}", split and f"on the {split} split"
        label = ", ".join(part for part in parts if part)
        unit = "median cued activations" if mode == "clamp" else "median residual norms"
        doses.setdefault(feature, []).append(Dose(label, points, unit))
    return doses


def to_folder_name(name: str) -> str:
    """A folder's name for an SAE's."""
    safe_name = "".join(c if c.isalnum() or c in "._" else "-" for c in name).strip("-.")
    return safe_name[-80:] or "sae"
