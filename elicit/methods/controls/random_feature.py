"""`random_feature`: the control of `sae_steering`. Random features of the same SAE, matched in density and norm.

Each boosted feature of the parent is replaced by another live one, drawn from those nearest in firing density (on train
problems, worked and direct) and decoder norm; mode, layer, positions and absolute strength are the parent's. A TopK SAE
can spend several latents on one direction, and another number for the same direction is no control of it: features
whose decoder row has a cosine of 0.5 or more with a boosted one are left out, and how many is in the record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.method import BOOSTING, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from saes import SAE, Feature


#: Cosine from which two decoder rows count as one direction.
SAME = 0.5


@dataclass(frozen=True)
class RandomFeature:
    """Matched random features in the place of a parent arm's. Every seed draws others."""

    parent: str = "sae_steering"
    """The arm this is the control of."""
    problems: int = 256
    """Train problems whose texts give the densities."""

    traits: ClassVar[Traits] = Traits(seeded=True, fits_on=BOOSTING)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        import saes
        from elicit.fitting.sae_lookup import densities, feature_record, parent_features

        task.problems("train", self.problems)  # too few are refused before the arm it needs
        parent = needs[self.parent]
        boosted = parent_features("random_feature", self.parent, parent)
        edits, drawn = [], []
        taken: dict[str, set[int]] = {feature.sae.name: same_direction(feature.sae, boosted) for feature in boosted}
        firing = {feature.sae.name: densities(base, feature.sae, task, self.problems) for feature in boosted}
        for edit, feature in zip(parent.edits, boosted, strict=True):
            own = taken[feature.sae.name]
            matched = saes.matched_features(
                firing[feature.sae.name], feature.sae, feature.index, 1, seed=seed, exclude=own
            )
            other = feature.sae.feature(matched.features[0])
            drawn.append(
                {
                    **feature_record(other),
                    "of": feature.label,
                    "density": matched.densities[0],
                    "density_of": matched.density,
                    "matched_within_factor": matched.caliper,
                    "candidates": matched.candidates,
                    "left_out": len(own),
                }
            )
            own.update(matched.features)
            edits.append(
                dataclasses.replace(
                    edit, direction=other.direction, label=f"random feature {other.label}#{seed}", feature=other
                )
            )
        record = {"steering": [str(edit) for edit in edits], "features": drawn}
        return dataclasses.replace(needs[self.parent], steering=tuple(edits), record=record)


def same_direction(sae: SAE, boosted: Sequence[Feature]) -> set[int]:
    """Features of `sae` whose decoder rows point where one of the boosted features of the same SAE does."""
    rows = sae.directions / sae.directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
    found: set[int] = set()
    for feature in boosted:
        if feature.sae.name == sae.name:
            found.update((rows @ feature.direction >= SAME).nonzero()[:, 0].tolist())
    return found
