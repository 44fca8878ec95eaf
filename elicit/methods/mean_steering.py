"""`mean_steering`: add a difference of means between two conditions, at the first generation step by default.

1. On train problems, the mean residual after every layer under the positive condition minus that under the negative.
   - `cue`: cue prompt against plain prompt, at the last prompt token.
   - `templates`: two prompt templates around the problems, at the last prompt token.
   - `prompts`: two given lists of prompts, at their last tokens.
   - `continuations`: the plain prompt continued by a worked against a direct solution. Before their first token the two
     are the same text, so the residuals there are equal (causality): the means are taken one token later, at the
     continuation's first token, and the vector is still applied where `positions` says.
2. Layer and strength are chosen on the select split, by accuracy; among equals the smaller strength, then the earlier
   layer.
3. The test split is not touched.

Source: difference-in-means vectors (2310.06824, 2312.06681); applied at the first step after 2601.08058.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.methods.core import task_decoding
from elicit.methods.options import check_positions, check_positive

if TYPE_CHECKING:
    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import Steering
    from elicit.tasks import Problem, Task


@dataclass(frozen=True)
class MeanSteering:
    """A difference of means, tuned on select."""

    contrast: Literal["cue", "templates", "prompts", "continuations"] = "cue"
    """Which two conditions are subtracted."""
    positive: str | None = None
    """Template of the positive condition (`templates` only), with {prompt}."""
    negative: str = "{prompt}"
    """Template of the negative condition (`templates` only)."""
    positive_prompts: tuple[str, ...] = ()
    """Prompts of the positive condition (`prompts` only)."""
    negative_prompts: tuple[str, ...] = ()
    """Prompts of the negative condition (`prompts` only); the two lists need not be of one length."""
    positions: str = "first"
    """Where the vector is added."""
    layers: tuple[int, ...] | None = None
    """Layers to try; None tries all but the last. What is added after the last block is read by no other block: it is a
    constant bias on the logits, which is another method."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0)
    """Strengths to try, in median residual norms of the layer."""
    train_problems: int = 64
    """Problems the means are taken over."""
    select_problems: int = 64
    """Problems layer and strength are chosen on."""

    seeded: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    ceiling: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        check_positions("mean_steering", self.positions)
        check_positive("mean_steering", train_problems=self.train_problems, select_problems=self.select_problems)
        if not self.strengths or (self.layers is not None and not self.layers):
            raise ElicitError("mean_steering: layers and strengths need at least one value each.")
        if (self.contrast == "templates") != (self.positive is not None):
            raise ElicitError("mean_steering: `positive` belongs to contrast: templates, which needs it.")
        given = bool(self.positive_prompts), bool(self.negative_prompts)
        if given != ((True, True) if self.contrast == "prompts" else (False, False)):
            raise ElicitError(
                "mean_steering: positive_prompts and negative_prompts belong to contrast: prompts, which needs both."
            )
        for template in (self.positive, self.negative):
            if template is not None and "{prompt}" not in template:
                raise ElicitError("mean_steering: a template has no {prompt} in it.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def fit(self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy]) -> Policy:
        """Raises ElicitError for a layer the model does not have, or a task without the two conditions."""
        from elicit.loading import architectures
        from elicit.policy import Policy
        from elicit.steering import Steering

        layers = self.layers if self.layers is not None else tuple(range(max(1, base.n_layers - 1)))
        for layer in layers:
            architectures.check_layer(base.hf, layer)
        train = task.problems("train", self.train_problems)
        difference = self._difference(base, task, train)
        norms = base.residual_norms_of([problem.prompt + (task.worked(problem) or "") for problem in train])
        grid = [
            Steering(
                difference[layer], layer, strength, "add", self.positions, norms.medians[layer], self._label(layer)
            )
            for layer in layers
            for strength in self.strengths
        ]
        curve = dose_response(base, task, grid, task.problems("select", self.select_problems))
        best = min(range(len(grid)), key=lambda i: (-curve[i]["accuracy"], grid[i].strength, grid[i].layer))
        record: dict[str, Any] = {
            "steering": [str(grid[best])],
            "chosen": curve[best],
            "chosen_on": {"split": "select", "n": self.select_problems, "by": "accuracy"},
            "dose_response": curve,
            "difference_norms": [float(row.norm()) for row in difference],
            "residual_norms": {
                "medians": list(norms.medians),
                "tokens": norms.tokens,
                "text_sha256": norms.text_sha256,
            },
        }
        return Policy(base, task_decoding(task), steering=(grid[best],), record=record)

    def _label(self, layer: int) -> str:
        return f"mean({self.contrast})@{layer}"

    def _difference(self, base: BaseModel, task: Task, train: Sequence[Problem]) -> torch.Tensor:
        """Mean difference after every layer: [layer, d_model]."""
        from elicit.steering.residuals import residuals_at

        if self.contrast == "continuations":
            sides = []
            for write in (task.worked, task.direct):
                texts = [write(problem) for problem in train]
                if any(not text for text in texts):
                    raise ElicitError(f"mean_steering: task {task.name!r} has no worked solutions to contrast.")
                prompts = [base.encode(problem.prompt) for problem in train]
                bodies = [base.continuation(text or "") for text in texts]
                sequences = [prompt + body for prompt, body in zip(prompts, bodies, strict=True)]
                sides.append(residuals_at(base.hf, base.layers, sequences, [len(prompt) for prompt in prompts]))
            return (sides[0] - sides[1]).mean(dim=1)
        positive, negative = self._prompts(task, train)
        return base.residuals(positive).mean(dim=1) - base.residuals(negative).mean(dim=1)

    def _prompts(self, task: Task, train: Sequence[Problem]) -> tuple[list[str], list[str]]:
        if self.contrast == "prompts":
            return list(self.positive_prompts), list(self.negative_prompts)
        plain = [problem.prompt for problem in train]
        if self.positive is not None:
            return [self.positive.replace("{prompt}", p) for p in plain], [
                self.negative.replace("{prompt}", p) for p in plain
            ]
        cued = [problem.cue_prompt for problem in train if problem.cue_prompt is not None]
        if len(cued) < len(plain):
            raise ElicitError(
                f"mean_steering: task {task.name!r} has problems without a cue prompt. Use contrast: templates with "
                "`positive`, or contrast: continuations."
            )
        return cued, plain


def dose_response(
    base: BaseModel, task: Task, grid: Sequence[Steering], problems: Sequence[Problem]
) -> list[dict[str, Any]]:
    """Accuracy and trace rate of every edit of `grid` on `problems`, as plain data with intervals."""
    from elicit.policy import Policy
    from elicit.statistics import wilson

    curve = []
    for edit in grid:
        policy = Policy(base, task_decoding(task), steering=(edit,))
        answers = policy.answer(problems, lambda p, text: task.verify(p, text).answer, task=task.name, seed=0)
        verdicts = [task.verify(problem, answer.text) for problem, answer in zip(problems, answers, strict=True)]
        accuracy = wilson(sum(verdict.correct for verdict in verdicts), len(verdicts))
        assert accuracy.ci is not None
        curve.append(
            {
                "layer": edit.layer,
                "strength": edit.strength,
                "absolute": edit.absolute,
                "accuracy": accuracy.value,
                "ci": list(accuracy.ci),
                "n": accuracy.n,
                "trace_rate": sum(verdict.has_trace for verdict in verdicts) / len(verdicts),
            }
        )
    return curve
