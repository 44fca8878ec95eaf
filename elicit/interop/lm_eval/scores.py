"""log p of continuations, and whether greedy decoding would give them. As lm-eval counts: over the whole vocabulary.

`Policy.score` leaves out the pad token too, whose logit means nothing; lm-eval leaves out no token, and its figures are
compared with those of other harnesses. (Rows that are no tokens, which lm-eval counts, are left out by both; a trained
model gives them next to nothing.) Continuations that differ in their last token alone
(the options of a multiple choice) share one forward pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float

from elicit.policy import Policy
from elicit.rotary import RotaryScaling, frequency_group, length_scaling
from elicit.sampling import Engine, Scored
from elicit.sampling.score import PackedBatch, hidden_states, project_to_logits

#: Tokens in one forward pass.
_TOKENS = 1 << 14


class ContinuationScore(NamedTuple):
    logprob: float
    """Sum over the continuation's tokens, in nats."""
    greedy: bool
    """Every token is the most probable one in its place."""


def score_continuations(
    policy: Policy,
    sequences: Sequence[Scored],
    sink: Callable[[int, ContinuationScore], None],
    *,
    rows: int | None = None,
) -> None:
    """Score every sequence; `sink` gets its place and score as soon as they are there.

    Args:
        rows: at most so many forward passes at a time; None leaves it to the scorer's budget of tokens.
    """
    if not sequences:
        return  # before any steering opens, which would rightly complain that it touched nothing
    engine = dataclasses.replace(policy.model.engine, banned_ids=policy.model.unassigned_ids)
    shared: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for index, (prompt, completion) in enumerate(sequences):
        shared.setdefault((prompt, completion[:-1]), []).append(index)
    groups = sorted(shared.values(), key=lambda indices: -_count_input_tokens(sequences[indices[0]]))
    with policy.apply(), torch.inference_mode():
        lengths = [_count_input_tokens(sequences[indices[0]]) for indices in groups]
        for batch_slice in _plan_score_batches(lengths, rows, length_scaling(engine.hf.config)):
            batch = groups[batch_slice]
            hidden = hidden_states(engine, _pack_continuations(engine, [sequences[indices[0]] for indices in batch]))
            for row, indices in enumerate(batch):
                completions = [sequences[index].completion for index in indices]
                start = len(sequences[indices[0]].prompt) - 1
                states = hidden[row, start : start + len(completions[0])]
                for index, score in zip(indices, _score_shared_prefix(engine, states, completions), strict=True):
                    sink(index, score)


def _count_input_tokens(sequence: Scored) -> int:
    """Tokens that the model reads: the last one is only predicted, and may be one more than the context holds."""
    return len(sequence.prompt) + len(sequence.completion) - 1


def _plan_score_batches(lengths: Sequence[int], rows: int | None, scaling: RotaryScaling | None) -> Iterator[slice]:
    """Group sequences, the longest first, into batches for the model."""
    start = 0
    while start < len(lengths):
        group = frequency_group(scaling, lengths[start])
        alike = next(
            (i for i in range(start, len(lengths)) if frequency_group(scaling, lengths[i]) != group), len(lengths)
        )
        size = max(1, min(rows or len(lengths), _TOKENS // lengths[start], alike - start))
        yield slice(start, start + size)
        start += size


def _pack_continuations(engine: Engine, sequences: Sequence[Scored]) -> PackedBatch:
    """One batch, padded on the right, where a causal model cannot see it."""
    lengths = torch.tensor([_count_input_tokens(sequence) for sequence in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), engine.pad_id)
    for row, sequence in enumerate(sequences):
        ids[row, : lengths[row]] = torch.tensor([*sequence.prompt, *sequence.completion[:-1]])
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    prompts = torch.tensor([len(sequence.prompt) for sequence in sequences])
    return PackedBatch(list(range(len(sequences))), ids, real, prompts)


def _score_shared_prefix(
    engine: Engine, states: Float[torch.Tensor, "token d_model"], completions: Sequence[tuple[int, ...]]
) -> list[ContinuationScore]:
    """Scores of completions that differ in their last token at most."""
    targets = torch.tensor(completions[0], device=states.device)
    vocabulary = engine.hf.config.get_text_config(decoder=True).vocab_size
    chunk_size = max(1, engine.logit_budget // vocabulary)
    before, greedy = 0.0, True
    for start in range(0, len(targets), chunk_size):
        logprobs = project_to_logits(engine, states[start : start + chunk_size]).log_softmax(-1)
        piece_targets = targets[start : start + chunk_size]
        if start + chunk_size >= len(targets):
            last, logprobs, piece_targets = logprobs[-1], logprobs[:-1], piece_targets[:-1]
        before += float(logprobs.gather(1, piece_targets[:, None]).sum())
        greedy = greedy and bool((logprobs.argmax(-1) == piece_targets).all())
    top = int(last.argmax())
    return [ContinuationScore(before + float(last[tokens[-1]]), greedy and tokens[-1] == top) for tokens in completions]
