"""`twin_feature`: the nearest feature of an SAE trained with another seed. Does it have the same effect?

    j = argmax_j cos(D_i, D'_j)

The parent's feature is replaced by the feature of a second SAE of the same layer whose decoder row is nearest to it
(cosine). Mode, positions and absolute strength are the parent's. A feature that a second SAE does not find is a
property of one dictionary rather than of the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class TwinFeature(Method):
    """The nearest feature of a second SAE."""

    parent: str = "sae_steering"
    """The arm whose features are looked up."""
    other: str = "{sae}-s1"
    """The second SAE by name or folder: {sae} stands for the parent's SAE, {model} and {layer} for the model and layer.
    """

    traits: ClassVar[Traits] = Traits(
        provides=("direction", "feature"),
        fits_on=("feature",),
        evidence="replication",
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if there is no second SAE, or if it is one of another layer."""
        import numpy as np

        import saes
        from elicit.fitting.sae_lookup import check_sae_match, feature_record, load_parent_features

        texts = [problem.prompt + (task.worked(problem) or "") for problem in task.problems("train", 64)]
        if "{sae}" not in self.other and "{layer}" not in self.other:  # checked before the parent is fitted
            check_sae_match(base, saes.load(self.other.replace("{model}", base.name), device=str(base.device)), texts)
        parent = needs[self.parent]
        edits, feature_records = [], []
        for edit, feature in zip(parent.edits, load_parent_features("twin_feature", self.parent, parent), strict=True):
            name = self.other.replace("{sae}", feature.sae.name).replace("{model}", base.name)
            other = saes.load(name.replace("{layer}", str(feature.sae.layer)), device=str(base.device))
            check_sae_match(base, other, texts)
            if other.layer != feature.sae.layer:
                raise ElicitError(
                    f"twin_feature: {other.name} reads layer {other.layer}, but {feature.label} is of layer "
                    f"{feature.sae.layer}. Name a second SAE of that layer in `other`."
                )
            twin = saes.twin(feature, other)
            feature_records.append(
                {
                    **feature_record(twin.feature),
                    "of": feature.label,
                    "cosine": twin.cosine,
                    "median_cosine_of_all": float(np.median(twin.typical)),
                    "share_of_features_with_a_smaller_one": twin.share_below,
                }
            )
            edits.append(
                dataclasses.replace(
                    edit, direction=twin.feature.direction, label=f"twin {twin.feature.label}", feature=twin.feature
                )
            )
        record = {"steering": [str(edit) for edit in edits], "features": feature_records}
        return dataclasses.replace(needs[self.parent], steering=tuple(edits), record=record)
