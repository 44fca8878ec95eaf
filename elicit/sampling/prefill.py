"""Prefill the prompts of a batch in pieces, running a shared prefix only once.

1. The prefix of all prompts (a chat's header, demonstrations) is run once, if that saves enough tokens.
2. Prompts are run a piece at a time, which bounds the memory of a forward pass. They are already sorted by length, so a
   piece has less padding than the whole batch.
3. Each piece's keys and values are copied to their rows in the batch's cache, once for every sample of a prompt.

A shared prefix lies before every row's last prompt token, where a window of offsets (`steering.positions`) holds all
positions or none: steering is the same for all rows. Other position forms may differ there, and the prefix is then run
with each prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers.cache_utils import Cache

from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.rotary import frequency_group, length_scaling
from elicit.sampling.cache import PreallocatedLayer, preallocate_cache
from elicit.sampling.decoding import Decoding, Request
from elicit.sampling.forward import (
    DecodingState,
    Engine,
    attention_mask,
    decode_step,
    position_arguments,
)
from elicit.steering import build_padded_frame

#: Tokens of forward passes that a shared prefix must save.
_WORTH = 512


class PlainForward:
    """The model's own forward pass."""

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[DecodingState, torch.Tensor]:
        return prefill_prompts(engine, requests, samples, decoding)

    def step(
        self, engine: Engine, state: DecodingState, tokens: torch.Tensor, rows: np.ndarray, offset: int
    ) -> torch.Tensor:
        return decode_step(engine, state, tokens, rows, offset)


PLAIN = PlainForward()


def prefill_prompts(
    engine: Engine, requests: Sequence[Request], samples: Sequence[int], decoding: Decoding, *, whole: bool = False
) -> tuple[DecodingState, torch.Tensor]:
    """Run every prompt once, then repeat its cache for its samples. Returns (state, logits [rows vocab]).

    Args:
        whole: run all prompts in one pass from their first token on, for a caller that captures it.
    """
    device = engine.hf.device
    lengths = torch.tensor([len(request.ids) for request in requests])
    forced = torch.tensor([request.forced for request in requests])
    head = 0 if whole else _count_shared_tokens(engine, requests, decoding)
    width = int(lengths.max())
    firing_counts = np.zeros(len(requests), dtype=int)
    capacity = width + decoding.max_new_tokens
    prefix = _run_shared_prefix(engine, requests, head, firing_counts) if head else None
    pieces = [range(len(requests))] if whole else list(_split_pieces(lengths - head, engine.pass_tokens))
    repeat = torch.tensor(samples)
    order = torch.arange(len(requests)).repeat_interleave(repeat)
    if len(pieces) == 1 and max(samples) == 1:
        cache, logits = _run_piece(engine, requests, pieces[0], head, prefix, firing_counts, capacity)
    else:
        cache, piece_logits, first = preallocate_cache(engine.hf, capacity), [], 0
        for piece in pieces:
            part, last = _run_piece(
                engine, requests, piece, head, prefix, firing_counts, int(lengths[list(piece)].max())
            )
            piece_order = torch.arange(len(piece)).repeat_interleave(repeat[list(piece)]).to(device)
            while part.layers:  # release each layer of the piece as soon as it is copied
                layer: PreallocatedLayer = part.layers.pop(0)
                cache.layers[-len(part.layers) - 1].insert_rows(layer, piece_order, first, len(order), width, head)
            first += len(piece_order)
            piece_logits.append(last)
        logits = torch.cat(piece_logits)[order.to(device)]
    mask = None
    if bool((lengths < width).any()):
        real = torch.ones(len(requests), width + decoding.max_new_tokens, dtype=torch.bool)
        real[:, head:width] = torch.arange(head, width) >= width - (lengths - head)[:, None]
        mask = real[order].to(device)
    behind = forced[order].numpy() if bool(forced.any()) else None
    tokens = None
    if _may_recompute_cache(engine, requests, decoding):
        tokens = torch.tensor([request.ids for request in requests])[order].to(device)
    texts = [list(requests[i].ids) for i in order.tolist()] if engine.clock.reads_rows else None
    return DecodingState(
        cache, mask, lengths[order].to(device), width, behind, firing_counts[order.numpy()], tokens, texts
    ), logits


