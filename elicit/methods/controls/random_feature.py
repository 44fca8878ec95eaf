"""`random_feature`: control of `sae_steering`. Random features of the same SAE, matched in density and norm.

Each boosted feature of the parent is replaced by another live one, drawn from those nearest in firing density (on train
problems, worked and direct) and decoder norm; mode, layer, positions and absolute strength are the parent's. A TopK SAE
can spend several latents on one direction, and another latent of the same direction would not be a control. Features
whose decoder row has a cosine of 0.5 or more with a boosted one are therefore left out; the record has their number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from saes import SAE, Feature


#: Cosine from which two decoder rows count as one direction.
SAME_DIRECTION_COSINE = 0.5


@dataclass(frozen=True)
class RandomFeature(Method):
    """Matched random features in place of a parent arm's; each seed draws different ones."""

    parent: str = "sae_steering"
    """The arm that this controls."""
    problems: int = 256
    """Train problems over whose texts densities are measured."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        provides=("direction", "feature"),
        fits_on=("feature",),
        label="a random feature of matched density and norm",
        changes="direction",
        substitute="as many matched random features instead",
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        import saes
        from elicit.fitting.sae_lookup import feature_record, load_parent_features, measure_firing_densities

        task.problems("train", self.problems)  # checked before the parent is fitted
        parent = needs[self.parent]
        boosted = load_parent_features("random_feature", self.parent, parent)
        edits, feature_records = [], []
        excluded_by_sae: dict[str, set[int]] = {
            feature.sae.name: find_same_direction_features(feature.sae, boosted) for feature in boosted
        }
        firing = {
            feature.sae.name: measure_firing_densities(base, feature.sae, task, self.problems) for feature in boosted
        }
        for edit, feature in zip(parent.edits, boosted, strict=True):
            excluded = excluded_by_sae[feature.sae.name]
            matched = saes.matched_features(
                firing[feature.sae.name], feature.sae, feature.index, 1, seed=seed, exclude=excluded
            )
            other = feature.sae.feature(matched.features[0])
            feature_records.append(
                {
                    **feature_record(other),
                    "of": feature.label,
                    "density": matched.densities[0],
                    "density_of": matched.density,
                    "matched_within_factor": matched.caliper,
                    "candidates": matched.candidates,
                    "left_out": len(excluded),
                }
            )
            excluded.update(matched.features)
            edits.append(
                dataclasses.replace(
                    edit, direction=other.direction, label=f"random feature {other.label}#{seed}", feature=other
                )
            )
        record = {"steering": [str(edit) for edit in edits], "features": feature_records}
        return dataclasses.replace(needs[self.parent], steering=tuple(edits), record=record)


def find_same_direction_features(sae: SAE, boosted: Sequence[Feature]) -> set[int]:
    """Find features of `sae` whose decoder rows point in the direction of one of its boosted features."""
    rows = sae.directions / sae.directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
    indices: set[int] = set()
    for feature in boosted:
        if feature.sae.name == sae.name:
            indices.update((rows @ feature.direction >= SAME_DIRECTION_COSINE).nonzero()[:, 0].tolist())
    return indices
