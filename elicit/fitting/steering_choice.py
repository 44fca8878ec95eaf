"""The policy of edits that were given: the only setting, or the best of several on select, recorded as a search is.

A control that repeats the search (`fitting.searched_settings`) reads the record: where edits act at several layers
together, an entry has each (`together`); where they read the residual, the length of the change at each layer
(`displacements`), which a random direction is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import FunctionEdit, Steering
    from elicit.tasks import Task

#: Edits that are applied together, and what an entry of the record says of them.
Setting = tuple[tuple["Steering | FunctionEdit", ...], Mapping[str, Any]]


def choose_edits(
    base: BaseModel,
    task: Task,
    settings: Sequence[Setting],
    *,
    n: int,
    ties: Literal["smallest", "largest"],
    dose: Literal["strength", "coefficient"],
    record: Mapping[str, Any],
) -> Policy:
    """Build the policy of the best setting on `n` select problems; a single one is not evaluated.

    Args:
        dose: the option that is tried, whose edge values are recorded.
        record: what the policy's record says besides.
    """
    from elicit.fitting.selection import TIES, get_steering_bounds, make_steering_candidate, select_candidate
    from elicit.method import task_decoding
    from elicit.policy import Policy

    if len(settings) == 1:
        ((edits, _),) = settings
        steering = {"steering": [str(edit) for edit in edits]}
        return Policy(base, task_decoding(task), steering=edits, record={**steering, **record})
    candidates = [
        make_steering_candidate(base, task, edits, {**_describe_edits(base, task, edits, notes), **notes})
        for edits, notes in settings
    ]
    bounds = get_steering_bounds(base, () if dose == "coefficient" else None)
    selection = select_candidate(candidates, task, n, ties=TIES[ties], bounds=bounds)
    chosen = settings[selection.best][0]
    return Policy(
        base,
        task_decoding(task),
        steering=chosen,
        record={
            "steering": [str(edit) for edit in chosen],
            **selection.record,
            "dose_response": selection.entries,
            **record,
        },
    )


def _describe_edits(
    base: BaseModel, task: Task, edits: Sequence[Steering | FunctionEdit], notes: Mapping[str, Any]
) -> dict[str, Any]:
    """What a repetition of the search has to know of edits that are not one plain vector, nor features."""
    from elicit.fitting.displacement import measure_displacements
    from elicit.method import task_decoding
    from elicit.policy import Policy

    entry: dict[str, Any] = {"mode": edits[0].mode, "positions": edits[0].positions}
    if "features" in notes:
        return entry
    if any(edit.reads for edit in edits):
        policy = Policy(base, task_decoding(task), steering=tuple(edits))
        lengths = measure_displacements(base, task, policy)
        positions = {edit.layer: edit.positions for edit in edits}
        entry["displacements"] = [[layer, lengths[layer], positions[layer]] for layer in sorted(lengths)]
    elif len(edits) > 1:
        entry["together"] = [[edit.layer, edit.strength, edit.absolute, edit.positions] for edit in edits]
    return entry
