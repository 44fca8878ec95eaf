"""`mean_ablation`: necessity. Under the cue, the features that distinguish the conditions get their uncued values.

`ablate_feature` sets features to 0, but without the cue the model is not in that state: other features are active
instead. Here, at the last prompt token, the best-scored features that the cue raises and the same number that it lowers
are clamped to their mean activation under the plain prompt, and the SAE's error is kept. If the ability disappears, the
cue works through this set of features at this position.

Compare it with `cue_prompt`: name it `cue_prompt/...`. Its control is `random_feature` with this arm as parent.
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
class MeanAblation(Method):
    """Features that the cue changes, clamped to their uncued means."""

    parent: str = "sae_steering"
    """The arm whose scored features are used."""
    top: int = 8
    """Number of features that the cue raises, and of features that it lowers."""
    layers: Literal["own", "all"] = "own"
    """Features of the SAE of the parent's first feature, or of every SAE it scored."""
    positions: str = "first"
    """Positions of the clamp."""
    condition: Literal["auto", "cue", "forced"] = "auto"
    """Condition of the prompt; auto is the one that `cue_prompt` uses."""

    traits: ClassVar[Traits] = Traits(
        provides=("direction", "feature"),
        fits_on=("feature ranking",),
        evidence="necessity",
        removal="Giving {} the values of the plain prompt",
    )

    def __post_init__(self) -> None:
        check_positions("mean_ablation", self.positions)
        check_positive("mean_ablation", top=self.top)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit.fitting.sae_lookup import feature_record, load_recorded_features
        from elicit.policy import Policy, Prompting
        from elicit.steering import feature_edit

        parent = needs[self.parent]
        raised, lowered = (
            load_recorded_features("mean_ablation", self.parent, parent, top=self.top, layers=self.layers, kind=kind)
            for kind in ("candidates", "opposed")
        )
        edits, feature_records = [], []
        for feature, entry in (*raised, *lowered):
            value = entry["train"]["mean_negative"] * feature.norm
            edits.append(feature_edit(feature, 1.0, unit=value, mode="clamp", positions=self.positions))
            feature_records.append({**feature_record(feature), "plain_coefficient": value})
        prompting = Prompting(get_eliciting_condition(base) if self.condition == "auto" else self.condition)
        record = {"steering": [str(edit) for edit in edits], "features": feature_records}
        return Policy(base, task_decoding(task), prompting, tuple(edits), record=record)
