"""`error_vector`: control of `sae_steering`. The part of the contrast that the SAE does not explain.

    v = mean(h - SAE(h) | cue) - mean(h - SAE(h) | plain)

The mean reconstruction error under the cue minus that under the plain prompt, at the last prompt token of train
problems, scaled to the parent's absolute strength. If it changes accuracy as much as the feature, the SAE's features do
not carry the mode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.contrast_pairs import ContrastKind, check_contrast_templates
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class ErrorVector(Method):
    """The contrast of the SAE's error in place of a parent's feature."""

    parent: str = "sae_steering"
    """The arm that this controls."""
    contrast: ContrastKind = "auto"
    """The parent's two conditions."""
    positive: str | None = None
    """Template of the positive condition (`templates` only), with {prompt}."""
    negative: str = "{prompt}"
    """Template of the negative condition (`templates` only)."""
    problems: int = 128
    """Train problems over which the means are taken."""

    traits: ClassVar[Traits] = Traits(
        provides=("direction",),
        fits_on=("feature",),
        label="the SAE's unexplained part of the contrast",
    )

    def __post_init__(self) -> None:
        check_contrast_templates("error_vector", self.contrast, self.positive, self.negative)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        import saes
        from elicit.fitting.contrast_pairs import encode_conditions
        from elicit.fitting.sae_lookup import load_parent_features
        from elicit.steering.residuals import residuals_at

        pair = encode_conditions(
            self.contrast, base, task, task.problems("train", self.problems), self.positive, self.negative
        )
        parent = needs[self.parent]
        sae = load_parent_features("error_vector", self.parent, parent)[0].sae
        positive, negative = (
            residuals_at(base.hf, base.layers, ids, [len(sequence) - 1 for sequence in ids])[sae.layer] for ids in pair
        )
        direction = saes.error_direction(sae, positive, negative)
        # One vector carries the whole strength, however many features the parent boosts.
        total_strength = sum(edit.strength for edit in parent.edits)
        first = parent.edits[0]
        edit = dataclasses.replace(
            first, direction=direction, strength=total_strength, label=f"error of {sae.name}", feature=None
        )
        return dataclasses.replace(needs[self.parent], steering=(edit,), record={"steering": [str(edit)]})
