"""Forward passes of a batch of rows: prefill, decoding steps, and what is carried between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from elicit.loading import architectures
from elicit.sampling.cache import preallocated
from elicit.sampling.decoding import Decoding, Request
from elicit.steering import Clock, padded_frame, spread_frame, step_frame

#: Initial room in the cache beyond the prompt; longer completions make it grow.
_ROOM = 128


@dataclass(frozen=True)
class Engine:
    """A model with what sampling from it needs."""

    hf: Any
    """The transformers causal LM, in eval mode."""
    tokenizer: Any
    clock: Clock
    end_ids: frozenset[int]
    pad_id: int
    banned_ids: tuple[int, ...] = ()
    """Token ids that are never chosen."""
    cache_budget: int = 1 << 30
    """Bytes of keys and values in one batch."""
    logit_budget: int = 1 << 26
    """Logits (rows x vocabulary) in one step."""


@dataclass
class State:
    """What a batch carries from step to step."""

    cache: Any
    mask: torch.Tensor | None
    """[rows, prompt length + room], True at real tokens; None where prompts have equal lengths."""
    lengths: torch.Tensor
    """Real prompt tokens of each row."""
    width: int
    """Length of the padded prompt."""
    forced: torch.Tensor | None
    """Tokens of a forced opening in each row, which steering counts as generated; None where there are none."""
    ledger: np.ndarray

    def keep(self, order: np.ndarray) -> None:
        """Shrink to the slots in `order`, which is the identity but for slots that were filled from behind."""
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
            self.forced = self.forced[indices]


class Forward(Protocol):
    """How next-token logits come about. The sampler keeps a state between calls and shrinks it with `state.keep`."""

    def prefill(
        self, engine: Engine, asked: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[Any, torch.Tensor]:
        """Run every prompt. Returns (state, logits [rows vocab]), a row for each sample."""
        ...

    def step(self, engine: Engine, state: Any, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
        """One decoding step for the rows in the batch. Returns logits [rows vocab]."""
        ...


class Plain:
    """The model's own forward pass."""

    def prefill(
        self, engine: Engine, asked: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[State, torch.Tensor]:
        return prefill(engine, asked, samples, decoding)

    def step(self, engine: Engine, state: State, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
        return step(engine, state, tokens, rows, offset)


PLAIN = Plain()


def prefill(engine: Engine, asked: list[Request], samples: list[int], decoding: Decoding) -> tuple[State, torch.Tensor]:
    """Run every prompt once, then repeat its cache for its samples. Returns (state, logits [rows vocab])."""
    device = engine.hf.device
    prompts = [request.ids for request in asked]
    forced = torch.tensor([request.forced for request in asked])
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), engine.pad_id)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    real = torch.arange(width) >= width - lengths[:, None]
    padded = bool((lengths < width).any())
    ledger = np.zeros(len(prompts), dtype=int)
    engine.clock.explicit = padded_frame(real, lengths - forced, rows=np.arange(len(prompts)), ledger=ledger)
    cache = preallocated(engine.hf, width + min(decoding.max_new_tokens, _ROOM))
    out = engine.hf(
        input_ids=ids.to(device),
        attention_mask=_mask(engine, real.to(device), width) if padded else None,
        position_ids=(real.long().cumsum(1) - 1).clamp(min=0).to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    repeat = torch.tensor(samples)
    order = torch.arange(len(prompts)).repeat_interleave(repeat)
    if max(samples) > 1:
        if min(samples) == max(samples):
            cache.batch_repeat_interleave(samples[0])
        else:
            for layer in cache.layers:
                layer.repeat_rows(order.to(device))
    mask = None
    if padded:
        whole = torch.ones(len(prompts), width + decoding.max_new_tokens, dtype=torch.bool)
        whole[:, :width] = real
        mask = whole[order].to(device)
    behind = forced[order].to(device) if bool(forced.any()) else None
    state = State(cache, mask, lengths[order].to(device), width, behind, ledger[order.numpy()])
    return state, out.logits[:, -1][order.to(device)]


def step(engine: Engine, state: State, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
    """One decoding step for the rows in the batch. Returns logits [rows vocab]."""
    frame = step_frame(offset, rows, state.ledger)
    if state.forced is not None:
        frame = spread_frame(offset + state.forced, rows, state.ledger)
    engine.clock.explicit = frame
    length = state.width + offset
    mask = None if state.mask is None else _mask(engine, state.mask[:, :length], 1)
    out = engine.hf(
        input_ids=tokens[:, None],
        attention_mask=mask,
        position_ids=(state.lengths + offset - 1)[:, None],
        past_key_values=state.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return out.logits[:, -1]  # type: ignore[no-any-return]


def _mask(engine: Engine, real: torch.Tensor, queries: int) -> torch.Tensor:
    """The attention mask of the last `queries` positions given which of all positions are real.

    With SDPA and full attention, a ready 4D boolean mask spares the model from building one at every step. Sliding
    windows and eager attention need the 2D mask, from which the model builds its own.
    """
    config = engine.hf.config.get_text_config(decoder=True)
    if config._attn_implementation != "sdpa" or architectures.is_sliding(engine.hf):
        return real.long()
    if queries == 1:
        return real[:, None, None, :]
    causal = torch.ones(queries, queries, dtype=torch.bool, device=real.device).tril()
    # A padded query attends to itself: a row with nothing to attend to would be NaN.
    alone = torch.eye(queries, dtype=torch.bool, device=real.device)
    return ((causal & real[:, None, :]) | alone)[:, None]
