"""`mean_steering`: add the difference of means between two conditions.

By default at the first generation step:

    h <- h + strength * unit * v        v = (mu_positive - mu_negative) / |mu_positive - mu_negative|

mu is the mean residual after one layer under a condition, unit that layer's median residual norm (`steering.spec`).

1. On train problems, the mean residual after every layer under the positive condition minus that under the negative
   (`fitting.contrast_pairs`, or two given lists of prompts, at their last tokens).
2. Layer and strength are chosen on the select split, by accuracy; among equals the smaller strength (`ties`), then the
   earlier layer.
3. The test split is not touched.

Controls: `searched_random_vector` (random directions, the same search), `random_vector` (one at the chosen setting),
`covariance_vector` and `same_vector`.

Source: difference-in-means vectors (2310.06824, 2312.06681); applied at the first step after 2601.08058.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.contrast_pairs import ConditionTokens, check_contrast_templates, encode_conditions, resolve_contrast
from elicit.fitting.option_checks import check_positions, check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Problem, Task


@dataclass(frozen=True)
class MeanSteering(Method):
    """A difference of means, tuned on select."""

    contrast: Literal["auto", "cue", "templates", "prompts", "continuations"] = "auto"
    """The two conditions whose means are subtracted."""
    positive: str | None = None
    """Template of the positive condition (`templates` only), with {prompt}."""
    negative: str = "{prompt}"
    """Template of the negative condition (`templates` only)."""
    positive_prompts: tuple[str, ...] = ()
    """Prompts of the positive condition (`prompts` only)."""
    negative_prompts: tuple[str, ...] = ()
    """Prompts of the negative condition (`prompts` only); the two lists may differ in length."""
    positions: str = "first"
    """Positions at which the vector is added."""
    layers: tuple[int, ...] | None = None
    """Layers to try; None tries all but the last. No block reads a vector added after the last one: it is only a
    constant bias on the logits, which is another method."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0)
    """Strengths to try, in median residual norms of the layer."""
    coefficients: tuple[float, ...] | None = None
    """Raw coefficients to try instead: multiples of the difference of means at its own length, as published vectors are
    applied."""
    ties: Literal["smallest", "largest"] = "smallest"
    """Strength that is taken among settings that do equally well on select. Where nothing gains, all of them tie, and
    the largest is the harder test."""
    train_problems: int = 64
    """Problems over which the means are taken."""
    select_problems: int = 64
    """Problems on which layer and strength are chosen."""

    traits: ClassVar[Traits] = Traits(family="steering", provides=("direction",))

    def __post_init__(self) -> None:
        check_positions("mean_steering", self.positions)
        check_positive("mean_steering", train_problems=self.train_problems, select_problems=self.select_problems)
        if not self.strengths or self.coefficients == () or (self.layers is not None and not self.layers):
            raise ElicitError("mean_steering: layers, strengths and coefficients need at least one value each.")
        check_contrast_templates("mean_steering", self.contrast, self.positive, self.negative)
        has_prompts = bool(self.positive_prompts), bool(self.negative_prompts)
        if has_prompts != ((True, True) if self.contrast == "prompts" else (False, False)):
            raise ElicitError(
                "mean_steering: positive_prompts and negative_prompts belong to contrast: prompts, which needs both."
            )

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        layers = len(self.layers) if self.layers is not None else max(1, lengths.layers - 1)
        doses = len(self.coefficients or self.strengths)
        trials = layers * doses * self.select_problems
        return CostEstimate(
            Generation(1, lengths.thought, 1, lengths.prompt),
            (Generation(trials, lengths.mixed_answer, trials, lengths.prompt, self.select_problems),),
            read_tokens=self.train_problems * (2 * lengths.prompt + lengths.thinking + lengths.worked),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a layer the model does not have, or a task without the two conditions."""
        from elicit.fitting.selection import (
            TIES,
            get_steering_bounds,
            list_doses,
            make_steering_candidate,
            select_candidate,
        )
        from elicit.loading import architectures
        from elicit.policy import Policy
        from elicit.steering import Steering

        layers = self.layers if self.layers is not None else tuple(range(max(1, base.n_layers - 1)))
        for layer in layers:
            architectures.check_layer(base.hf, layer)
        train = task.problems("train", self.train_problems)
        task.problems("select", self.select_problems)  # their number is checked before anything is measured
        difference = self._compute_difference(base, task, train)
        contrast = resolve_contrast(self.contrast, base)
        norms = base.residual_norms_of([problem.prompt + (task.worked(problem) or "") for problem in train])
        settings = [(layer, dose) for layer in layers for dose in list_doses(self.strengths, self.coefficients)]
        grid = [
            Steering(
                difference[layer],
                layer,
                dose.to_strength(float(difference[layer].norm()), norms.medians[layer]),
                "add",
                self.positions,
                norms.medians[layer],
                f"mean({contrast})@{layer}",
            )
            for layer, dose in settings
        ]
        candidates = [
            make_steering_candidate(base, task, (edit,), dose.notes)
            for edit, (_, dose) in zip(grid, settings, strict=True)
        ]
        selection = select_candidate(
            candidates,
            task,
            self.select_problems,
            ties=TIES[self.ties],
            bounds=get_steering_bounds(base, self.coefficients),
        )
        record: dict[str, Any] = {
            "steering": [str(grid[selection.best])],
            **selection.record,
            "dose_response": selection.entries,
            "difference_norms": [float(row.norm()) for row in difference],
            "residual_norms": {
                "medians": list(norms.medians),
                "tokens": norms.tokens,
                "text_sha256": norms.text_sha256,
            },
        }
        return Policy(base, task_decoding(task), steering=(grid[selection.best],), record=record)

    def _compute_difference(self, base: BaseModel, task: Task, train: Sequence[Problem]) -> torch.Tensor:
        """Compute the mean difference after every layer: [layer, d_model]."""
        from elicit.steering.residuals import residuals_at

        means = [
            residuals_at(base.hf, base.layers, ids, [len(sequence) - 1 for sequence in ids]).mean(dim=1)
            for ids in self._encode_conditions(base, task, train)
        ]
        return means[0] - means[1]

    def _encode_conditions(self, base: BaseModel, task: Task, train: Sequence[Problem]) -> ConditionTokens:
        if self.contrast == "prompts":
            prompt_lists = self.positive_prompts, self.negative_prompts
            return ConditionTokens(*([base.encode(prompt) for prompt in prompts] for prompts in prompt_lists))
        return encode_conditions(self.contrast, base, task, train, self.positive, self.negative)
