"""`untrained_vector`: the vectors that an arm of `rl_steering` started from, which training has to improve on.

Start, layers, positions and seed are the parent's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from elicit.errors import ElicitError
from elicit.method import Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class UntrainedVector:
    """The starting vectors of a parent arm."""

    parent: str = "rl_steering"
    """The arm of rl_steering whose start this is."""

    traits: ClassVar[Traits] = Traits(seeded=True, fits_on=("rl_steering", "rl_steering_random_reward"))

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the parent is no arm of rl_steering."""
        from elicit.fitting.vector_init import edits, starting
        from elicit.fitting.vector_training import Recipe
        from elicit.policy import Policy

        said = needs[self.parent].record.get("recipe")
        if said is None:
            raise ElicitError(f"untrained_vector: its parent {self.parent!r} is no arm of rl_steering. Name one.")
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in said["options"].items()
        }
        recipe = Recipe(**options)
        start = starting(recipe, base, task, said["seed"])
        steering = edits(start, start.vectors, recipe.positions)
        record = {"steering": [str(edit) for edit in steering]}
        return Policy(base, task_decoding(task), steering=steering, record=record)