def _may_recompute_cache(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> bool:
    """True if rows can reach the length at which their cache must be recomputed.

    Raises:
        ElicitError: prompts differ in length. The sampler separates lengths for its own model, but not for a second
            one.
    """
    scaling = length_scaling(engine.hf.config)
    lengths = {len(request.ids) for request in requests}
    if (
        scaling is None
        or not scaling.recomputed
        or not min(lengths) <= scaling.limit < max(lengths) + decoding.max_new_tokens
    ):
        return False
    if len(lengths) > 1:
        raise ElicitError(
            f"prompts of {min(lengths)} to {max(lengths)} tokens with a second model whose rotary scaling changes at "
            f"{scaling.limit} tokens. Use prompts of equal length, or fewer new tokens."
        )
    return True


def _count_shared_tokens(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> int:
    """Number of first tokens to run once for all prompts; 0 for none."""
    if len(requests) < 2 or not engine.takes_ready_masks or engine.clock.reads_rows:
        return 0
    scaling, room = length_scaling(engine.hf.config), decoding.max_new_tokens
    if any(frequency_group(scaling, len(request.ids), len(request.ids) + room) for request in requests):
        return 0  # the first tokens alone would have the frequencies of a short text
    least, most = min(request.ids for request in requests), max(request.ids for request in requests)
    same = next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(len(least), len(most)))
    same = min(same, *(len(request.ids) - request.forced - 1 for request in requests))
    return same if same * (len(requests) - 1) >= _WORTH else 0


def _split_pieces(lengths: torch.Tensor, most: int) -> Iterator[range]:
    """Split neighbouring rows into pieces of at most `most` padded tokens, or single rows."""
    first, widest = 0, 0
    for row, length in enumerate(lengths.tolist()):
        widest = max(widest, length)
        if row > first and widest * (row + 1 - first) > most:
            yield range(first, row)
            first, widest = row, length
    yield range(first, len(lengths))


def _run_shared_prefix(
    engine: Engine, requests: Sequence[Request], head: int, firing_counts: np.ndarray
) -> list[PreallocatedLayer]:
    """Run the first `head` tokens. Returns their cache, with one row."""
    cache = preallocate_cache(engine.hf, head)
    shortest = min(len(request.ids) - request.forced for request in requests)
    real = torch.ones(1, head, dtype=torch.bool)
    engine.clock.explicit = build_padded_frame(
        real, torch.tensor([shortest]), rows=np.arange(len(requests)), firing_counts=firing_counts
    )
    ids = torch.tensor([requests[0].ids[:head]], device=engine.hf.device)
    positions = torch.arange(head, device=engine.hf.device)[None]
    architectures.get_decoder(engine.hf)(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
    return list(cache.layers)


def _run_piece(
    engine: Engine,
    requests: Sequence[Request],
    piece: range,
    head: int,
    prefix: list[PreallocatedLayer] | None,
    firing_counts: np.ndarray,
    capacity: int,
) -> tuple[Cache, torch.Tensor]:
    """Run some prompts, padded on the left, in one forward pass. Returns (cache, logits [prompts vocab])."""
    device = engine.hf.device
    rests = [requests[row].ids[head:] for row in piece]
    lengths = torch.tensor([len(rest) for rest in rests])
    forced = torch.tensor([requests[row].forced for row in piece])
    width = int(lengths.max())
    ids = torch.full((len(rests), width), engine.pad_id)
    for i, rest in enumerate(rests):
        ids[i, width - len(rest) :] = torch.tensor(rest)
    real = torch.arange(width) >= width - lengths[:, None]
    start = torch.full((len(rests),), head)
    rows = np.array(piece)
    engine.clock.explicit = build_padded_frame(
        real,
        lengths + head - forced,
        start=start,
        rows=rows,
        firing_counts=firing_counts,
        texts=[requests[row].ids for row in piece] if engine.clock.reads_rows else None,
    )
    cache = preallocate_cache(engine.hf, capacity)
    if prefix is not None:
        for layer, shared in zip(cache.layers, prefix, strict=True):
            layer.copy_prefix(shared, len(rests))
    seen = torch.nn.functional.pad(real, (head, 0), value=True).to(device)
    masked = head > 0 or bool((lengths < width).any())
    out = engine.hf(
        input_ids=ids.to(device),
        attention_mask=attention_mask(engine, seen, width) if masked else None,
        **position_arguments(engine.hf, (real.long().cumsum(1) - 1 + head).clamp(min=0).to(device)),
        past_key_values=cache,
        use_cache=True,
        # An index, not a count: a slice is not contiguous, and torch then copies a frozen head's weight once per prompt
        # (in bfloat16, 24 prompts took a minute and 4 GB with a vocabulary of 150k).
        logits_to_keep=torch.tensor([width - 1], device=device),
    )
    return cache, out.logits[:, -1]
