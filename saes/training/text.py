"""Text as token ids: which sequences train and which judge, and residuals in an order that belongs to the seed.

Residuals are shuffled in pools. A pool is as many sequences as fill the buffer, taken from the text in an order drawn
by (seed, epoch); its tokens are shuffled by (seed, pool). So batch number n is a function of text, plan and n alone: a
training goes on at any step without a saved buffer, by counting tokens until the pool that holds it. Text that fits
the buffer whole is harvested once, and every pool is one epoch of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from elicit import seeds
from elicit.errors import ElicitError
from saes.activations import stream

#: Share of the different sequences that is kept from training to judge, and how many sequences and tokens are enough.
HELD_OUT = 1 / 16
MOST_HELD_OUT = 512
MOST_TOKENS = 32_768
#: Leading tokens of each sequence that no SAE sees.
SKIP = 1
#: Tokens that norms, the starting bias and thresholds are measured on.
SAMPLE = 32_768

Ids = Sequence[Sequence[int]]


class Split(NamedTuple):
    """Text, divided."""

    train: Ids
    held_out: Ids
    """Different sequences, none of which occurs in `train`."""
    sha256: str
    """Hash of all ids, held-out ones included."""


def split_text(sequences: Ids) -> Split:
    """Keep a sixteenth of the different sequences for judging: those whose content has the smallest hash.

    Raises:
        ElicitError: fewer than two different sequences of two tokens or more.
    """
    total = hashlib.sha256()
    indices: dict[bytes, list[int]] = {}
    for index, sequence in enumerate(sequences):
        ids = np.asarray(sequence, dtype="<i4").tobytes()
        total.update(len(ids).to_bytes(8, "little") + ids)
        if len(sequence) > SKIP:
            indices.setdefault(hashlib.blake2b(ids, digest_size=16).digest(), []).append(index)
    if len(indices) < 2:
        raise ElicitError(
            f"the text has {len(indices)} different sequences of {SKIP + 1} tokens or more; expected at least 2 (one "
            "in "
            "sixteen is kept to judge the SAE, and the first token of each is left out)."
        )
    order = sorted(indices)[: min(MOST_HELD_OUT, max(1, round(len(indices) * HELD_OUT)))]
    read = np.cumsum([len(sequences[indices[digest][0]]) for digest in order])
    held_out = [indices.pop(digest)[0] for digest, tokens in zip(order, read, strict=True) if tokens <= MOST_TOKENS]
    held_out = held_out or [indices.pop(order[0])[0]]
    train = sorted(index for group in indices.values() for index in group)
    return Split([sequences[i] for i in train], [sequences[i] for i in held_out], total.hexdigest())


def count_usable_tokens(sequences: Ids) -> Int[np.ndarray, " sequence"]:
    """Tokens of each sequence that an SAE sees."""
    return np.maximum(np.array([len(sequence) for sequence in sequences], dtype=np.int64) - SKIP, 0)


def harvest_residuals(model: Any, layer: int, sequences: Ids) -> Float[torch.Tensor, "token d_model"]:
    """All of them at once, in float32 on the model's device."""
    return torch.cat([harvest.h.float() for harvest in stream(model, layer, sequences, skip=SKIP)])


def sample_residuals(model: Any, layer: int, sequences: Ids) -> Float[torch.Tensor, "token d_model"]:
    """The residuals of some training text: at most `SAMPLE` tokens and a sequence more, drawn by identity."""
    order = seeds.make_generator("sae sample").permutation(len(sequences))
    enough = int(np.searchsorted(np.cumsum(count_usable_tokens(sequences)[order]), SAMPLE)) + 1
    return harvest_residuals(model, layer, [sequences[i] for i in order[:enough]])


def iterate_residual_batches(
    model: Any, layer: int, sequences: Ids, *, batch: int, buffer: int, seed: int, start: int = 0
) -> Iterator[Float[torch.Tensor, "batch d_model"]]:
    """Endless shuffled residuals from batch number `start` on.

    Raises:
        ElicitError: text shorter than one batch.
    """
    lengths = count_usable_tokens(sequences)
    total = int(lengths.sum())
    if total < batch:
        raise ElicitError(
            f"the text has {total:,} tokens to train on, less than one step of {batch:,}. Give more text, or a smaller "
            "batch."
        )
    whole = harvest_residuals(model, layer, sequences) if total <= buffer else None
    groups = _iterate_epochs(len(sequences)) if whole is not None else _iterate_pools(lengths, buffer, seed)
    for number, (chosen, tokens) in enumerate(groups):
        pool_tokens = total if whole is not None else tokens
        if start >= pool_tokens // batch:
            start -= pool_tokens // batch
            continue
        pool = whole if whole is not None else harvest_residuals(model, layer, [sequences[i] for i in chosen])
        order = torch.from_numpy(seeds.make_generator("sae pool", seed, number).permutation(pool_tokens))
        for n in range(start, pool_tokens // batch):
            yield pool[order[n * batch : (n + 1) * batch].to(pool.device)]
        start = 0


def _iterate_epochs(n: int) -> Iterator[tuple[list[int], int]]:
    while True:
        yield [], n


def _iterate_pools(lengths: Int[np.ndarray, " sequence"], buffer: int, seed: int) -> Iterator[tuple[list[int], int]]:
    """(sequences, their tokens) of each pool: epoch after epoch, each in an order of its own."""
    chosen: list[int] = []
    tokens = 0
    for epoch in count():
        for sequence_index in seeds.make_generator("sae epoch", seed, epoch).permutation(len(lengths)).tolist():
            chosen.append(sequence_index)
            tokens += int(lengths[sequence_index])
            if tokens >= buffer:
                yield chosen, tokens
                chosen, tokens = [], 0
