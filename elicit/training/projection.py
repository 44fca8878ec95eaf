"""Gradient projection: training steps without a component against another task (PCGrad, 2001.06782).

Where the gradient g of a step and the gradient p of the protected task conflict (g . p < 0), g becomes
g - (g . p / p . p) p: the conflicting part is removed. Otherwise g is unchanged. PCGrad does this both ways for tasks
that are all trained; here the protected task is never trained on (the one-way form of A-GEM, 1812.00420).

Limits:

- *Clipping.* The trainer clips the norm of g (to 1) before it calls callbacks. The projection is linear in g and does
  not depend on the length of p, so its direction is the same either way. Its length is that of the clipped g minus the
  conflicting part: at most 1, and possibly less where clipping afterwards would have left 1. The norm in the training
  curve is that of g before both. Nothing is clipped again.
- *The optimizer.* Adam's step is not along the gradient: momentum from earlier steps and the scaling of each parameter
  can still move against p. `probes` (`warn`) measures the actual effect of the steps.
- *First order, fixed rows.* p is the gradient on the same few train problems at every step.

As in `gradients.measure_gradient`, the training's random numbers and modes are not affected.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from elicit import runs
from elicit.schema import finite_or_none
from elicit.training.gradients import dot_product, get_trainable_parameters, measure_gradient
from elicit.training.probes import Stopwatch
from elicit.training.supervised_run import Example

_FILE = "protect.json"


class GradientProjectionCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Projects every step's gradient off the protected task's where they conflict."""

    def __init__(self, rows: Sequence[Example]) -> None:
        """
        Args:
            rows: rows of the protected task, from its train problems.
        """
        self._rows = list(rows)
        self._cosines: list[float | None] = []
        self._losses: list[float | None] = []
        self._spent = Stopwatch()

    @property
    def identity(self) -> str:
        """Part of the training's identity, since it affects the weights."""
        return json.dumps(["protect", self._rows])

    def to_record(self) -> dict[str, Any]:
        """`record["protect"]`: per step the cosine of the two gradients before projection and the protected loss (nats
        per token) before the step; the number of conflicting steps; seconds, and their share of the training's."""
        return {
            "problems": len(self._rows),
            "steps": len(self._cosines),
            "conflicts": sum(value is not None and value < 0 for value in self._cosines),
            **self._spent.to_record(),
            "cosine": list(self._cosines),
            "loss": list(self._losses),
        }

    def count_cost(self) -> tuple[int, int, int]:
        """Count (tokens of its forward and backward passes, distinct tokens of solutions, problems)."""
        written = sum(len(row.completion) for row in self._rows)
        length = written + sum(len(row.prompt) for row in self._rows)
        return length * len(self._cosines), written, len(self._rows)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._spent.start_training()
        state_path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
        if state.global_step and state_path.exists():
            progress = runs.read_run_json(state_path)
            self._cosines, self._losses = progress["cosine"], progress["loss"]
            self._spent.resume_training(*progress["spent"])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        with self._spent:
            measurement = measure_gradient(model, self._rows)
            self._cosines.append(
                finite_or_none(project_gradient(get_trainable_parameters(model), measurement.gradient))
            )
            self._losses.append(finite_or_none(measurement.loss))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
        runs.write_json(file, {"cosine": self._cosines, "loss": self._losses, "spent": self._spent.get_elapsed()})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._spent.end_training()


def project_gradient(parameters: Sequence[torch.nn.Parameter], protected: Sequence[torch.Tensor]) -> float:
    """Project the component against `protected` out of `.grad`, in place. Returns their cosine before projection.

    A parameter without a gradient counts as zero; it stays without one unless there is a conflict.
    """
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    product, size = dot_product(gradients, protected), dot_product(protected, protected)
    length = (dot_product(gradients, gradients) * size) ** 0.5
    if product < 0 and size > 0:
        for parameter, gradient, other in zip(parameters, gradients, protected, strict=True):
            parameter.grad = gradient.sub_(other.to(gradient.dtype), alpha=product / size)
    return product / length if length > 0 else float("nan")
