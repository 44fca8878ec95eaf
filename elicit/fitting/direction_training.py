"""Directions per category, trained: the base, frozen, is to give the tuned model's own text (2510.07364).

The directions are added where both models disagree, each in its category's tokens, and take gradient steps on the
negative log-likelihood of the whole trace. They start as differences of means. A step goes through in passes that fit
into memory, and logits are worked out for the traces' own tokens only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.errors import ElicitError

if TYPE_CHECKING:
    import torch

    from elicit.fitting.trace_categories import Categories, Tokens
    from elicit.model import BaseModel
    from elicit.sampling import Scored

_BATCH = 16


class Trained(NamedTuple):
    rows: torch.Tensor
    """[category d_model]."""
    curve: list[dict[str, float]]
    """Loss in nats per token, of each step's batch."""
    tokens: int
    """Tokens that the training read, prompts included."""


def trained(
    base: BaseModel,
    read: Sequence[Scored],
    tokens: Tokens,
    found: Categories,
    layer: int,
    start: torch.Tensor,
    *,
    norm: float,
    steps: int,
    seed: int,
) -> Trained:
    """Train the rows of `start` [category d_model] that are not zero.

    Args:
        norm: the length they start with: the layer's median residual norm. The rate is a twentieth of it.

    Raises:
        ElicitError: if the loss is not finite.
    """
    import torch

    from elicit import seeds
    from elicit.training.passes import cut, sized

    passes = sized(base.hf, max(len(one.prompt) + len(one.completion) for one in read), checkpointing=False)
    begin = torch.nn.functional.normalize(start, dim=1) * norm
    free = (start.norm(dim=1, keepdim=True) > 0).float().to(base.device)
    rows = begin.to(base.device).requires_grad_()
    optimiser = torch.optim.Adam([rows], lr=norm / 20)
    where = torch.where(tokens.disagree, found.token + 1, 0)
    curve, seen = [], 0
    for step in range(steps):
        drawn = seeds.generator("hybrid rows", seed, layer, step).choice(len(read), min(_BATCH, len(read)), False)
        lengths = [len(read[i].prompt) + len(read[i].completion) for i in drawn]
        labels = sum(len(read[i].completion) for i in drawn)
        loss, rows.grad = 0.0, torch.zeros_like(rows)
        for part in cut(lengths, passes):
            some = [drawn[i] for i in part]
            share = sum(len(read[i].completion) for i in some) / labels
            piece = share * nll(
                base, [read[i] for i in some], [where[tokens.trace == i] for i in some], layer, rows * free
            )
            rows.grad += torch.autograd.grad(piece, rows)[0]
            loss += float(piece.detach())
        if not math.isfinite(loss):
            raise ElicitError(f"hybrid_steering: the loss of its directions is {loss} at step {step + 1}.")
        optimiser.step()
        seen += sum(len(read[i].prompt) + len(read[i].completion) for i in drawn)
        curve.append({"step": step + 1, "loss": loss})
    return Trained((rows * free).detach().cpu(), curve, seen)


def nll(
    base: BaseModel, read: Sequence[Scored], where: Sequence[torch.Tensor], layer: int, rows: torch.Tensor
) -> torch.Tensor:
    """Mean negative log-likelihood per completion token with the rows added.

    Args:
        where: for every trace, the category of each completion token counted from 1, or 0 where nothing is added.
    """
    import torch

    from elicit.loading import architectures
    from elicit.sampling.score import head

    width = max(len(one.prompt) + len(one.completion) for one in read)
    ids = torch.full((len(read), width), base.pad_id)
    target = torch.full((len(read), width), -100)
    category = torch.zeros(len(read), width, dtype=torch.long)
    for i, (one, mine) in enumerate(zip(read, where, strict=True)):
        first, length = len(one.prompt), len(one.completion)
        ids[i, : first + length] = torch.tensor([*one.prompt, *one.completion])
        target[i, first - 1 : first - 1 + length] = torch.tensor(one.completion)
        category[i, first - 1 : first - 1 + length] = mine
    table = torch.cat([rows.new_zeros(1, rows.shape[1]), rows])[category.to(base.device)]

    def hook(module: Any, args: Any, output: Any) -> Any:
        h = output[0] if isinstance(output, tuple) else output
        edited = h + table.to(h.dtype)
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = base.layers[layer].register_forward_hook(hook)
    try:
        with torch.enable_grad():
            hidden = architectures.decoder(base.hf)(input_ids=ids.to(base.device), use_cache=False).last_hidden_state
            wanted = (target != -100).to(base.device)
            logits = head(dataclasses.replace(base.engine, banned_ids=base.unassigned_ids), hidden[wanted])
            return torch.nn.functional.cross_entropy(logits, target.to(base.device)[wanted])
    finally:
        handle.remove()
