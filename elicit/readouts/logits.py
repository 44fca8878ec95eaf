"""Logits of one step: banned ids set to -inf, and the plausible tokens V of contrastive decoding (2210.15097)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float

from elicit.loading import rows


def find_plausible_tokens(
    logprobs: Float[torch.Tensor, "rows vocab"], alpha: float
) -> Bool[torch.Tensor, "rows vocab"]:
    """V, the plausible tokens: p(x) >= alpha max p, and p(x) > 0."""
    if alpha == 0:
        return logprobs > -torch.inf
    return logprobs >= logprobs.max(-1, keepdim=True).values + math.log(alpha)


def mask_token_ids(logits: torch.Tensor, banned: tuple[int, ...]) -> torch.Tensor:
    """Convert logits to float32 and set banned ids to -inf, which excludes them from every distribution.

    A second model may have fewer rows than the base: ids beyond them are ignored.
    """
    logits = logits.float()
    there = tuple(i for i in banned if i < logits.shape[1])
    return logits.index_fill(1, rows.make_id_tensor(there, logits.device), -torch.inf) if there else logits
