"""Decoding steps of a batch of rows, their model, and the state between steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch

from elicit.context import context_length
from elicit.loading import architectures
from elicit.rotary import length_scaling
from elicit.sampling.cache import ON_CPU, preallocate_cache
from elicit.sampling.decoding import Decoding, Request
from elicit.steering import PositionTracker, build_padded_frame, build_spread_frame, build_step_frame


@dataclass(frozen=True)
class Engine:
    """A model with everything needed to sample from it."""

    hf: Any
    """The transformers causal LM, in eval mode."""
    tokenizer: Any
    clock: PositionTracker
    end_ids: frozenset[int]
    pad_id: int
    banned_ids: tuple[int, ...] = ()
    """Token ids that are never chosen."""
    cache_budget: int = ON_CPU
    """Bytes of keys and values in one batch."""
    logit_budget: int = 1 << 26
    """Most logits (rows x vocabulary) in one step, in the model's dtype. They are processed a few at a time."""

    @property
    def context(self) -> int | None:
        """Most tokens that the model can read; None without a limit."""
        return context_length(vars(self.hf.config.get_text_config(decoder=True)))

    @cached_property
    def takes_ready_masks(self) -> bool:
        """True if the model's attention accepts a 4D boolean mask: SDPA without windows, in a tested architecture."""
        config = architectures.unwrap_model(self.hf).config.get_text_config(decoder=True)
        known = config.model_type in architectures.READY_MASKS
        return bool(known and config._attn_implementation == "sdpa" and not architectures.is_sliding(self.hf))

    @property
    def pass_tokens(self) -> int:
        """Most tokens in one forward pass over prompts, which limits the memory of activations."""
        width = self.hf.config.get_text_config(decoder=True).hidden_size
        return max(1 << 8, (1 << 21 if self.hf.device.type == "cpu" else 1 << 26) // int(width))


@dataclass
class DecodingState:
    """State of a batch between steps."""

    cache: Any
    mask: torch.Tensor | None
    """[rows, prompt length + room], True at real tokens; None where prompts have equal lengths."""
    lengths: torch.Tensor
    """Real prompt tokens of each row."""
    width: int
    """Length of the padded prompt."""
    forced: np.ndarray | None
    """Tokens of a forced opening in each row, which steering counts as generated; None if there are none."""
    firing_counts: np.ndarray
    tokens: torch.Tensor | None = None
    """[rows, tokens so far], if the cache must be recomputed at some length (see `elicit.rotary`); such rows have
    prompts of equal lengths."""
    texts: list[list[int]] | None = None
    """Tokens of each row so far, if steering's positions depend on them."""

    def keep(self, order: np.ndarray) -> None:
        """Shrink to the slots in `order`, which is the identity except for slots that were filled from the end."""
        device = self.lengths.device
        holes = np.flatnonzero(order != np.arange(len(order)))
        where = torch.from_numpy(holes).to(device), torch.from_numpy(order[holes]).to(device)
        for layer in self.cache.layers:
            layer.drop_rows(*where, len(order))
        indices = torch.from_numpy(order).to(device)
        self.lengths = self.lengths[indices]
        if self.mask is not None:
            self.mask = self.mask[indices]
        if self.forced is not None:
            self.forced = self.forced[order]
        if self.tokens is not None:
            self.tokens = self.tokens[indices]
        if self.texts is not None:
            self.texts = [self.texts[slot] for slot in order]


class Forward(Protocol):
    """Source of next-token logits. The sampler keeps a state between calls and shrinks it with `state.keep`."""

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[Any, torch.Tensor]:
        """Run every prompt. Returns (state, logits [rows vocab]), with a row for each sample."""
        ...

    def step(self, engine: Engine, state: Any, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
        """Run one decoding step for the rows in the batch. Returns logits [rows vocab]."""
        ...


def decode_step(
    engine: Engine, state: DecodingState, tokens: torch.Tensor, rows: np.ndarray, offset: int
) -> torch.Tensor:
    """Run one decoding step for the rows in the batch. Returns logits [rows vocab]."""
    if state.texts is not None:
        for text, token in zip(state.texts, tokens.tolist(), strict=True):
            text.append(token)
    frame = build_step_frame(offset, rows, state.firing_counts, state.texts)
    if state.forced is not None:
        frame = build_spread_frame(offset + state.forced, rows, state.firing_counts, state.texts)
    length = state.width + offset
    if state.tokens is not None:
        state.tokens = torch.cat([state.tokens, tokens[:, None]], dim=1)
        scaling = length_scaling(engine.hf.config)
        if scaling is not None and length == scaling.limit + 1:
            return _recompute_cache(engine, state, state.tokens)
    engine.clock.explicit = frame
    mask = None if state.mask is None else attention_mask(engine, state.mask[:, :length], 1)
    out = engine.hf(
        input_ids=tokens[:, None],
        attention_mask=mask,
        **position_arguments(engine.hf, (state.lengths + offset - 1)[:, None]),
        past_key_values=state.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return out.logits[:, -1]  # type: ignore[no-any-return]


def _recompute_cache(engine: Engine, state: DecodingState, tokens: torch.Tensor) -> torch.Tensor:
    """Run the step with a new cache, in one pass over all tokens so far (rows of equal lengths, without padding).

    Steering touches earlier positions again; they are not counted a second time.
    """
    prompts = state.lengths
    if state.forced is not None:
        prompts = prompts - torch.from_numpy(state.forced).to(prompts.device)
    engine.clock.explicit = build_padded_frame(torch.ones_like(tokens, dtype=torch.bool), prompts)
    state.cache = preallocate_cache(engine.hf, state.cache.layers[0].capacity)
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    out = engine.hf(
        input_ids=tokens,
        **position_arguments(engine.hf, positions),
        past_key_values=state.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return out.logits[:, -1]  # type: ignore[no-any-return]


def attention_mask(engine: Engine, real: torch.Tensor, queries: int) -> torch.Tensor:
    """Build the attention mask of the last `queries` positions from the mask of real positions.

    With SDPA and full attention, a ready 4D boolean mask spares the model from building one at every step. Sliding
    windows and eager attention need the 2D mask, from which the model builds its own.
    """
    if not engine.takes_ready_masks:
        return real.long()
    if queries == 1:
        return real[:, None, None, :]
    causal = torch.ones(queries, real.shape[1], dtype=torch.bool, device=real.device)
    past = real.shape[1] - queries
    # A padded query attends to itself: a row with nothing to attend to would be NaN.
    alone = torch.eye(queries, dtype=torch.bool, device=real.device)
    alone = torch.nn.functional.pad(alone, (past, 0))
    return ((causal.tril(past) & real[:, None, :]) | alone)[:, None]


def position_arguments(hf: Any, positions: torch.Tensor) -> dict[str, torch.Tensor]:
    """`position_ids` for a forward pass, if the model takes them."""
    return {"position_ids": positions} if architectures.takes_position_ids(hf) else {}
