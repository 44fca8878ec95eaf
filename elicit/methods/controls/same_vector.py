"""`same_vector`: a steering arm's own vector at other positions or with the opposite sign.

A control of position and sign. The published effect is tied to the first generation step: the same vector at all
positions is expected to break the model, the wrong sign to have no effect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.option_checks import check_steers
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class SameVector(Method):
    """A parent arm's vector at other positions or another factor."""

    parent: str = "mean_steering"
    """The steering arm whose vector is used."""
    positions: str = "all"
    """Positions of the edit."""
    factor: float = 1.0
    """Factor on the parent's strength; -1 reverses the vector."""

    traits: ClassVar[Traits] = Traits(
        provides=("direction",),
        fits_on=("direction", "gated direction"),
        changes="position or sign",
    )

    def __post_init__(self) -> None:
        from elicit.fitting.option_checks import check_positions

        check_positions("same_vector", self.positions)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        check_steers("same_vector", self.parent, needs[self.parent])
        edits = tuple(
            dataclasses.replace(edit, positions=self.positions, strength=edit.strength * self.factor)
            for edit in needs[self.parent].steering
        )
        return dataclasses.replace(
            needs[self.parent], steering=edits, record={"steering": [str(edit) for edit in edits]}
        )
