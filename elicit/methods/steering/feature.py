"""`feature`: SAE features by number.

They were found elsewhere, in a dashboard or on Neuronpedia: nothing is discovered here.

    add     h <- h + strength * unit * D_i / |D_i|          unit: the layer's median residual norm
    clamp   h <- h + (c - f_i |D_i|) D_i / |D_i|            c = strength * the positive condition's median f_i |D_i|
    scale   h <- h + (strength - 1) f_i D_i
    ablate  h <- h - f_i D_i

A coefficient is raw, as SAELens and Neuronpedia count: a multiple of the decoder row (add), the activation (clamp).
Several features are steered together; an added strength is then divided between them. Several strengths or
coefficients are tried on the select split: the highest accuracy wins; among equals the smaller strength (`ties`). With
one nothing is chosen. The test split is not touched.

Controls and evidence are those of `sae_steering`, except `mean_ablation`, which needs a ranking of all features:
`random_feature`, `random_vector`, `covariance_vector`, `error_vector`, `same_vector`, and where strengths were tried
`searched_random_feature` and `searched_random_vector`; `feature_sweep`, `twin_feature`, `ablate_feature`, and
`clamp_feature` where the task has a positive condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.contrast_pairs import ContrastKind, check_contrast_templates
from elicit.fitting.dose_options import check_doses, count_doses
from elicit.fitting.option_checks import check_positions, check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from jaxtyping import Float

    from elicit.fitting.selection import Dose
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import Steering
    from elicit.tasks import Problem, Task
    from saes import SAE, Feature

#: Strengths that are tried where none is given, as by sae_steering.
DEFAULT_STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class FeatureSteering(Method):
    """SAE features named by number."""

    sae: str
    """The SAE: a shipped name, a folder, or RELEASE:ID; `{model}` stands for the model's name."""
    features: tuple[int, ...]
    """Numbers of the features, steered together."""
    strength: float | None = None
    """Strength: median residual norms of the layer (add), median activations of the positive condition (clamp), the
    factor (scale)."""
    strengths: tuple[float, ...] | None = None
    """Strengths to try instead. If no dose is given at all: 0.5, 1, 1.5, 2 and 3."""
    coefficient: float | None = None
    """Raw coefficient instead: a multiple of the decoder row (add), the activation (clamp)."""
    coefficients: tuple[float, ...] | None = None
    """Raw coefficients to try instead."""
    positions: str = "first"
    """Positions of the edit."""
    mode: Literal["add", "clamp", "scale", "ablate"] = "add"
    """What is done with the features."""
    ties: Literal["smallest", "largest"] = "smallest"
    """Strength that is taken among those that do equally well on select."""
    contrast: ContrastKind = "auto"
    """The positive one of these two conditions is where an activation is natural (clamp, and child `clamp_feature`)."""
    positive: str | None = None
    """Template of the positive condition (`templates` only), with {prompt}."""
    train_problems: int = 128
    """Problems over which norms and activations are measured."""
    select_problems: int = 64
    """Problems on which the dose is chosen, where several are tried."""
    transfer: bool = False
    """Allow an SAE of other known weights (a base model's SAE on a tuned model)."""

    traits: ClassVar[Traits] = Traits(family="steering", provides=("direction", "feature", "cued feature"))

    def __post_init__(self) -> None:
        if not self.features or not self.sae:
            raise ElicitError("feature: sae and features are needed, such as sae: cued/L1, features: [411].")
        if len(set(self.features)) < len(self.features):
            raise ElicitError(f"feature: features is {list(self.features)}; name each once.")
        check_positions("feature", self.positions)
        check_positive("feature", train_problems=self.train_problems, select_problems=self.select_problems)
        check_doses("feature", self.strength, self.strengths, self.coefficient, self.coefficients)
        check_contrast_templates("feature", self.contrast, self.positive, "{prompt}")
        if self.mode == "ablate" and count_doses(self):
            raise ElicitError("feature: mode ablate takes the features out; leave strength and coefficient out.")
        if self.mode == "scale" and (self.coefficient is not None or self.coefficients is not None):
            raise ElicitError("feature: mode scale has a factor. Type it as strength.")

    @property
    def _trials(self) -> int:
        """Number of settings to try."""
        return 1 if self.mode == "ablate" else count_doses(self) or len(DEFAULT_STRENGTHS)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        trials = self._trials * self.select_problems
        fitting = Generation(trials, lengths.mixed_answer, trials, lengths.prompt, self.select_problems)
        return CostEstimate(
            Generation(1, lengths.mixed_answer, 1, lengths.prompt),
            (fitting,) if self._trials > 1 else (),
            read_tokens=self.train_problems * 2 * (lengths.prompt + lengths.thinking),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for an SAE of other weights, a feature it does not have, or a clamp without a value."""
        from elicit.fitting.sae_lookup import check_saes, feature_record, load_saes, median_coefficient
        from elicit.fitting.steering_choice import choose_edits
        from elicit.schema import finite_or_none

        train = task.problems("train", self.train_problems)
        if self._trials > 1:
            task.problems("select", self.select_problems)  # their number is checked before anything is measured
        texts = [problem.prompt + (task.worked(problem) or "") for problem in train]
        loaded = load_saes(base, (self.sae,))
        chosen = [loaded[0].feature(index) for index in self.features]
        (sae,), matches = check_saes(base, loaded, texts, transfer=self.transfer)
        cued = self._read_positive_residuals(base, task, train, sae)
        norms = base.residual_norms_of(texts)
        natural = [float("nan") if cued is None else median_coefficient(feature, cued) for feature in chosen]
        notes = {"sae": sae.name, "features": list(self.features)}
        settings = [
            (
                self._build_edits(chosen, dose, norms.medians[sae.layer], natural),
                {**notes, **({} if dose is None else dose.notes)},
            )
            for dose in self._list_doses()
        ]
        record: dict[str, Any] = {
            "features": [
                {**feature_record(feature), "cued_coefficient": finite_or_none(value)}
                for feature, value in zip(chosen, natural, strict=True)
            ],
            "saes": {name: match._asdict() for name, match in matches.items()},
            "residual_norms": {
                "medians": list(norms.medians),
                "tokens": norms.tokens,
                "text_sha256": norms.text_sha256,
            },
        }
        return choose_edits(
            base,
            task,
            settings,
            n=self.select_problems,
            ties=self.ties,
            dose="strength" if self.coefficients is None else "coefficient",
            record=record,
        )

    def _list_doses(self) -> list[Dose | None]:
        from elicit.fitting.dose_options import list_given_doses
        from elicit.fitting.selection import Dose

        if self.mode == "ablate":
            return [None]
        return list(list_given_doses(self)) or [Dose(value, False) for value in DEFAULT_STRENGTHS]

    def _read_positive_residuals(
        self, base: BaseModel, task: Task, train: Sequence[Problem], sae: SAE
    ) -> Float[torch.Tensor, "problem d_model"] | None:
        """Residuals of the positive condition, at its last token; None for a task that has no such condition."""
        from elicit.fitting.contrast_pairs import encode_conditions
        from elicit.steering.residuals import residuals_at

        try:
            pair = encode_conditions(self.contrast, base, task, train, self.positive, "{prompt}")
        except ElicitError:
            if self.contrast != "auto":
                raise
            return None
        return residuals_at(base.hf, base.layers, pair.positive, [len(ids) - 1 for ids in pair.positive])[sae.layer]

    def _build_edits(
        self, chosen: Sequence[Feature], dose: Dose | None, norm: float, natural: Sequence[float]
    ) -> tuple[Steering, ...]:
        from elicit.steering import feature_edit

        edits = []
        for feature, value in zip(chosen, natural, strict=True):
            if dose is None or self.mode in ("scale", "ablate"):
                strength, unit = (1.0 if dose is None else dose.value), 1.0
            elif self.mode == "clamp" and dose.is_coefficient:
                strength, unit = dose.value, feature.norm
            elif self.mode == "clamp":
                if not value > 0:
                    raise ElicitError(
                        f"feature: {feature.label} is not active in the positive condition on most problems, so a "
                        "strength has no unit. Type coefficient: the activation it is clamped to."
                    )
                strength, unit = dose.value, value
            else:
                strength, unit = dose.to_strength(feature.norm, norm) / len(chosen), norm
            edits.append(feature_edit(feature, strength, unit=unit, mode=self.mode, positions=self.positions))
        return tuple(edits)
