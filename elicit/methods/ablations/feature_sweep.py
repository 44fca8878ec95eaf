"""`feature_sweep`: every live feature of the SAE at the parent's setting. How many do as well as the parent's?

The parent's feature is replaced by each other live feature in turn; mode, layer, positions and absolute strength stay.
All of them answer the same select problems as the parent's feature does, so that its rank is known among all features
and not among a few draws, and without a rule for which features are too similar to count. The arm itself boosts the
best of the others, whose cosine with the parent's feature is recorded: in a TopK SAE it is often another latent of the
same direction.

Cost: one batch of `problems` answers for each feature, counted as tuning. Of more live features than `features`, so
many are drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from saes import SAE


@dataclass(frozen=True)
class FeatureSweep(Method):
    """The best of all other live features, and the rank of the parent's among them."""

    parent: str = "sae_steering"
    """The arm whose feature is ranked."""
    problems: int = 16
    """Select problems that every feature answers."""
    features: int = 1024
    """Live features that are tried at most."""
    train_problems: int = 256
    """Train problems on whose texts a feature must fire to count as live."""

    traits: ClassVar[Traits] = Traits(
        provides=("direction", "feature"),
        fits_on=("feature",),
        label="the best of the other live features",
        evidence="rank",
    )

    def __post_init__(self) -> None:
        check_positive(
            "feature_sweep", problems=self.problems, features=self.features, train_problems=self.train_problems
        )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """The cost if as many features are live as are tried at most."""
        answers = (self.features + 1) * self.problems
        fitting = Generation(answers, lengths.mixed_answer, answers, lengths.prompt, self.problems)
        return CostEstimate(Generation(1, lengths.mixed_answer, 1, lengths.prompt), (fitting,))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the parent boosts no feature, or several together, or no other is live."""
        from elicit.fitting.sae_lookup import feature_record, load_parent_features
        from elicit.fitting.selection import Candidate, evaluate_candidate, select_candidate
        from elicit.statistics import wilson_interval

        task.problems("train", self.train_problems)  # checked before the parent is fitted
        problems = task.problems("select", self.problems)
        parent = needs[self.parent]
        boosted = load_parent_features("feature_sweep", self.parent, parent)
        if len(boosted) != 1:
            raise ElicitError(
                f"feature_sweep: its parent {self.parent!r} boosts {len(boosted)} features; expected one."
            )
        (feature,), (edit,) = boosted, parent.edits
        live = self._list_live_features(base, task, feature.sae, feature.index, seed)
        others = [feature.sae.feature(index) for index in live]
        edits = [
            dataclasses.replace(edit, direction=other.direction, label=f"feature {other.label}", feature=other)
            for other in others
        ]
        candidates = [
            Candidate(dataclasses.replace(parent, steering=(other,), record={}), {"feature": index})
            for other, index in zip(edits, live, strict=True)
        ]
        own = evaluate_candidate(Candidate(parent, {"feature": feature.index}), task, problems)
        selection = select_candidate(candidates, task, self.problems, ties=())
        best, figures = others[selection.best], selection.entries
        as_good = sum(entry["accuracy"] >= own.entry["accuracy"] for entry in figures)
        share = wilson_interval(as_good, len(figures))
        tuning = selection.record["tuning"]
        record: dict[str, Any] = {
            "steering": [str(edits[selection.best])],
            "features": [
                {**feature_record(best), "of": feature.label, "cosine": float(best.direction @ feature.direction)}
            ],
            "tuning": {**tuning, "generated_tokens": tuning["generated_tokens"] + own.entry["generated_tokens"]},
            "rank": {
                "better": sum(entry["accuracy"] > own.entry["accuracy"] for entry in figures),
                "as_good": as_good,
                "share": share.to_json(),
                "problems": self.problems,
                "own": {"value": own.entry["accuracy"], "ci": own.entry["ci"], "n": own.entry["n"]},
                "best": {key: figures[selection.best][name] for key, name in _RATE.items()},
            },
            "sweep": [[index, entry["accuracy"]] for index, entry in zip(live, figures, strict=True)],
        }
        return dataclasses.replace(candidates[selection.best].policy, record=record)

    def _list_live_features(self, base: BaseModel, task: Task, sae: SAE, own: int, seed: int) -> list[int]:
        """Indices of the other live features, or of as many of them as are tried, in order."""
        from elicit import seeds
        from elicit.fitting.sae_lookup import measure_firing_densities

        density = measure_firing_densities(base, sae, task, self.train_problems)
        live = [index for index in (density > 0).nonzero()[:, 0].tolist() if index != own]
        if not live:
            raise ElicitError(f"feature_sweep: no other feature of {sae.name} is ever active on {task.name}.")
        if len(live) > self.features:
            drawn = seeds.make_generator("feature sweep", seed, sae.sha256).permutation(len(live))[: self.features]
            live = sorted(live[i] for i in drawn)
        return live


#: Key of an estimate -> key of a candidate's entry.
_RATE = {"value": "accuracy", "ci": "ci", "n": "n"}
