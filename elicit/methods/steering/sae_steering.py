"""`sae_steering`: boost one SAE feature at the first generation step (He et al., 2601.08058).

    h <- h + strength * unit * D_i / |D_i|

D_i is the feature's decoder row, unit the layer's median residual norm (`steering.spec`, which also has `clamp`).

1. Candidates: on train problems, features of each layer's SAE are scored between two conditions (cue prompt against
   plain prompt) at the last prompt token, and the best few are kept.
2. Feature, layer, strength, positions and mode are chosen together on the select split, by accuracy; among equals the
   smaller strength (`ties`), then the earlier layer, then the better score. Several features can be boosted together;
   the strength is then divided between them.
3. The test split is not touched.

The paper ranks by the contrast of means and boosts a single feature. Deviations: the last layer is left out by default,
because no block reads a vector added after the last one (it is a constant bias on the logits); strength is measured in
median residual norms of the layer.

Its controls: `searched_random_feature` and `searched_random_vector` (the same search), `random_feature`,
`random_vector`, `covariance_vector`, `error_vector` and `same_vector` (all positions, wrong sign). Its evidence:
`feature_sweep` (its rank among all live features), `twin_feature` (another SAE seed), `ablate_feature` and
`mean_ablation` (necessity), and `clamp_feature` (sufficiency).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError, unknown_name_error
from elicit.fitting.contrast_pairs import ContrastKind, check_contrast_templates, resolve_contrast
from elicit.fitting.option_checks import check_positions, check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding
from elicit.plugins import parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import torch
    from jaxtyping import Float

    from elicit.fitting.contrast_pairs import ConditionTokens
    from elicit.fitting.selection import Candidate
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from saes import SAE, Feature


#: Scorers of `saes.discover` that need nothing but the two conditions.
SCORERS = ("contrast", "auroc", "attribution", "patching", "dla", "probe")
#: Features of each SAE whose scores the record keeps, in each direction.
RECORDED_CANDIDATES = 16


@dataclass(frozen=True)
class SaeSteering(Method):
    """Boosted SAE features, tuned on the select split."""

    saes: tuple[str, ...] = ()
    """SAEs to search, one per layer: shipped names, folders, or RELEASE:ID; `{model}` stands for the model's name.
    Empty: those shipped for these weights."""
    contrast: ContrastKind = "auto"
    """The two conditions between which features are scored."""
    positive: str | None = None
    """Template of the positive condition (`templates` only), with {prompt}."""
    negative: str = "{prompt}"
    """Template of the negative condition (`templates` only)."""
    scorer: str = "contrast"
    """Score by which candidates are ranked (`saes.discover`): contrast, auroc, attribution, patching, dla, probe, or a
    function of your own, my_scorer.py:score (`saes.discovery.functions`)."""
    candidates: int = 3
    """Features tried per layer."""
    together: tuple[int, ...] = (1,)
    """Numbers of features to boost at once: 1 tries each candidate alone, m > 1 the m best of a layer together."""
    layers: tuple[int, ...] | None = None
    """Layers to search; None takes all with an SAE except the last."""
    strengths: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Strengths to try: median residual norms of the layer (add), median cued activations of the feature (clamp)."""
    coefficients: tuple[float, ...] | None = None
    """Raw coefficients to try instead: multiples of the decoder row itself (add), values of the activation (clamp), as
    SAELens and Neuronpedia count."""
    positions: tuple[str, ...] = ("first",)
    """Positions to try, such as first, first:4 or decay:8."""
    modes: tuple[Literal["add", "clamp"], ...] = ("add",)
    """Modes of boosting to try."""
    ties: Literal["smallest", "largest"] = "smallest"
    """Strength that is taken among settings that do equally well on select. Where nothing gains, all of them tie, and
    the largest is the harder test."""
    train_problems: int = 128
    """Problems on which features are scored."""
    select_problems: int = 64
    """Problems on which the choice is made."""
    by: Literal["accuracy", "trace_rate"] = "accuracy"
    """Quantity to maximise there. trace_rate is the rate of answers in the form of reasoning, right or wrong."""
    transfer: bool = False
    """Allow SAEs of other known weights (a base model's SAE on a tuned model)."""

    traits: ClassVar[Traits] = Traits(
        family="steering",
        provides=("direction", "feature", "cued feature", "feature ranking"),
    )

    def __post_init__(self) -> None:
        for positions in self.positions:
            check_positions("sae_steering", positions)
        check_positive(
            "sae_steering",
            train_problems=self.train_problems,
            select_problems=self.select_problems,
            candidates=self.candidates,
            together=min(self.together, default=0),
        )
        if not (self.strengths and self.positions and self.modes) or () in (self.layers, self.coefficients):
            raise ElicitError(
                "sae_steering: layers, strengths, coefficients, positions and modes need at least one value each."
            )
        if self.scorer not in SCORERS and parse_reference(self.scorer) is None:
            raise unknown_name_error(
                "scorer", self.scorer, SCORERS, where="sae_steering", hint="Or a function: my_scorer.py:score"
            )
        check_contrast_templates("sae_steering", self.contrast, self.positive, self.negative)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: one layer per named SAE; for shipped SAEs, every layer is assumed to have one."""
        layers = len(self.layers or self.saes) or max(1, lengths.layers - 1)
        sets = (self.candidates if 1 in self.together else 0) + sum(m > 1 for m in self.together)
        doses = len(self.coefficients or self.strengths)
        trials = layers * sets * len(self.modes) * len(self.positions) * doses * self.select_problems
        return CostEstimate(
            Generation(1, lengths.thought, 1, lengths.prompt),
            (Generation(trials, lengths.mixed_answer, trials, lengths.prompt, self.select_problems),),
            read_tokens=layers * self.train_problems * 2 * (lengths.prompt + lengths.thinking),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for SAEs that are missing or of other weights, or a task without two conditions."""
        from elicit.fitting.contrast_pairs import encode_conditions
        from elicit.fitting.sae_lookup import (
            check_saes,
            choose_logit_difference_tokens,
            load_saes,
            select_saes_at_layers,
        )
        from elicit.fitting.selection import TIES, get_steering_bounds, select_candidate
        from elicit.policy import Policy
        from elicit.steering import Steering
        from elicit.steering.residuals import residuals_at
        from saes.discovery.functions import find_function_scorers, name_scorer

        find_function_scorers([self.scorer])  # its code is found before anything is measured
        train = task.problems("train", self.train_problems)
        task.problems("select", self.select_problems)  # their number is checked before anything is measured
        texts = [problem.prompt + (task.worked(problem) or "") for problem in train]
        pair = encode_conditions(self.contrast, base, task, train, self.positive, self.negative)
        difference = (
            choose_logit_difference_tokens(base, task) if self.scorer in ("attribution", "patching", "dla") else None
        )
        loaded = load_saes(base, self.saes)
        select_saes_at_layers(base, loaded, self.layers)
        checked_saes, matches = check_saes(base, loaded, texts, transfer=self.transfer)
        searched_saes = select_saes_at_layers(base, checked_saes, self.layers)
        norms = base.residual_norms_of(texts)
        tables = {sae.name: self._score_features(base, sae, pair, difference) for sae in checked_saes}
        cued = residuals_at(base.hf, base.layers, pair.positive, [len(ids) - 1 for ids in pair.positive])
        candidates = [
            candidate
            for sae in searched_saes
            for candidate in self._build_candidates(
                base, task, sae, _select_rising_features(tables[sae.name]), norms.medians[sae.layer], cued[sae.layer]
            )
        ]
        if not candidates:
            raise ElicitError(
                f"sae_steering: no feature of {', '.join(sae.name for sae in searched_saes)} is more active in the "
                "positive "
                "condition than in the negative one. Train an SAE on text of both conditions (elicit sae train)."
            )
        selection = select_candidate(
            candidates,
            task,
            self.select_problems,
            by=self.by,
            ties=TIES[self.ties],
            bounds=get_steering_bounds(base, self.coefficients),
        )
        edits = tuple(edit for edit in candidates[selection.best].policy.steering if isinstance(edit, Steering))

        def describe_candidates(sae: SAE, table: pd.DataFrame) -> list[dict[str, Any]]:
            return [
                _describe_feature(sae.feature(int(i)), table, cued[sae.layer])
                for i in table.index[:RECORDED_CANDIDATES]
            ]

        record: dict[str, Any] = {
            "steering": [str(edit) for edit in edits],
            "features": [
                _describe_feature(edit.feature, tables[edit.feature.sae.name], cued[edit.layer])
                for edit in edits
                if edit.feature is not None
            ],
            "saes": {name: match._asdict() for name, match in matches.items()},
            **selection.record,
            "scored_on": {
                "split": "train",
                "n": self.train_problems,
                "by": name_scorer(self.scorer),
                "contrast": resolve_contrast(self.contrast, base),
            },
            "candidates": {
                sae.name: describe_candidates(sae, _select_rising_features(tables[sae.name])) for sae in checked_saes
            },
            "opposed": {
                sae.name: describe_candidates(sae, _select_falling_features(tables[sae.name])) for sae in checked_saes
            },
            "dose_response": selection.entries,
            "residual_norms": {
                "medians": list(norms.medians),
                "tokens": norms.tokens,
                "text_sha256": norms.text_sha256,
            },
        }
        return Policy(base, task_decoding(task), steering=edits, record=record)

    def _score_features(
        self, base: BaseModel, sae: SAE, pair: ConditionTokens, difference: tuple[int, int] | None
    ) -> pd.DataFrame:
        """Score features; sorted by descending score."""
        import saes
        from saes.discovery.functions import name_scorer

        conditions = ([saes.Span.last(ids) for ids in side] for side in pair)
        table = saes.discover(
            base.hf,
            sae,
            *conditions,
            scorers=tuple(dict.fromkeys(("contrast", self.scorer))),
            logit_difference=difference,
        )
        return table.sort_values(name_scorer(self.scorer), ascending=False, kind="stable")

    def _build_candidates(
        self,
        base: BaseModel,
        task: Task,
        sae: SAE,
        table: pd.DataFrame,
        norm: float,
        cued: Float[torch.Tensor, "problem d_model"],
    ) -> Iterator[Candidate]:
        """Yield every set of features x mode x positions x strength at one layer.

        Args:
            cued: residuals of the positive condition.
        """
        from elicit.fitting.sae_lookup import median_coefficient
        from elicit.fitting.selection import list_doses, make_steering_candidate
        from elicit.steering import feature_edit

        ranked = [int(index) for index in table.index]
        singles = [[index] for index in ranked[: self.candidates]] if 1 in self.together else []
        sets = singles + [ranked[:m] for m in self.together if 1 < m <= len(ranked)]
        for features, mode, positions in itertools.product(sets, self.modes, self.positions):
            chosen = [sae.feature(index) for index in features]
            units = [norm if mode == "add" else median_coefficient(feature, cued) for feature in chosen]
            if not min(units) > 0:
                continue  # silent under the cue on most problems: no value to clamp to
            notes = {"sae": sae.name, "features": features, "mode": mode, "positions": positions}
            divisor = len(chosen) if mode == "add" else 1
            for dose in list_doses(self.strengths, self.coefficients):
                edits = [
                    feature_edit(
                        feature,
                        dose.to_strength(feature.norm, unit) / divisor,
                        unit=unit,
                        mode=mode,
                        positions=positions,
                    )
                    for feature, unit in zip(chosen, units, strict=True)
                ]
                yield make_steering_candidate(base, task, tuple(edits), {**notes, **dose.notes})


def _select_rising_features(table: pd.DataFrame) -> pd.DataFrame:
    """Select features that are more active in the positive condition, best score first."""
    return table[table["contrast"] > 0]


def _select_falling_features(table: pd.DataFrame) -> pd.DataFrame:
    """Select features that are more active in the negative condition, largest difference first."""
    return table[table["contrast"] < 0].sort_values("contrast", kind="stable")


def _describe_feature(
    feature: Feature, table: pd.DataFrame, cued: Float[torch.Tensor, "problem d_model"]
) -> dict[str, Any]:
    """Describe a feature for the record: its name, its coefficient under the cue and its scores on train."""
    from elicit.fitting.sae_lookup import feature_record, median_coefficient
    from elicit.schema import finite_or_none

    row = {key: value.item() if hasattr(value, "item") else value for key, value in table.loc[feature.index].items()}
    return {
        **feature_record(feature),
        "cued_coefficient": finite_or_none(median_coefficient(feature, cued)),
        "train": {str(key): None if value != value else value for key, value in row.items()},
    }
