"""Teacher-forced scoring: log-probabilities of given completions, and KL between two ways of running a model.

Sequences are padded on the right, which a causal model cannot see, so an attention mask is not needed. Logits are
computed from the hidden states in pieces, so that their memory is bounded for any length and vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int

from elicit.context import check_text_fits
from elicit.loading import architectures, rows
from elicit.loading.logits import compute_model_logits
from elicit.rotary import frequency_group, length_scaling
from elicit.sampling.forward import Engine
from elicit.steering import build_padded_frame

#: Logits that are converted to probabilities at a time, in float32.
_PIECE = 1 << 23


class Scored(NamedTuple):
    """A prompt and the completion to score."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


class PackedBatch(NamedTuple):
    indices: list[int]
    ids: Int[torch.Tensor, "batch pos"]
    real: torch.Tensor
    prompt_lengths: Int[torch.Tensor, " batch"]


def logprobs(engine: Engine, sequences: Sequence[Scored], *, temperature: float = 1.0) -> list[list[float]]:
    """log p(x_t | x_<t) of every completion token, in nats, in the order of `sequences`.

    Active steering applies, with the prompt lengths of `sequences`.
    """
    scored: list[list[float]] = [[] for _ in sequences]
    with torch.inference_mode():
        for packed in pack_batches(engine, sequences):
            hidden = hidden_states(engine, packed)
            for row, index in enumerate(packed.indices):
                scored[index] = _row_logprobs(engine, hidden[row], sequences[index], temperature)
    return scored


def logprobs_to_end(
    engine: Engine, sequences: Sequence[Scored], ends: Sequence[Collection[int]]
) -> list[tuple[list[float], float]]:
    """(log p of every completion token, log p that one of the tokens `ends` follows) of each sequence, in nats.

    Args:
        ends: for every sequence, the ids that may follow its completion; at least one that can be drawn.
    """
    scored: list[tuple[list[float], float]] = [([], 0.0) for _ in sequences]
    with torch.inference_mode():
        for packed in pack_batches(engine, sequences):
            hidden = hidden_states(engine, packed)
            for row, index in enumerate(packed.indices):
                sequence = sequences[index]
                last = hidden[row, len(sequence.prompt) + len(sequence.completion) - 1][None]
                following = project_to_logits(engine, last)[0].log_softmax(-1)
                end = following[rows.make_id_tensor(tuple(sorted(ends[index])), following.device)].logsumexp(-1)
                scored[index] = _row_logprobs(engine, hidden[row], sequence, 1.0), float(end)
    return scored


class Divergence(NamedTuple):
    """Mean KL per token of one sequence, in nats, in both directions."""

    base_arm: float
    """KL(base || arm)."""
    arm_base: float
    """KL(arm || base)."""
    tokens: int


def measure_divergences(
    engine: Engine,
    sequences: Sequence[Scored],
    base: Callable[[], AbstractContextManager[object]],
    arm: Callable[[], AbstractContextManager[object]],
) -> list[Divergence]:
    """Measure KL in both directions between two conditions of a model, over the completion tokens of every sequence.

    Args:
        base, arm: open a context in which the model runs (weights, adapter, steering).
    """
    results: list[Divergence | None] = [None for _ in sequences]
    with torch.inference_mode():
        for packed in pack_batches(engine, sequences, vocabulary_matters=True):
            with base():
                left = _completion_logits(engine, packed, sequences)
            with arm():
                hidden = hidden_states(engine, packed)
                for row, (index, logits) in enumerate(zip(packed.indices, left, strict=True)):
                    results[index] = _measure_divergence(
                        engine, logits, hidden[row, _completion_slice(sequences[index])]
                    )
    return [divergence for divergence in results if divergence is not None]


