"""`hybrid_steering`: the base, steered where a tuned model would go another way (2510.07364).

1. The tuned arm answers train problems; both models read its traces; its steps fall into a few categories (`steps`).
2. Each category gets a direction for the base: the tuned model's mean residual minus the base's, on the same contexts.
3. Oracle: at each token where both models' most probable tokens differ, the base is run again with the direction of the
   category that the tuned model is in (`readouts.hybrid`). It needs the tuned model at every token.
4. Learned (oracle-free): a softmax regression on the base's own residual decides between none and a category, and the
   edit is added in the same pass (`steering.gated`).
5. Layer and strength are chosen on the select split, by accuracy; among equals the smaller strength, then the earlier
   layer.

Deviations: directions are differences of means unless `vectors: trained`; a token's state is the residual that produces
it; the budget counts the tuned arm's training as well, without which there would be no direction. Controls:
`hybrid_control`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import Demand, Draws, Lengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.fitting.direction_training import Trained
    from elicit.fitting.policy_selection import Candidate, Tried
    from elicit.fitting.trace_categories import Categories, Tokens
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.readouts import Second
    from elicit.sampling import Scored
    from elicit.tasks import Task


@dataclass(frozen=True)
class HybridSteering:
    """Vectors per category of a tuned arm, gated per token."""

    tuned: str = "grpo"
    """The arm whose trained weights (or edits) are followed."""
    gate: Literal["oracle", "learned"] = "oracle"
    """Who decides where to steer: the tuned model, token by token, or a regression on the base's own residuals."""
    categories: int = 8
    """Latents of the autoencoder; those with few steps are dropped."""
    active: int = 2
    """Latents per step (k)."""
    category_layer: int | None = None
    """Layer of the tuned model whose residuals are clustered; None is the middle one."""
    layers: tuple[int, ...] | None = None
    """Layers to steer at, to choose from; None tries all but the last."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0)
    """Strengths to choose from, in median residual norms of the layer."""
    vectors: Literal["disagreements", "steps", "trained"] = "disagreements"
    """How a category gets its direction: a difference of means over its tokens at which both models disagree, or over
    all of its steps; or, from the first, trained to make the frozen base give the tuned model's text."""
    training_steps: int = 60
    """Gradient steps for `trained`, of 16 traces each."""
    train_problems: int = 128
    """Problems the tuned arm's traces are of."""
    temperature: float = 0.0
    """Of those traces."""
    separators: tuple[str, ...] | None = None
    """What ends a step; None: what the organism's dialect has between steps, else lines and sentences."""
    regularisation: float = 1.0
    """Of the learned gate: scikit-learn's C."""
    select_problems: int = 64

    traits: ClassVar[Traits] = Traits(seeded=True, trained=True)

    def __post_init__(self) -> None:
        check_positive(
            "hybrid_steering",
            categories=self.categories,
            active=self.active,
            train_problems=self.train_problems,
            training_steps=self.training_steps,
            select_problems=self.select_problems,
            regularisation=self.regularisation,
        )
        if not self.strengths or (self.layers is not None and not self.layers):
            raise ElicitError("hybrid_steering: layers and strengths need at least one value each.")
        if self.temperature < 0:
            raise ElicitError(f"hybrid_steering: temperature is {self.temperature}; expected 0 or more.")

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.tuned,)

    def demand(self, lengths: Lengths) -> Demand:
        """Traces of the tuned arm, read by both models, then strengths at every layer; a steered token runs twice."""
        layers = len(self.layers) if self.layers is not None else max(1, lengths.layers - 1)
        trials = layers * len(self.strengths) * self.select_problems
        trace = lengths.prompt + lengths.thought
        return Demand(
            Draws(1, lengths.thought, 1, lengths.prompt, passes=3),
            (
                Draws(self.train_problems, lengths.thought, self.train_problems, lengths.prompt),
                Draws(trials, lengths.thought, trials, lengths.prompt, self.select_problems, passes=3),
            ),
            read=2 * self.train_problems * trace,
            trained=self.training_steps * 16 * trace * layers if self.vectors == "trained" else 0.0,
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for an arm that neither trains nor steers, a layer that does not exist, or few steps."""
        from elicit.fitting import trace_categories
        from elicit.fitting.edit_selection import edges, of_steering
        from elicit.fitting.paired_model import beside
        from elicit.fitting.policy_selection import Candidate, tried
        from elicit.policy import Policy

        layers, middle = self._layers(base)
        problems = task.problems("select", self.select_problems)
        task.problems("train", self.train_problems, seed=seed + 1)  # too few are refused before the arm it needs
        texts = [problem.prompt + (task.worked(problem) or "") for problem in task.problems("train", 64)]
        tuned = needs[self.tuned]
        second = beside("hybrid_steering", self.tuned, tuned)
        decoding = task_decoding(task, temperature=self.temperature)
        read = trace_categories.traces(tuned, task, problems=self.train_problems, decoding=decoding, seed=seed)
        tokens = trace_categories.read(
            base, tuned, read, [*layers, middle], trace_categories.separators(base, self.separators)
        )
        found = trace_categories.categories(tokens, middle, width=self.categories, k=self.active, least=5, seed=seed)
        norms = base.residual_norms_of(texts)

        ends = [tried(Candidate(p, {}), task, problems) for p in (Policy(base, task_decoding(task)), tuned)]
        fits = {
            layer: self._directions(base, read, tokens, found, layer, norms.medians[layer], seed) for layer in layers
        }
        rows = {layer: fit.rows for layer, fit in fits.items()}
        grid = self._grid(base, task, second, tokens, found, rows, middle, norms.medians)
        trials = [tried(candidate, task, problems) for candidate in grid]
        best = min(
            range(len(grid)),
            key=lambda i: (-trials[i].entry["accuracy"], grid[i].notes["strength"], grid[i].notes["layer"]),
        )
        record = {
            "steering": [str(grid[best].policy.readout or grid[best].policy.steering[0])],
            **_about(tokens, found),
            **_costs(base, read, sum(fit.tokens for fit in fits.values())),
            **_choice(trials, best, ends, self.select_problems, self.tuned),
            "edges": edges([one.entry for one in trials], best, of_steering(base)),
        }
        if curve := fits[grid[best].notes["layer"]].curve:
            record["curve"] = curve
        chosen = grid[best].policy
        return Policy(base, chosen.decoding, steering=chosen.steering, readout=chosen.readout, record=record)

    def _layers(self, base: BaseModel) -> tuple[tuple[int, ...], int]:
        """(layers to steer at, layer to cluster)."""
        from elicit.loading import architectures

        layers = self.layers if self.layers is not None else tuple(range(max(1, base.n_layers - 1)))
        middle = self.category_layer if self.category_layer is not None else base.n_layers // 2
        for layer in (*layers, middle):
            architectures.check_layer(base.hf, layer)
        return layers, middle

    def _directions(
        self,
        base: BaseModel,
        read: Sequence[Scored],
        tokens: Tokens,
        found: Categories,
        layer: int,
        norm: float,
        seed: int,
    ) -> Trained:
        """One row per category, and the training curve (empty for means)."""
        from elicit.fitting import direction_training
        from elicit.fitting import gate as gating

        over: gating.Over = "steps" if self.vectors == "steps" else "disagreements"
        rows = gating.directions(tokens, found, layer, over)
        if self.vectors != "trained":
            return direction_training.Trained(rows, [], 0)
        return direction_training.trained(
            base, read, tokens, found, layer, rows, norm=norm, steps=self.training_steps, seed=seed
        )

    def _grid(
        self,
        base: BaseModel,
        task: Task,
        second: Second,
        tokens: Tokens,
        found: Categories,
        directions: Mapping[int, torch.Tensor],
        middle: int,
        medians: Sequence[float],
    ) -> list[Candidate]:
        """A policy for every layer and strength."""
        from elicit.fitting import gate as gating
        from elicit.fitting.policy_selection import Candidate
        from elicit.policy import Policy
        from elicit.readouts import Hybrid
        from elicit.steering import Gated

        grid = []
        for layer, rows in directions.items():
            gate, fit = (
                (None, {}) if self.gate == "oracle" else gating.learned(tokens, found, layer, self.regularisation)
            )
            for strength in self.strengths:
                notes: dict[str, Any] = {"layer": layer, "strength": strength, "absolute": strength * medians[layer]}
                notes["cosine"] = gating.alike(rows)
                if gate is None:
                    edit = Hybrid(second, found.gate, middle, rows, layer, strength, medians[layer])
                    policy = Policy(base, task_decoding(task), readout=edit)
                else:
                    notes["gate"] = fit
                    gated = Gated(
                        gate, rows, layer, strength, "generated", medians[layer], f"categories of {self.tuned}"
                    )
                    policy = Policy(base, task_decoding(task), steering=(gated,))
                grid.append(Candidate(policy, notes))
        return grid


def _about(tokens: Tokens, found: Categories) -> dict[str, Any]:
    """What was found in the traces."""
    import torch

    from elicit.fitting.trace_categories import described
    from elicit.statistics import mean

    sizes, apart = torch.bincount(tokens.trace), int(tokens.disagree.sum())
    shares = torch.bincount(tokens.trace, weights=tokens.disagree.double()) / sizes

    return {
        "categories": described(tokens, found),
        "explained_variance": found.explained_variance,
        # Share of tokens at which both models disagree along the tuned one's traces: the mean over traces.
        "disagreement": {
            **mean(shares[sizes > 0].numpy()).to_json(),
            "of_tokens": apart / len(tokens.step),
        },
    }


def _costs(base: BaseModel, read: Sequence[Scored], trained: int) -> dict[str, Any]:
    """The tuned arm's traces, two passes over them, and `trained` tokens of training the directions.

    What the tuned arm itself took is not in it: the summary counts the arms an arm needs.
    """
    texts = sum(len(one.prompt) + len(one.completion) for one in read)
    train = {
        # 2 FLOPs per weight and token forward, for each of both models; to train directions, 2 more backward.
        "flops": sum(p.numel() for p in base.hf.parameters()) * (2 * 2 * texts + 4 * trained),
        "tokens": texts + trained,
        "labels": 0,
        "teacher_tokens": 0,
        "generated_tokens": sum(len(one.completion) for one in read),
    }
    return {"train": train}


def _choice(trials: Sequence[Tried], best: int, ends: Sequence[Tried], n: int, tuned: str) -> dict[str, Any]:
    """What was chosen, how often it steers, and how much of the tuned arm's gain it brings on the select split.

    The gap is an upper estimate: it is measured on the problems that layer and strength were chosen on.
    """
    import numpy as np

    from elicit.fitting.edit_selection import cost
    from elicit.statistics import gap_recovered, mean

    base, ceiling = ends
    arm = trials[best]
    m, b, c = (np.array([one.correct], dtype=float) for one in (arm, base, ceiling))
    gap = gap_recovered(m, b, c, seed=0, ceiling_name=tuned)
    entries = [one.entry | {"fraction_steered": sum(one.firings) / max(1, sum(one.tokens))} for one in trials]
    shares = [steered / max(1, tokens) for steered, tokens in zip(arm.firings, arm.tokens, strict=True)]
    return {
        "dose_response": entries,
        "chosen": entries[best],
        "chosen_on": {"split": "select", "n": n, "by": "accuracy"},
        # The mean over problems, with its interval; `of_tokens` is the share of all tokens together.
        "fraction_steered": {**mean(np.array(shares)).to_json(), "of_tokens": entries[best]["fraction_steered"]},
        "recovered_of_tuned": {
            **gap.to_json(),
            "n": gap.n,
            "reason": gap.reason,
            "base": base.entry["accuracy"],
            "tuned": ceiling.entry["accuracy"],
            "arm": arm.entry["accuracy"],
        },
        "tuning": cost(entries),
    }
