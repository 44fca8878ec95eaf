"""Trained directions per category, which make the frozen base give the tuned model's text (2510.07364).

Each direction is added at its category's tokens where the models disagree, and takes gradient steps on the negative
log-likelihood of the whole trace. Directions start as differences of means. A step is split into passes that fit into
memory, and logits are computed only for the traces' own tokens.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.errors import ElicitError

if TYPE_CHECKING:
    import torch

    from elicit.fitting.trace_categories import StepCategories, TraceTokens
    from elicit.model import BaseModel
    from elicit.sampling import Scored

_BATCH = 16


class TrainedDirections(NamedTuple):
    rows: torch.Tensor
    """[category d_model]."""
    curve: list[dict[str, float]]
    """Loss of each step's batch, in nats per token."""
    tokens: int
    """Tokens read in training, including prompts."""


def train_directions(
    base: BaseModel,
    traces: Sequence[Scored],
    tokens: TraceTokens,
    categories: StepCategories,
    layer: int,
    start: torch.Tensor,
    *,
    norm: float,
    steps: int,
    seed: int,
) -> TrainedDirections:
    """Train the rows of `start` [category d_model] that are not zero.

    Args:
        norm: their starting length, the layer's median residual norm. The learning rate is a twentieth of it.

    Raises:
        ElicitError: the loss is not finite.
    """
    import torch

    from elicit import seeds
    from elicit.training.passes import choose_pass_limits, split_into_passes

    passes = choose_pass_limits(
        base.hf, max(len(trace.prompt) + len(trace.completion) for trace in traces), checkpointing=False
    )
    initial = torch.nn.functional.normalize(start, dim=1) * norm
    steered_mask = (start.norm(dim=1, keepdim=True) > 0).float().to(base.device)
    rows = initial.to(base.device).requires_grad_()
    optimiser = torch.optim.Adam([rows], lr=norm / 20)
    token_categories = torch.where(tokens.disagree, categories.token + 1, 0)
    curve, tokens_seen = [], 0
    for step in range(steps):
        batch = seeds.make_generator("hybrid rows", seed, layer, step).choice(
            len(traces), min(_BATCH, len(traces)), False
        )
        lengths = [len(traces[i].prompt) + len(traces[i].completion) for i in batch]
        labels = sum(len(traces[i].completion) for i in batch)
        loss, rows.grad = 0.0, torch.zeros_like(rows)
        for part in split_into_passes(lengths, passes):
            indices = [batch[i] for i in part]
            share = sum(len(traces[i].completion) for i in indices) / labels
            piece = share * compute_negative_log_likelihood(
                base,
                [traces[i] for i in indices],
                [token_categories[tokens.trace == i] for i in indices],
                layer,
                rows * steered_mask,
            )
            rows.grad += torch.autograd.grad(piece, rows)[0]
            loss += float(piece.detach())
        if not math.isfinite(loss):
            raise ElicitError(f"hybrid_steering: the loss of its directions is {loss} at step {step + 1}.")
        optimiser.step()
        tokens_seen += sum(len(traces[i].prompt) + len(traces[i].completion) for i in batch)
        curve.append({"step": step + 1, "loss": loss})
    return TrainedDirections((rows * steered_mask).detach().cpu(), curve, tokens_seen)


def compute_negative_log_likelihood(
    base: BaseModel, traces: Sequence[Scored], token_categories: Sequence[torch.Tensor], layer: int, rows: torch.Tensor
) -> torch.Tensor:
    """Mean negative log-likelihood per completion token with the rows added.

    Args:
        token_categories: for every trace, the category of each completion token counted from 1; 0 adds nothing.
    """
    import torch

    from elicit.loading import architectures
    from elicit.sampling.score import project_to_logits

    width = max(len(trace.prompt) + len(trace.completion) for trace in traces)
    ids = torch.full((len(traces), width), base.pad_id)
    target = torch.full((len(traces), width), -100)
    category = torch.zeros(len(traces), width, dtype=torch.long)
    for i, (trace, trace_categories) in enumerate(zip(traces, token_categories, strict=True)):
        first, length = len(trace.prompt), len(trace.completion)
        ids[i, : first + length] = torch.tensor([*trace.prompt, *trace.completion])
        target[i, first - 1 : first - 1 + length] = torch.tensor(trace.completion)
        category[i, first - 1 : first - 1 + length] = trace_categories
    table = torch.cat([rows.new_zeros(1, rows.shape[1]), rows])[category.to(base.device)]

    def add_directions(module: Any, args: Any, output: Any) -> Any:
        h = output[0] if isinstance(output, tuple) else output
        edited = h + table.to(h.dtype)
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = base.layers[layer].register_forward_hook(add_directions)
    try:
        with torch.enable_grad():
            hidden = architectures.get_decoder(base.hf)(
                input_ids=ids.to(base.device), use_cache=False
            ).last_hidden_state
            labelled = (target != -100).to(base.device)
            logits = project_to_logits(
                dataclasses.replace(base.engine, banned_ids=base.unassigned_ids), hidden[labelled]
            )
            return torch.nn.functional.cross_entropy(logits, target.to(base.device)[labelled])
    finally:
        handle.remove()
