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
from elicit.rotary import Scaling, length_scaling, shared_pass
from elicit.sampling import Engine, Scored
from elicit.sampling.score import Packed, head, hidden_states

#: Tokens in one forward pass.
_TOKENS = 1 << 14


class Score(NamedTuple):
    logprob: float
    """Sum over the continuation's tokens, in nats."""
    greedy: bool
    """Every token is the most probable one in its place."""


def scores(
    policy: Policy, sequences: Sequence[Scored], sink: Callable[[int, Score], None], *, rows: int | None = None
) -> None:
    """Score every sequence; `sink` gets its place and score as soon as they are there.

    Args:
        rows: at most so many forward passes at a time; None leaves it to the scorer's budget of tokens.
    """
    if not sequences:
        return  # before any steering opens, which would rightly complain that it touched nothing
    engine = dataclasses.replace(policy.model.engine, banned_ids=policy.model.unassigned_ids)
    shared: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for place, (prompt, completion) in enumerate(sequences):
        shared.setdefault((prompt, completion[:-1]), []).append(place)
    groups = sorted(shared.values(), key=lambda places: -_read(sequences[places[0]]))
    with policy.applied(), torch.inference_mode():
        lengths = [_read(sequences[places[0]]) for places in groups]
        for some in _batches(lengths, rows, length_scaling(engine.hf.config)):
            batch = groups[some]
            hidden = hidden_states(engine, _packed(engine, [sequences[places[0]] for places in batch]))
            for row, places in enumerate(batch):
                completions = [sequences[place].completion for place in places]
                start = len(sequences[places[0]].prompt) - 1
                states = hidden[row, start : start + len(completions[0])]
                for place, score in zip(places, _judged(engine, states, completions), strict=True):
                    sink(place, score)


def _read(sequence: Scored) -> int:
    """Tokens that the model reads: the last one is only predicted, and may be one more than the context holds."""
    return len(sequence.prompt) + len(sequence.completion) - 1


def _batches(lengths: Sequence[int], rows: int | None, scaling: Scaling | None) -> Iterator[slice]:
    """Which of the sequences, the longest first, go through the model together."""
    start = 0
    while start < len(lengths):
        group = shared_pass(scaling, lengths[start])
        alike = next((i for i in range(start, len(lengths)) if shared_pass(scaling, lengths[i]) != group), len(lengths))
        size = max(1, min(rows or len(lengths), _TOKENS // lengths[start], alike - start))
        yield slice(start, start + size)
        start += size


def _packed(engine: Engine, sequences: Sequence[Scored]) -> Packed:
    """One batch, padded on the right, where a causal model cannot see it."""
    lengths = torch.tensor([_read(sequence) for sequence in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), engine.pad_id)
    for row, sequence in enumerate(sequences):
        ids[row, : lengths[row]] = torch.tensor([*sequence.prompt, *sequence.completion[:-1]])
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    prompts = torch.tensor([len(sequence.prompt) for sequence in sequences])
    return Packed(list(range(len(sequences))), ids, real, prompts)


def _judged(
    engine: Engine, states: Float[torch.Tensor, "token d_model"], completions: Sequence[tuple[int, ...]]
) -> list[Score]:
    """Scores of completions that differ in their last token at most."""
    targets = torch.tensor(completions[0], device=states.device)
    vocabulary = engine.hf.config.get_text_config(decoder=True).vocab_size
    piece = max(1, engine.logit_budget // vocabulary)
    before, greedy = 0.0, True
    for start in range(0, len(targets), piece):
        logprobs = head(engine, states[start : start + piece]).log_softmax(-1)
        some = targets[start : start + piece]
        if start + piece >= len(targets):
            last, logprobs, some = logprobs[-1], logprobs[:-1], some[:-1]
        before += float(logprobs.gather(1, some[:, None]).sum())
        greedy = greedy and bool((logprobs.argmax(-1) == some).all())
    top = int(last.argmax())
    return [Score(before + float(last[tokens[-1]]), greedy and tokens[-1] == top) for tokens in completions]
