"""`searched_random_feature`: control of `sae_steering`. Random features, given the parent's own search.

`random_feature` is one draw at the setting that the parent chose among many: chance has had a single try. Here every
feature that the parent tried is replaced by a random live one of the same SAE, matched in firing density and decoder
norm, and all of the parent's settings are tried with it: the same layers, strengths, positions and modes, on the same
select problems, chosen by the same rule, and the tokens of the search are counted. What is left out is the parent's
score between the two conditions. Features that the parent tried itself are not drawn; others of a similar direction may
be, as a search by chance would meet them too. Each seed draws others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.fitting.searched_settings import TriedSetting
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from saes import Feature


@dataclass(frozen=True)
class SearchedRandomFeature(Method):
    """The best of as many random features as the parent tried."""

    parent: str = "sae_steering"
    """The arm whose search is repeated."""
    problems: int = 256
    """Train problems over whose texts densities are measured."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        provides=("direction", "feature"),
        fits_on=("feature",),
        label="random features given the same search",
        changes="direction",
        repeats_search=True,
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the parent did not search among features, or too few others are alive."""
        from elicit.fitting.sae_lookup import feature_record, load_parent_features
        from elicit.fitting.searched_settings import read_tried_settings, repeat_search

        task.problems("train", self.problems)  # checked before the parent is fitted
        parent = needs[self.parent]
        load_parent_features("searched_random_feature", self.parent, parent)
        settings = read_tried_settings("searched_random_feature", self.parent, parent)
        drawn = _draw_features(base, task, settings, self.problems, seed)
        edits, notes = [], []
        for setting in settings:
            others = [drawn[edit.feature.label] for edit in setting.edits if edit.feature is not None]
            edits.append(
                tuple(
                    dataclasses.replace(
                        edit, direction=other.direction, label=f"random feature {other.label}#{seed}", feature=other
                    )
                    for edit, other in zip(setting.edits, others, strict=True)
                )
            )
            notes.append({"sae": setting.entry["sae"], "features": [other.index for other in others]})
        policy = repeat_search(task, parent, settings, edits, notes)
        replaced = {other.label: label for label, other in drawn.items()}
        chosen = [edit.feature for edit in policy.edits if edit.feature is not None]
        features = [{**feature_record(other), "of": replaced[other.label]} for other in chosen]
        return dataclasses.replace(policy, record={**policy.record, "features": features})


def _draw_features(
    base: BaseModel, task: Task, settings: Sequence[TriedSetting], problems: int, seed: int
) -> dict[str, Feature]:
    """Label of each feature that the parent tried -> a matched random one, none of them twice."""
    import saes
    from elicit.fitting.sae_lookup import measure_firing_densities

    tried = {edit.feature.label: edit.feature for setting in settings for edit in setting.edits if edit.feature}
    densities: dict[str, Any] = {}
    taken: dict[str, set[int]] = {}
    for feature in tried.values():
        taken.setdefault(feature.sae.name, set()).add(feature.index)
    drawn = {}
    for label, feature in tried.items():
        sae = feature.sae
        if sae.name not in densities:
            densities[sae.name] = measure_firing_densities(base, sae, task, problems)
        matched = saes.matched_features(densities[sae.name], sae, feature.index, 1, seed=seed, exclude=taken[sae.name])
        drawn[label] = sae.feature(matched.features[0])
        taken[sae.name].update(matched.features)
    return drawn
