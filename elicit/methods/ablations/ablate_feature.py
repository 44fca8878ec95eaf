"""`ablate_feature`: necessity. The eliciting condition with the parent's feature ablated.

    h <- h - f_i D_i

That is done under the cue (or the forced opening) at `positions`; everything else is kept. Does the ability disappear?
Where one feature is redundant, `top` ablates the best-scored features together, of one SAE or of all. Compare it with
`cue_prompt`: name it `cue_prompt/...`, and vs_parent in the summary is the loss. Its own control is `random_feature`
with this arm as parent: the same number of matched features, ablated the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.fitting.option_checks import check_positions, check_positive
from elicit.method import Method, Traits, get_eliciting_condition, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class AblateFeature(Method):
    """A parent's features, ablated under the cue."""

    parent: str = "sae_steering"
    """The arm whose features are ablated."""
    top: int = 0
    """0: the features that the parent boosts. n: the n best-scored candidates of an SAE together."""
    layers: Literal["own", "all"] = "own"
    """With top: the candidates of the parent's own SAE, or of every SAE it scored."""
    positions: str = "first"
    """Positions of the ablation: by default only the parent's, the last prompt token."""
    condition: Literal["auto", "cue", "forced", "plain"] = "auto"
    """Condition of the prompt; auto is the one that `cue_prompt` uses."""

    traits: ClassVar[Traits] = Traits(
        provides=("direction", "feature"),
        fits_on=("feature",),
        evidence="necessity",
        removal="Taking {} out",
    )

    def __post_init__(self) -> None:
        check_positions("ablate_feature", self.positions)
        check_positive("ablate_feature", top=self.top + 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit.fitting.sae_lookup import feature_record, load_recorded_features
        from elicit.policy import Policy, Prompting
        from elicit.steering import feature_edit

        recorded_features = load_recorded_features(
            "ablate_feature", self.parent, needs[self.parent], top=self.top, layers=self.layers
        )
        features = [recorded.feature for recorded in recorded_features]
        edits = tuple(
            feature_edit(feature, 1.0, unit=1.0, mode="ablate", positions=self.positions) for feature in features
        )
        prompting = Prompting(get_eliciting_condition(base) if self.condition == "auto" else self.condition)
        record = {
            "steering": [str(edit) for edit in edits],
            "features": [feature_record(feature) for feature in features],
        }
        return Policy(base, task_decoding(task), prompting, edits, record=record)
