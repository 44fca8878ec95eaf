"""`random_vector`: control of a steering arm. Same layer, strength, positions and mode, but a random direction.

    h <- h + d * v / |v|        v ~ N(0, I)

The direction is drawn isotropically; d is the length of the parent's edit (`fitting.displacement`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit import seeds
from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_steers
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class RandomVector(Method):
    """A norm-matched random direction in place of a parent arm's."""

    parent: str = "mean_steering"
    """The steering arm that this controls."""
    draw: int = 0
    """Index of the direction for a seed. Use several arms (draw 0, 1, 2): single random directions vary a lot."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        provides=("direction",),
        fits_on=("direction",),
        label="a random vector of the same norm",
        changes="direction",
        substitute="a random vector of the same length",
    )

    def __post_init__(self) -> None:
        if self.draw < 0:
            raise ElicitError(f"random_vector: draw is {self.draw}; expected 0, 1, 2, ...")

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        import torch

        from elicit.fitting.displacement import redirect_edits

        check_steers("random_vector", self.parent, needs[self.parent])

        draw_identity = (self.draw,) if self.draw else ()

        def draw_direction(i: int, layer: int) -> torch.Tensor:
            return torch.from_numpy(
                seeds.make_generator("random vector", seed, i, layer, *draw_identity).standard_normal(base.d_model)
            ).float()

        edits = redirect_edits(
            base, task, needs[self.parent], draw_direction, f"random#{'.'.join(map(str, (seed, *draw_identity)))}"
        )
        return dataclasses.replace(needs[self.parent], steering=edits, record={"steering": [str(e) for e in edits]})
