"""`untrained_vector`: the directions from which an `rl_steering` arm starts, at the lengths that training gave them.

Start, layers, positions and seed are the parent's own; only the directions have not been trained. At its own length a
start from noise is a twentieth of a residual norm and moves nothing, so it could not fail as a control (`rl_steering`
with `steps: 0` is that policy). More draws of noise at the trained lengths: `random_vector` with `draw: 1, 2, ...`.
"""

from __future__ import annotations

import dataclasses
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
    """The starting vectors of a parent arm, as long as its trained ones."""

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

        trained = needs[self.parent]
        recipe_record = trained.record.get("recipe")
        if recipe_record is None:
            raise ElicitError(
                f"untrained_vector: its parent {self.parent!r} is not an rl_steering arm; name one that is."
            )
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in recipe_record["options"].items()
        }
        config = VectorTrainingConfig(**options)
        start = initialise_vectors(config, base, task, recipe_record["seed"])
        steering = tuple(
            dataclasses.replace(edit, strength=own.strength)
            for edit, own in zip(
                build_steering_edits(start, start.vectors, config.positions), trained.edits, strict=True
            )
        )
        record = {"steering": [str(edit) for edit in steering]}
        return Policy(base, task_decoding(task), steering=steering, record=record)
