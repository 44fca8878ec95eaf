"""The settings that a steering arm tried on the select split, and the same search with other directions.

An arm that chose among twenty settings is compared with a control that chooses among twenty too: on the same problems,
by the same rate, at the same layers, strengths, positions and modes. Only the directions differ. Ties go to the setting
that the parent chose, so that a search without any success is tested at the parent's dose; then to the smaller strength
and the earlier layer, as in the parent's search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.policy import Policy
    from elicit.steering import Steering
    from elicit.tasks import Task
    from saes import Feature

#: Entries of a tried setting that its repetition keeps; the others are figures of the parent, or name its features.
_KEPT = ("layer", "strength", "absolute", "mode", "positions", "together", "displacements")


class TriedSetting(NamedTuple):
    """One setting of a parent's search."""

    entry: Mapping[str, Any]
    """Its entry in the parent's record."""
    edits: tuple[Steering, ...]
    """Edits of its layer, mode, positions and absolute strength: of its features, else along the chosen direction."""

    @property
    def features(self) -> tuple[int, ...]:
        """Indices of its features, in the order of the edits; empty for a plain vector."""
        return tuple(self.entry.get("features") or ())


def read_tried_settings(method: str, parent: str, policy: Policy) -> list[TriedSetting]:
    """The settings of a parent's search, from its record: the chosen one, then by strength and layer.

    Features that were clamped together get the mean of their values.

    Raises:
        ElicitError: the parent did not search, or an SAE has changed since.
    """
    from elicit.fitting.sae_lookup import load_tried_features

    record = policy.record
    if not record.get("dose_response") or "chosen_on" not in record:
        raise ElicitError(
            f"{method}: its parent {parent!r} has no search to repeat. Name an arm that chooses its layer and strength "
            "on select; the control of one that does not is random_vector or random_feature."
        )
    entries: list[Mapping[str, Any]] = sorted(
        record["dose_response"],
        key=lambda entry: (entry != record["chosen"], entry["strength"], entry["layer"]),
    )
    features = load_tried_features(method, parent, policy, entries)
    chosen = _get_plain_edit(policy)
    return [
        TriedSetting(entry, _rebuild_edits(chosen, entry, own)) for entry, own in zip(entries, features, strict=True)
    ]


def _rebuild_edits(chosen: Steering, entry: Mapping[str, Any], features: Sequence[Feature]) -> tuple[Steering, ...]:
    plain = dataclasses.replace(chosen, mode="add", feature=None, strength=1.0)
    if "displacements" in entry:  # an added vector as long as the change that was measured
        return tuple(
            dataclasses.replace(plain, layer=layer, unit=length, positions=positions)
            for layer, length, positions in entry["displacements"]
        )
    if "together" in entry:
        return tuple(
            dataclasses.replace(plain, layer=layer, strength=strength, unit=absolute / strength, positions=positions)
            for layer, strength, absolute, positions in entry["together"]
        )
    strength = entry["strength"]
    edit = dataclasses.replace(
        chosen,
        layer=entry["layer"],
        strength=strength / max(1, len(features)),
        mode=entry.get("mode", chosen.mode),
        positions=entry.get("positions", chosen.positions),
        unit=entry["absolute"] / strength if strength else chosen.unit,
        feature=None,
    )
    if not features:
        return (edit,)
    return tuple(dataclasses.replace(edit, direction=feature.direction, feature=feature) for feature in features)


def _get_plain_edit(policy: Policy) -> Steering:
    """The first edit; for a function's, an added vector that only its layer and length are replaced of."""
    from elicit.steering import FunctionEdit, Steering

    first = policy.steering[0]
    if not isinstance(first, FunctionEdit):
        return policy.edits[0]
    import torch

    return Steering(torch.ones(first.d_model), first.layer, 1.0, "add", first.positions)


def repeat_search(
    task: Task,
    parent: Policy,
    settings: Sequence[TriedSetting],
    edits: Sequence[tuple[Steering, ...]],
    notes: Sequence[Mapping[str, Any]] | None = None,
) -> Policy:
    """Choose among other edits as the parent chose among its own; of equals the first is taken.

    Args:
        edits: the edits of every setting.
        notes: what the record says about them, in addition to the setting.
    """
    from elicit.fitting.selection import Candidate, select_candidate

    extra: Sequence[Mapping[str, Any]] = notes or [{}] * len(settings)
    candidates = [
        Candidate(
            dataclasses.replace(parent, steering=own, record={}),
            {**{key: setting.entry[key] for key in _KEPT if key in setting.entry}, **note},
        )
        for setting, own, note in zip(settings, edits, extra, strict=True)
    ]
    chosen_on = parent.record["chosen_on"]
    selection = select_candidate(candidates, task, chosen_on["n"], by=chosen_on["by"], ties=())
    chosen = candidates[selection.best].policy
    record = {
        "steering": [str(edit) for edit in chosen.steering],
        **selection.record,
        "dose_response": selection.entries,
    }
    return dataclasses.replace(chosen, record=record)
