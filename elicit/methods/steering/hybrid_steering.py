"""`hybrid_steering`: the base, steered where a tuned model would choose another token (2510.07364).

1. The tuned arm answers train problems; both models read its traces; its steps are clustered into a few categories
   (`fitting.trace_categories`).
2. Each category gets a direction for the base: the tuned model's mean residual minus the base's, on the same contexts.
3. Oracle: the direction is that of the tuned model's category at the token (`readouts.hybrid` has the steps). It needs
   the tuned model at every token.
4. Learned (oracle-free): a softmax regression on the base's own residual decides between none and a category, and the
   edit is added in the same pass (`steering.gated`).
5. Layer and strength are chosen on the select split, by accuracy; among equals the smaller strength (`ties`), then the
   earlier layer.

Deviations from the authors' code:

- Directions are differences of means unless `vectors: trained`; theirs are always trained, on the tuned model's
  sentences.
- There is no bias vector. Theirs adds a general vector, trained on all sentences, beside each category's, so that a
  category's direction is what is left over it; here what categories share is in all (`cosine` says how much).
- One strength for all tokens, chosen on select, and only the position that produces the token is edited. Theirs tries
  several coefficients and windows of last positions at every token, and keeps the token that the tuned model finds most
  probable: a second use of the tuned model, which alone may account for a gain.
- Steps are clustered by their mean states as they are, but for one common scale; theirs are centred on the mean over
  all sentences and divided by their length.

A token's state is the residual that produces it; the budget includes the tuned arm's training, on which the directions
depend. Controls: `hybrid_control`, and this method with `vectors: random`, whose random directions get the same search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.fitting.direction_training import TrainedDirections
    from elicit.fitting.selection import Candidate
    from elicit.fitting.trace_categories import StepCategories, TraceTokens
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.readouts import SecondModel
    from elicit.sampling import Scored
    from elicit.tasks import Task


@dataclass(frozen=True)
class HybridSteering(Method):
    """Vectors per category of a tuned arm, gated per token."""

    tuned: str = "grpo"
    """The arm whose trained weights (or edits) guide the base."""
    gate: Literal["oracle", "learned"] = "oracle"
    """Decision where to steer: by the tuned model at every token, or by a regression on the base's own residuals."""
    categories: int = 8
    """Latents of the autoencoder; those with few steps are dropped."""
    active: int = 2
    """Latents per step (k)."""
    category_layer: int | None = None
    """Layer of the tuned model whose residuals are clustered; None: the middle one."""
    layers: tuple[int, ...] | None = None
    """Layers to try; None tries all but the last."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0)
    """Strengths to try, in median residual norms of the layer."""
    ties: Literal["smallest", "largest"] = "smallest"
    """Strength that is taken among settings that do equally well on select. Where nothing gains, all of them tie, and
    the largest is the harder test."""
    vectors: Literal["disagreements", "steps", "trained", "random"] = "disagreements"
    """Direction of a category: the difference of means over its tokens at which the models disagree, or over all of its
    steps; or the former, trained further so that the frozen base gives the tuned model's text. random is a control:
    random directions, with the same gate and the same search."""
    least_tokens: int = 8
    """Tokens over which a direction is averaged at least; a category with fewer is not steered."""
    training_steps: int = 60
    """Gradient steps for `trained`, of 16 traces each."""
    train_problems: int = 128
    """Train problems for the tuned arm's traces."""
    temperature: float = 0.0
    """Temperature of those traces."""
    separators: tuple[str, ...] | None = None
    """Text that ends a step; None: the step separators of the organism's prompt format, or lines and sentences."""
    regularisation: float = 1.0
    """Inverse regularisation of the learned gate: scikit-learn's C."""
    select_problems: int = 64

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        trained=True,
        family="hybrid",
        provides=("gated direction",),
    )

    def __post_init__(self) -> None:
        check_positive(
            "hybrid_steering",
            categories=self.categories,
            active=self.active,
            least_tokens=self.least_tokens,
            train_problems=self.train_problems,
            training_steps=self.training_steps,
            select_problems=self.select_problems,
            regularisation=self.regularisation,
        )
        if not self.strengths or (self.layers is not None and not self.layers):
            raise ElicitError("hybrid_steering: layers and strengths need at least one value each.")
        if self.vectors == "random":
            self.change_traits(
                is_control=True,
                control_of="hybrid_steering",
                varies=("vectors",),
                label="random vectors given the same search",
                changes="direction",
            )
        if self.temperature < 0:
            raise ElicitError(f"hybrid_steering: temperature is {self.temperature}; expected 0 or more.")

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.tuned,)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: traces read by both models, then strengths at every layer; a steered token runs twice."""
        layers = len(self.layers) if self.layers is not None else max(1, lengths.layers - 1)
        trials = layers * len(self.strengths) * self.select_problems
        trace = lengths.prompt + lengths.thought
        obstacle = "the tuned model runs along" if self.gate == "oracle" else ""
        answer = Generation(1, lengths.thought, 1, lengths.prompt, passes=3, obstacle=obstacle)
        traces = Generation(self.train_problems, lengths.thought, self.train_problems, lengths.prompt)
        return CostEstimate(
            answer,
            (
                traces._replace(obstacle="traces whose residuals are read"),
                answer._replace(completions=trials, prompts=trials, rows=self.select_problems),
            ),
            read_tokens=2 * self.train_problems * trace,
            trained_tokens=self.training_steps * 16 * trace * layers if self.vectors == "trained" else 0.0,
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for an arm that neither trains nor steers, a missing layer, or too few steps."""
        from elicit.fitting import hybrid_record, trace_categories
        from elicit.fitting.paired_model import build_second_model
        from elicit.fitting.selection import TIES, Candidate, evaluate_candidate, get_steering_bounds, select_candidate
        from elicit.policy import Policy

        layers, middle = self._resolve_layers(base)
        problems = task.problems("select", self.select_problems)
        task.problems("train", self.train_problems, seed=seed + 1)  # checked before the tuned arm is fitted
        texts = [problem.prompt + (task.worked(problem) or "") for problem in task.problems("train", 64)]
        tuned = needs[self.tuned]
        second = build_second_model("hybrid_steering", self.tuned, tuned)
        decoding = task_decoding(task, temperature=self.temperature)
        traces = trace_categories.generate_traces(
            tuned, task, problems=self.train_problems, decoding=decoding, seed=seed
        )
        tokens = trace_categories.read_traces(
            base, tuned, traces, [*layers, middle], trace_categories.choose_separators(base, self.separators)
        )
        categories = trace_categories.cluster_steps(
            tokens, middle, width=self.categories, k=self.active, least=5, seed=seed
        )
        norms = base.residual_norms_of(texts)

        references = [
            evaluate_candidate(Candidate(p, {}), task, problems) for p in (Policy(base, task_decoding(task)), tuned)
        ]
        fits = {
            layer: self._fit_directions(base, traces, tokens, categories, layer, norms.medians[layer], seed)
            for layer in layers
        }
        rows = {layer: fit.rows for layer, fit in fits.items()}
        grid = self._build_grid(base, task, second, tokens, categories, rows, middle, norms.medians)
        selection = select_candidate(
            grid, task, self.select_problems, ties=TIES[self.ties], bounds=get_steering_bounds(base)
        )
        chosen, notes = grid[selection.best]
        record = {
            "steering": [str(chosen.readout or chosen.steering[0])],
            **hybrid_record.describe_traces(tokens, categories),
            "directions": int((rows[notes["layer"]].norm(dim=1) > 0).sum()),
            **hybrid_record.estimate_fitting_cost(base, traces, sum(fit.tokens for fit in fits.values())),
            **hybrid_record.describe_choice(selection, references, self.tuned),
        }
        if curve := fits[notes["layer"]].curve:
            record["curve"] = curve
        return Policy(base, chosen.decoding, steering=chosen.steering, readout=chosen.readout, record=record)

    def _resolve_layers(self, base: BaseModel) -> tuple[tuple[int, ...], int]:
        """(layers to steer at, layer to cluster)."""
        from elicit.loading import architectures

        layers = self.layers if self.layers is not None else tuple(range(max(1, base.n_layers - 1)))
        middle = self.category_layer if self.category_layer is not None else base.n_layers // 2
        for layer in (*layers, middle):
            architectures.check_layer(base.hf, layer)
        return layers, middle

    def _fit_directions(
        self,
        base: BaseModel,
        traces: Sequence[Scored],
        tokens: TraceTokens,
        categories: StepCategories,
        layer: int,
        norm: float,
        seed: int,
    ) -> TrainedDirections:
        """Fit one direction per category; also returns the training curve (empty for means)."""
        from elicit.fitting import direction_training
        from elicit.fitting import gate as gating

        over: gating.TokenSubset = "steps" if self.vectors == "steps" else "disagreements"
        rows = gating.compute_directions(tokens, categories, layer, over, least=self.least_tokens)
        if self.vectors == "random":
            rows = gating.draw_random_directions(rows, "searched hybrid vectors", seed, layer)
        if self.vectors != "trained":
            return direction_training.TrainedDirections(rows, [], 0)
        return direction_training.train_directions(
            base, traces, tokens, categories, layer, rows, norm=norm, steps=self.training_steps, seed=seed
        )

    def _build_grid(
        self,
        base: BaseModel,
        task: Task,
        second: SecondModel,
        tokens: TraceTokens,
        categories: StepCategories,
        directions: Mapping[int, torch.Tensor],
        middle: int,
        medians: Sequence[float],
    ) -> list[Candidate]:
        """Build a policy for every layer and strength."""
        from elicit.fitting import gate as gating
        from elicit.fitting.selection import Candidate
        from elicit.policy import Policy
        from elicit.readouts import HybridReadout
        from elicit.steering import GatedEdit

        grid = []
        for layer, rows in directions.items():
            gate, gate_record = (
                (None, {})
                if self.gate == "oracle"
                else gating.fit_gate(tokens, categories, layer, rows.norm(dim=1) > 0, self.regularisation)
            )
            for strength in self.strengths:
                notes: dict[str, Any] = {"layer": layer, "strength": strength, "absolute": strength * medians[layer]}
                notes["cosine"] = gating.compute_direction_similarity(rows)
                if gate is None:
                    edit = HybridReadout(second, categories.gate, middle, rows, layer, strength, medians[layer])
                    policy = Policy(base, task_decoding(task), readout=edit)
                else:
                    notes["gate"] = gate_record
                    gated = GatedEdit(
                        gate, rows, layer, strength, "generated", medians[layer], f"categories of {self.tuned}"
                    )
                    policy = Policy(base, task_decoding(task), steering=(gated,))
                grid.append(Candidate(policy, notes))
        return grid