def _measure_divergence(
    engine: Engine, left: Float[torch.Tensor, "pos vocab"], hidden: Float[torch.Tensor, "pos d_model"]
) -> Divergence:
    """KL between the base's logits and those of the arm's hidden states, a piece of the sequence at a time."""
    size, sums = max(1, _PIECE // left.shape[1]), torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(left), size):
        p = _mask_banned(engine, left[start : start + size]).log_softmax(-1)
        q = project_to_logits(engine, hidden[start : start + size]).log_softmax(-1)
        difference = p - q
        sums[0] += float((p.exp() * difference).sum(-1, dtype=torch.float64).sum())
        sums[1] -= float((q.exp() * difference).sum(-1, dtype=torch.float64).sum())
    forward, backward = (max(0.0, float(value)) for value in sums / len(left))
    return Divergence(forward, backward, len(left))


def project_to_logits(engine: Engine, hidden: Float[torch.Tensor, "pos d_model"]) -> Float[torch.Tensor, "pos vocab"]:
    """Logits of final hidden states, as the model's own forward computes them (float32)."""
    return _mask_banned(engine, _project_to_raw_logits(engine, hidden))


def _project_to_raw_logits(engine: Engine, hidden: torch.Tensor) -> torch.Tensor:
    """The same in the model's dtype, including banned ids."""
    return compute_model_logits(engine.hf, hidden)


def _mask_banned(engine: Engine, logits: torch.Tensor) -> torch.Tensor:
    logits = logits.float()
    if engine.banned_ids:
        # Finite, so that KL has no inf - inf; exp of this is exactly 0 in float32.
        logits = logits.index_fill(1, rows.make_id_tensor(engine.banned_ids, logits.device), -1e9)
    return logits


def pack_batches(
    engine: Engine, sequences: Sequence[Scored], *, vocabulary_matters: bool = False
) -> Iterator[PackedBatch]:
    """Pack sequences whose completions are scored; each has a token on both sides."""
    for i, sequence in enumerate(sequences):
        if not sequence.prompt or not sequence.completion:
            raise ValueError(f"sequence {i} has an empty prompt or completion; scoring needs a token on both sides")
    vocabulary = engine.hf.config.get_text_config(decoder=True).vocab_size
    budget = engine.pass_tokens
    if vocabulary_matters:
        budget = min(budget, max(1, 2 * _PIECE // vocabulary))
    return pack_sequences(engine, sequences, budget)


def pack_sequences(engine: Engine, sequences: Sequence[Scored], budget: int) -> Iterator[PackedBatch]:
    """Pack sequences, shortest first, into batches of at most `budget` padded tokens; `rotary` separates some lengths.

    Raises:
        ElicitError: a sequence is longer than the model's positions.
    """
    context = engine.context
    for sequence in sequences:
        check_text_fits(len(sequence.prompt) + len(sequence.completion), context)
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].prompt) + len(sequences[i].completion))
    scaling = length_scaling(engine.hf.config)
    group = 0
    batch: list[int] = []
    for index in order:
        width = len(sequences[index].prompt) + len(sequences[index].completion)
        before, group = group, frequency_group(scaling, width)
        if batch and (group != before or (len(batch) + 1) * width > budget):
            yield _pack_batch(engine, sequences, batch)
            batch = []
        batch.append(index)
    if batch:
        yield _pack_batch(engine, sequences, batch)


def _pack_batch(engine: Engine, sequences: Sequence[Scored], indices: list[int]) -> PackedBatch:
    read = [[*sequences[i].prompt, *sequences[i].completion] for i in indices]
    width = max(map(len, read))
    ids = torch.full((len(read), width), engine.pad_id)
    for i, row in enumerate(read):
        ids[i, : len(row)] = torch.tensor(row)
    real = torch.arange(width) < torch.tensor([len(row) for row in read])[:, None]
    return PackedBatch(indices, ids, real, torch.tensor([len(sequences[i].prompt) for i in indices]))


def hidden_states(engine: Engine, packed: PackedBatch) -> Float[torch.Tensor, "batch pos d_model"]:
    """Final hidden states (after the last norm)."""
    engine.clock.explicit = build_padded_frame(packed.real, packed.prompt_lengths)
    try:
        out = architectures.get_decoder(engine.hf)(input_ids=packed.ids.to(engine.hf.device), use_cache=False)
    finally:
        engine.clock.explicit = None
    return out.last_hidden_state  # type: ignore[no-any-return]


def _row_logprobs(engine: Engine, hidden: torch.Tensor, sequence: Scored, temperature: float) -> list[float]:
    first = len(sequence.prompt) - 1
    targets = torch.tensor(sequence.completion, device=hidden.device)
    states = hidden[first : first + len(targets)]
    vocabulary = engine.hf.config.get_text_config(decoder=True).vocab_size
    piece = max(1, _PIECE // vocabulary)
    scored: list[float] = []
    for start in range(0, len(targets), piece):
        logits = project_to_logits(engine, states[start : start + piece]) / temperature
        picked = logits.gather(1, targets[start : start + piece, None].to(logits.device))[:, 0]
        scored += (picked - logits.logsumexp(-1)).tolist()
    return scored


def _completion_slice(sequence: Scored) -> slice:
    """The positions that predict the completion's tokens."""
    first = len(sequence.prompt) - 1
    return slice(first, first + len(sequence.completion))


def _completion_logits(engine: Engine, packed: PackedBatch, sequences: Sequence[Scored]) -> list[torch.Tensor]:
    """Logits that predict each row's completion tokens, in the model's dtype: [completion vocab]."""
    hidden = hidden_states(engine, packed)
    return [
        _project_to_raw_logits(engine, hidden[row, _completion_slice(sequences[i])])
        for row, i in enumerate(packed.indices)
    ]
