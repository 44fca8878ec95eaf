"""Displacement of the residual by a steering arm: the length that a random control direction must match.

An additive edit has a fixed length. The length of a clamp, a scaling or an ablation depends on the residual, and
several edits in similar directions move it further than several in different ones. For such arms the distance is
measured, and the control adds one vector of that length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import FunctionEdit, Steering
    from elicit.tasks import Task

#: Train problems on which the distance is measured.
PROBLEMS = 64


def redirect_edits(
    base: BaseModel, task: Task, parent: Policy, direction: Callable[[int, int], torch.Tensor], label: str
) -> tuple[Steering, ...]:
    """Redirect the parent's edits along other directions, keeping their lengths.

    Args:
        direction: (index of the edit, layer) -> [d_model] of any length.
    """
    if not any(edit.reads for edit in _list_measurable_edits(parent)):
        return tuple(
            dataclasses.replace(edit, direction=direction(i, edit.layer), label=label, feature=None)
            for i, edit in enumerate(parent.edits)
        )
    positions = {edit.layer: edit.positions for edit in _list_measurable_edits(parent)}
    displacements = measure_displacements(base, task, parent)
    from elicit.steering import Steering

    return tuple(
        Steering(direction(i, layer), layer, 1.0, "add", positions[layer], displacements[layer], label)
        for i, layer in enumerate(sorted(displacements))
    )


def measure_displacements(base: BaseModel, task: Task, parent: Policy) -> dict[int, float]:
    """Median length of the change by the parent's edits at each layer, at the last prompt token of train problems.

    Edits of one layer are measured together, on residuals without edits at earlier layers.
    """
    prompts = ["".join(parent.prompting.render(problem)) for problem in task.problems("train", PROBLEMS)]
    residuals = base.residuals(prompts)
    displacements = {}
    from elicit.steering import FunctionEdit

    edits = _list_measurable_edits(parent)
    for layer in {edit.layer for edit in edits}:
        before = residuals[layer]
        after = before
        for edit in edits:
            if edit.layer == layer:
                change = edit.delta(after) if isinstance(edit, FunctionEdit) else edit.delta(edit.direction, after)
                after = after + change
        displacements[layer] = float((after - before).norm(dim=1).median())
    return displacements


def _list_measurable_edits(policy: Policy) -> Sequence[Steering | FunctionEdit]:
    """A policy's edits, by a function or along a direction. Raises ElicitError for one behind a gate."""
    from elicit.steering import FunctionEdit

    functions = [edit for edit in policy.steering if isinstance(edit, FunctionEdit)]
    return functions if len(functions) == len(policy.steering) else policy.edits
