"""`covariance_vector`: a control of a steering arm. A random direction drawn as the model's own residuals vary.

An isotropic random vector points mostly where residuals never go, and may do nothing for that reason alone. This one is
drawn from N(0, Sigma), Sigma being the covariance of the layer's residuals over train problems, and scaled to the
parent's absolute strength.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.methods.options import check_steers

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class CovarianceVector:
    """A norm-matched random direction from the residuals' own covariance."""

    parent: str = "sae_steering"
    """The steering arm this is the control of."""
    problems: int = 256
    """Train problems whose texts give the covariance."""

    seeded: ClassVar[bool] = True
    trained: ClassVar[bool] = False
    ceiling: ClassVar[str | None] = None

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy]) -> Policy:
        import saes
        from elicit import seeds
        from elicit.methods.dictionaries import train_sequences

        check_steers("covariance_vector", self.parent, needs[self.parent])
        edits = []
        for i, edit in enumerate(needs[self.parent].steering):
            harvests = saes.stream(base.hf, edit.layer, train_sequences(base, task, self.problems))
            sigma = saes.covariance(harvest.h for harvest in harvests)
            direction = saes.covariance_vector(sigma, seed=seeds.key(seed, i), is_covariance=True)
            edits.append(dataclasses.replace(edit, direction=direction, label=f"covariance#{seed}", feature=None))
        return dataclasses.replace(
            needs[self.parent], steering=tuple(edits), record={"steering": [str(e) for e in edits]}
        )
