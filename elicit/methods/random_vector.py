"""`random_vector`: the control of a steering arm. Same layer, strength, positions and mode, a random direction.

The direction is drawn isotropically and scaled to the parent's absolute strength, so the norm of the edit is matched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit import seeds
from elicit.methods.options import check_steers

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class RandomVector:
    """A norm-matched random direction in the place of a parent arm's."""

    parent: str = "mean_steering"
    """The steering arm this is the control of."""

    seeded: ClassVar[bool] = True
    trained: ClassVar[bool] = False
    ceiling: ClassVar[str | None] = None

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy]) -> Policy:
        import torch

        check_steers("random_vector", self.parent, needs[self.parent])
        edits = []
        for i, edit in enumerate(needs[self.parent].steering):
            drawn = seeds.generator("random vector", seed, i, edit.layer).standard_normal(base.d_model)
            direction = torch.from_numpy(drawn).float()
            edits.append(dataclasses.replace(edit, direction=direction, label=f"random#{seed}", feature=None))
        return dataclasses.replace(
            needs[self.parent], steering=tuple(edits), record={"steering": [str(e) for e in edits]}
        )
