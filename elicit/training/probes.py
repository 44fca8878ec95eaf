"""Early warning: first-order effect of the training steps on other tasks' losses.

At step 0, every `every` steps and at the end, on fixed rows that are not trained on:

    loss      nats per token of the trained task ("in") and of every other watched task ("out")
    cosine    cos(g_in, g_out) of the two gradients over all trained parameters
    predicted (theta_b - theta_a) . g_out(theta_a) for the interval from step a to step b: the change of the
              out-of-domain loss to first order. theta_b - theta_a is the optimizer's actual change, with its momentum,
              scaling, clipping and the rate of every step. Its error is of second order in the size of the interval,
              and for a convex loss it is always too low (optimistic), so that the running integral drifts below the
              measured loss.
    trapezoid the same with the mean of g_out at both ends: an error of third order, but known only afterwards, and it
              costs one more measurement (which the next interval needs anyway).

Measured on `cued` (full training on addition at the default rate of 1e-3, 160 steps of 8 rows; mod_chain watched; 16
problems of each): share of the training's time, and share of the measured changes of loss between measurements that
`predicted` / `trapezoid` explain (1 is all, 0 none):

    every 1     78 %    0.90 / 0.99
    every 5     43 %    0.56 / 0.39
    every 10    28 %    0.00 / 0.09

At such rates the first-order prediction holds only for single steps; rarer measurements are cheaper but worth little. A
measurement costs as much as a step on all its rows, which is little compared with the large batches of real trainings.

"Trained parameters" are the adapter's if there is one. The training itself is unchanged to the bit (`gradients`). The
trainer's checkpoints include the callback's state, so a resumed training gives the same record. Memory: a second copy
of the trained values, a gradient for every watched task, and during a measurement one for the trained task.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from elicit.schema import finite_or_none
from elicit.training.gradients import (
    GradientMeasurement,
    cosine_similarity,
    dot_product,
    get_trainable_parameters,
    measure_gradient,
)
from elicit.training.supervised_run import Example

_FILE = "watch.safetensors"
_Series = dict[str, list[float | None]]
"""None stands for values that are not finite."""


class EarlyWarningCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Measures effects on other tasks while `SFTTrainer` trains: a callback for `supervised.train_on_examples`."""

    def __init__(self, inside: Sequence[Example], outside: Mapping[str, Sequence[Example]], *, every: int = 1) -> None:
        """
        Args:
            inside: rows of the trained task in training form, for problems that are not trained on.
            outside: label -> rows of another task.
            every: steps between two measurements.
        """
        self._inside, self._outside, self._every = list(inside), {k: list(v) for k, v in outside.items()}, every
        self._steps: list[int] = []
        self._in: _Series = {"loss": [], "token_accuracy": []}
        self._out: dict[str, _Series] = {
            label: {"loss": [], "token_accuracy": [], "cosine": [], "predicted": [], "trapezoid": []}
            for label in self._outside
        }
        self._spent = Stopwatch()
        self._before: list[torch.Tensor] = []
        self._gradients: dict[str, list[torch.Tensor]] = {}

    def to_record(self) -> dict[str, Any]:
        """`record["warning"]` of a policy, as plain data.

        `steps` has one entry per measurement; `predicted` and `trapezoid` one less: entry i is for the interval from
        steps[i] to steps[i + 1]. `seconds` is the time of the measurements, `share` its fraction of the whole time.
        """
        return {
            "steps": list(self._steps),
            "every": self._every,
            "problems": {"in": len(self._inside), **{label: len(rows) for label, rows in self._outside.items()}},
            **self._spent.to_record(),
            "in": {name: list(values) for name, values in self._in.items()},
            "out": {label: {name: list(v) for name, v in values.items()} for label, values in self._out.items()},
        }

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        self._spent.start_training()
        state_path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
        if state.global_step and state_path.exists():
            self._restore_progress(state_path, model)
        else:
            self._measure_losses(state.global_step, model)

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        if state.global_step % self._every == 0:
            self._measure_losses(state.global_step, model)

    def on_train_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        if self._steps[-1] != state.global_step:
            self._measure_losses(state.global_step, model)
        self._spent.end_training()
        self._before, self._gradients = [], {}

    def on_save(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        from safetensors.torch import save_file

        groups = [self._before, *self._gradients.values()]
        tensors = {f"{i}.{j}": t.contiguous() for i, group in enumerate(groups) for j, t in enumerate(group)}
        progress = {"steps": self._steps, "in": self._in, "out": self._out, "spent": self._spent.get_elapsed()}
        file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
        save_file(tensors, file, metadata={"said": json.dumps(progress)})

    def _restore_progress(self, file: Path, model: Any) -> None:
        from safetensors import safe_open

        parameters = get_trainable_parameters(model)
        with safe_open(file, "pt", device=str(parameters[0].device)) as tensor_file:
            progress = json.loads(tensor_file.metadata()["said"])
            groups = [
                [tensor_file.get_tensor(f"{i}.{j}") for j in range(len(parameters))]
                for i in range(1 + len(self._outside))
            ]
        self._steps, self._in, self._out = progress["steps"], progress["in"], progress["out"]
        self._spent.resume_training(*progress["spent"])
        self._before, self._gradients = groups[0], dict(zip(self._outside, groups[1:], strict=True))

    def _measure_losses(self, step: int, model: Any) -> None:
        with self._spent:
            now = get_trainable_parameters(model)
            moved = [p.detach() - before for p, before in zip(now, self._before, strict=True)] if self._before else []
            inside = measure_gradient(model, self._inside)
            _append_measurement(self._in, inside)
            for label, rows in self._outside.items():
                measurement, values = measure_gradient(model, rows), self._out[label]
                _append_measurement(values, measurement)
                values["cosine"].append(finite_or_none(cosine_similarity(inside.gradient, measurement.gradient)))
                if moved:
                    start, end = dot_product(moved, self._gradients[label]), dot_product(moved, measurement.gradient)
                    values["predicted"].append(finite_or_none(start))
                    values["trapezoid"].append(finite_or_none((start + end) / 2))
                self._gradients[label] = measurement.gradient
            self._before = [p.detach().clone() for p in now]
            self._steps.append(step)


class Stopwatch:
    """Measures seconds inside its `with` blocks, and of the whole training."""

    def __init__(self) -> None:
        self._inside = self._earlier = self._whole = 0.0
        self._begun = self._entered = math.nan

    def start_training(self) -> None:
        self._begun = _read_clock()

    def end_training(self) -> None:
        self._whole = self.get_elapsed()[1]

    def resume_training(self, inside: float, whole: float) -> None:
        """Continue from the times of an interrupted training."""
        self._inside, self._earlier = inside, whole

    def get_elapsed(self) -> tuple[float, float]:
        return self._inside, self._earlier + _read_clock() - self._begun

    def to_record(self) -> dict[str, float]:
        return {"seconds": self._inside, "share": self._inside / self._whole if self._whole else 0.0}

    def __enter__(self) -> None:
        self._entered = _read_clock()

    def __exit__(self, *_: object) -> None:
        self._inside += _read_clock() - self._entered


def _read_clock() -> float:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()  # otherwise GPU work would be counted where its result is first needed
    return time.perf_counter()


def _append_measurement(values: _Series, measurement: GradientMeasurement) -> None:
    values["loss"].append(finite_or_none(measurement.loss))
    values["token_accuracy"].append(finite_or_none(measurement.token_accuracy))
