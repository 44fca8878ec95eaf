"""`covariance_vector`: control of a steering arm. A random direction with the covariance of the residuals.

An isotropic random vector points mostly in directions in which residuals never vary, and may be inert for that reason
alone. This one is drawn from N(0, Sigma), where Sigma is the covariance of the layer's residuals over train problems,
and is as long as the parent's edit (`fitting.displacement`).
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

    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class CovarianceVector(Method):
    """A norm-matched random direction from the residuals' covariance."""

    parent: str = "sae_steering"
    """The steering arm that this controls."""
    problems: int = 256
    """Train problems over whose texts the covariance is estimated."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        provides=("direction",),
        fits_on=("direction",),
        label="a random vector from the residuals' covariance",
        changes="direction",
        substitute="a vector of the same length from the residuals' covariance",
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        import saes
        from elicit import seeds
        from elicit.fitting.displacement import redirect_edits
        from elicit.fitting.sae_lookup import encode_train_sequences

        sequences = encode_train_sequences(base, task, self.problems)  # checked before the parent is fitted
        check_steers("covariance_vector", self.parent, needs[self.parent])

        def draw_direction(i: int, layer: int) -> torch.Tensor:
            sigma = saes.covariance(harvest.h for harvest in saes.stream(base.hf, layer, sequences))
            return saes.covariance_vector(sigma, seed=seeds.derive_key(seed, i), is_covariance=True)

        edits = redirect_edits(base, task, needs[self.parent], draw_direction, f"covariance#{seed}")
        return dataclasses.replace(needs[self.parent], steering=edits, record={"steering": [str(e) for e in edits]})
