"""Gradients of the loss on fixed rows, measured during a training without affecting it.

The loss is the trainer's own (TRL's fused head, in the training's precision): the mean over all labelled tokens of the
rows, in nats. Dropout is off, `.grad` is untouched (`torch.autograd.grad`), and the states of random generators and the
modes of all modules are restored. Rows are split into passes that fit into memory; if the training recomputes
activations, so does the measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from elicit.loading import architectures
from elicit.training.passes import PassLimits, choose_pass_limits, split_into_passes
from elicit.training.supervised_run import Example


class GradientMeasurement(NamedTuple):
    """Loss and gradient on the rows at one step."""

    loss: float
    """Nats per labelled token."""
    token_accuracy: float
    """Share of labelled tokens that are the most probable next token; NaN if the trainer's head does not report it."""
    gradient: list[torch.Tensor]
    """d loss / d parameter, one for each trained parameter; zeros where the loss does not depend on it."""


def get_trainable_parameters(model: Any) -> list[torch.nn.Parameter]:
    """Parameters that a training changes: all with `requires_grad`, or the adapter's."""
    return [p for p in model.parameters() if p.requires_grad]


def measure_gradient(model: Any, rows: Sequence[Example]) -> GradientMeasurement:
    """Measure loss and gradient of a model inside `SFTTrainer`, on rows of ids.

    Costs one forward and backward pass over the rows, and memory for one gradient (two where rows take several passes).
    """
    parameters = get_trainable_parameters(model)
    total = torch.zeros((), dtype=torch.float64)
    right, labels = 0.0, sum(len(row.completion) for row in rows)
    gradient: list[torch.Tensor] | None = None
    with preserve_training_state(model), torch.enable_grad():
        for indices in _split_rows(model, rows):
            out = model(**_pad_rows([rows[i] for i in indices], parameters[0].device), fused_lm_head=True)
            loss = -out.log_probs.sum() / labels
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
            gradient = parts if gradient is None else [a + b for a, b in zip(gradient, parts, strict=True)]
            total += loss.detach().double().cpu()
            right += float("nan") if out.is_top1 is None else float(out.is_top1.sum())
    assert gradient is not None, "no rows"
    return GradientMeasurement(float(total), right / labels, gradient)


def dot_product(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> float:
    """Inner product over all parameters, in float64."""
    pairs = zip(left, right, strict=True)
    return float(sum(torch.dot(a.flatten().double(), b.flatten().double()).item() for a, b in pairs))


def cosine_similarity(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> float:
    """Cosine over all parameters; NaN where a gradient is zero."""
    size = (dot_product(left, left) * dot_product(right, right)) ** 0.5
    return dot_product(left, right) / size if size > 0 else float("nan")


@contextmanager
def preserve_training_state(model: Any) -> Iterator[None]:
    """Switch to evaluation mode, then restore modes and random generators.

    Layers recompute activations only in training mode, so those that do stay in it, but their submodules do not.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = [parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices=devices):
        try:
            model.eval()
            for layer in architectures.get_decoder_layers(model):
                layer.training = bool(getattr(layer, "gradient_checkpointing", False))
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def _split_rows(model: Any, rows: Sequence[Example]) -> list[list[int]]:
    lengths = [len(row.prompt) + len(row.completion) for row in rows]
    hf = architectures.unwrap_model(model)
    recomputes = any(getattr(layer, "gradient_checkpointing", False) for layer in architectures.get_decoder_layers(hf))
    passes = choose_pass_limits(hf, max(lengths), checkpointing=recomputes)
    return split_into_passes(lengths, PassLimits(passes.tokens, scaling=passes.scaling))


def _pad_rows(rows: Sequence[Example], device: torch.device) -> dict[str, torch.Tensor]:
    """Pad rows on the right, as the trainer does; padding is masked and has no label."""
    width = max(len(row.prompt) + len(row.completion) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        start, end = len(row.prompt), len(row.prompt) + len(row.completion)
        ids[i, :end] = torch.tensor([*row.prompt, *row.completion])
        mask[i, :end] = 1
        labels[i, start:end] = torch.tensor(row.completion)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}
