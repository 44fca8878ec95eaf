"""`clamp_feature`: sufficiency. The plain prompt with the parent's feature at the value it has under the cue.

    h <- h + (c - f_i |D_i|) D_i / |D_i|        c = times * the median of f_i |D_i| under the cue

The boost of `sae_steering` may be many times larger than any activation the model itself produces. Here the feature is
set to its median activation under the cue, at the last prompt token. Is its natural value enough? A mode carried by
several features may need all of them (`top`). A feature that is silent under the cue on most problems is clamped to 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positions, check_positive
from elicit.method import Method, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class ClampFeature(Method):
    """A parent's features at their cued value, in the plain prompt."""

    parent: str = "sae_steering"
    """The arm whose features are clamped."""
    top: int = 0
    """0: the features that the parent boosts. n: the n best-scored candidates of an SAE together."""
    layers: Literal["own", "all"] = "own"
    """With top: the candidates of the parent's own SAE, or of every SAE it scored."""
    times: float = 1.0
    """The value, as a multiple of the feature's median activation under the cue."""
    positions: str = "first"
    """Positions of the clamp."""

    traits: ClassVar[Traits] = Traits(
        provides=("direction", "feature", "cued feature"),
        fits_on=("cued feature",),
        evidence="sufficiency",
    )

    def __post_init__(self) -> None:
        check_positions("clamp_feature", self.positions)
        check_positive("clamp_feature", times=self.times, top=self.top + 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for an SAE that normalises by token: its features have no fixed value."""
        from elicit.fitting.sae_lookup import feature_record, load_recorded_features
        from elicit.policy import Policy
        from elicit.steering import feature_edit

        recorded_features = load_recorded_features(
            "clamp_feature", self.parent, needs[self.parent], top=self.top, layers=self.layers
        )
        if any(entry["cued_coefficient"] is None for _, entry in recorded_features):
            raise ElicitError(
                f"clamp_feature: the features of {self.parent!r} have no value under the cue: their SAE normalises by "
                "token, or the task has no eliciting condition. Use mode add."
            )
        edits = tuple(
            feature_edit(feature, self.times, unit=entry["cued_coefficient"], mode="clamp", positions=self.positions)
            for feature, entry in recorded_features
        )
        record = {
            "steering": [str(edit) for edit in edits],
            "features": [
                {**feature_record(clamped_feature), "cued_coefficient": entry["cued_coefficient"]}
                for clamped_feature, entry in recorded_features
            ],
        }
        return Policy(base, task_decoding(task), steering=edits, record=record)
