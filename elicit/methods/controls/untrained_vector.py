"""`untrained_vector`: the starting vectors of an `rl_steering` arm, on which training has to improve.

Start, layers, positions and seed are the parent's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from elicit.errors import ElicitError
from elicit.method import Method, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class UntrainedVector(Method):
    """The starting vectors of a parent arm."""

    parent: str = "rl_steering"
    """The rl_steering arm whose start is used."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        family="rl_steering",
        provides=("direction",),
        fits_on=("trained direction",),
        is_control=True,
        label="the untrained vector it starts from",
        changes="training",
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the parent is not an rl_steering arm."""
        from elicit.fitting.vector_config import VectorTrainingConfig
        from elicit.fitting.vector_init import build_steering_edits, initialise_vectors
        from elicit.policy import Policy

        recipe_record = needs[self.parent].record.get("recipe")
        if recipe_record is None:
            raise ElicitError(
                f"untrained_vector: its parent {self.parent!r} is not an rl_steering arm; name one that is."
            )
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in recipe_record["options"].items()
        }
        config = VectorTrainingConfig(**options)
        start = initialise_vectors(config, base, task, recipe_record["seed"])
        steering = build_steering_edits(start, start.vectors, config.positions)
        record = {"steering": [str(edit) for edit in steering]}
        return Policy(base, task_decoding(task), steering=steering, record=record)
