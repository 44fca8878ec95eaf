"""Rules for changing the spec of an existing run. Imports no torch.

A run may gain arms, models, off-target tasks, seeds, problems (tested, or at checkpoints) and samples. Finished cells
bind the spec to the options they were made with. Failed and pending cells do not: where the spec has changed for them,
they are emptied and run again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elicit.comparison.spec import Spec, checkpoints, samples_spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.spec.task_files import ChangedFile
from elicit.errors import ElicitError


@dataclass(frozen=True)
class _AmendmentCheck:
    """Compares two specs as plain data, for one run."""

    run: Path
    finished_pairs: frozenset[tuple[str, str]]
    """(model, arm) of finished cells."""

    def make_error(self, field: str, before: Any, after: Any) -> ElicitError:
        def format_value(value: Any) -> str:
            return json.dumps(value, ensure_ascii=False)[:120]

        arm = field.removeprefix("arms.") if field.startswith("arms.") else None
        remedy = f", or make its cells again: --replace {arm}" if arm and after is not None else ""
        remedy = f", or take it out of the run: --drop {arm}" if arm and after is None else remedy
        return ElicitError(
            f"{self.run} holds a run of another spec: {field} was {format_value(before)}, now {format_value(after)}. "
            "Name another "
            f"folder with --out, or go back to the old value{remedy} (adding arms, tasks, seeds, samples is fine)."
        )

    def has_finished_model(self, model: str) -> bool:
        return any(model == name for name, _ in self.finished_pairs)

    def has_finished_arm(self, arm: str) -> bool:
        return any(arm == name for _, name in self.finished_pairs)

    def uses_spec_field(self, panels: Mapping[str, Any], field: str) -> bool:
        """True if a model with finished cells takes a field from the spec itself and not from its panel."""
        return any((panels.get(model) or {}).get(field) is None for model, _ in self.finished_pairs)


def check_amendment(
    old: Mapping[str, Any], new: Mapping[str, Any], run: Path, finished_pairs: Collection[tuple[str, str]]
) -> None:
    """Check that a run may continue with a new spec; both specs are plain data.

    Args:
        finished_pairs: (model, arm) of the finished cells that stay.

    Raises:
        ElicitError: shows the first difference that contradicts finished cells.
    """
    if not finished_pairs:
        return
    check = _AmendmentCheck(run, frozenset(finished_pairs))
    panels = old.get("panels", {})
    if old["task"] != new["task"] and check.uses_spec_field(panels, "task"):
        raise check.make_error("task", old["task"], new["task"])
    for field in ("dtype", "kl_problems"):
        if old.get(field) != new.get(field):
            raise check.make_error(field, old.get(field), new.get(field))
    for field, binds in (
        ("models", check.has_finished_model),
        ("arms", check.has_finished_arm),
        ("off_target", lambda _: check.uses_spec_field(panels, "off_target")),
    ):
        for name, value in old.get(field, {}).items():
            if new[field].get(name) != value and binds(name):
                raise check.make_error(f"{field}.{name}", value, new[field].get(name))
    for model in dict.fromkeys([*panels, *new["panels"]]):
        if check.has_finished_model(model):
            _check_panel(check, panels.get(model), new["panels"].get(model), model)
    for field in ("seeds", "test"):
        if new[field] < old[field]:
            raise check.make_error(field, old[field], new[field])
    if samples_spec.reduces_samples(old["samples"], new["samples"]):
        raise check.make_error("samples", old["samples"], new["samples"])
    if checkpoints.reduces_trajectory(old.get("trajectory"), new.get("trajectory")):
        raise check.make_error("trajectory", old.get("trajectory"), new.get("trajectory"))


def _check_panel(
    check: _AmendmentCheck, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, model: str
) -> None:
    """Check a model's own part of the spec: it may gain arms, seeds and test problems, and lose no finished ones."""
    where = f"panels.{model}"
    if (old is None) != (new is None):
        raise check.make_error(where, old, new)
    if old is None or new is None:
        return
    if (old["task"], old["off_target"]) != (new["task"], new["off_target"]):
        raise check.make_error(where, old, new)
    finished = {arm for name, arm in check.finished_pairs if name == model}
    if new["arms"] is not None and not finished <= set(new["arms"]):
        raise check.make_error(f"{where}.arms", old["arms"], new["arms"])
    for field in ("seeds", "test"):
        if (old[field] is None) != (new[field] is None) or (old[field] or 0) > (new[field] or 0):
            raise check.make_error(f"{where}.{field}", old[field], new[field])


def list_outdated_cells(old: Spec, new: Spec, *, fewer: bool, files: Sequence[ChangedFile] = ()) -> list[Cell]:
    """List cells of the old spec that are absent from the new one or differ there; their results are obsolete.

    Args:
        fewer: True if fewer problems are tested than before.
        files: files that have changed.
    """
    new_cells = {cell.name: cell for cell in list_cells(new)}
    reduced = fewer or samples_spec.reduces_samples(old.to_dict()["samples"], new.to_dict()["samples"])
    reduced = reduced or checkpoints.reduces_trajectory(old.to_dict()["trajectory"], new.to_dict()["trajectory"])

    def is_outdated(cell: Cell) -> bool:
        if cell.name not in new_cells or new_cells[cell.name].fingerprint != cell.fingerprint:
            return True
        if any(cell.model == file.model and file.arm in (None, cell.arm) for file in files):
            return True
        before, after = old.for_model(cell.model), new.for_model(cell.model)
        lost = any(after.off_target.get(label) != task for label, task in before.off_target.items())
        return lost or reduced or after.test < before.test

    return [cell for cell in list_cells(old) if is_outdated(cell)]
