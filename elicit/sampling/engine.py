"""The sampler: one engine for every policy.

1. Requests are sorted by prompt length and split into batches by a memory budget (cache bytes and logits).
2. Each prompt is prefilled once, a few prompts at a time; its cache is repeated for its samples (`prefill`).
3. Decoding steps write into a preallocated cache; finished rows leave the batch, together with their steering window
   and random numbers.
4. A batch that runs out of memory is split in half and tried again: random numbers belong to samples, so the text does
   not change.

Every forward pass is announced to the model's `PositionTracker`, so that steering knows each row's position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from elicit.context import check_sampling_fits
from elicit.loading import rows as token_rows
from elicit.rotary import frequency_group, length_scaling
from elicit.sampling.cache import cache_bytes_per_token
from elicit.sampling.choose import ChosenTokens, UniformStream, build_logits_processors, choose_tokens, select_by_rank
from elicit.sampling.decoding import Completion, Decoding, Measure, Request
from elicit.sampling.elsewhere import Elsewhere
from elicit.sampling.forward import Engine, Forward
from elicit.sampling.prefill import PLAIN
from elicit.sampling.stopping import Stopper
from elicit.schema import Finish

#: Where completions come from: logits of every step, or another engine that answers whole requests.
Source = Forward | Elsewhere


def generate(
    engine: Engine,
    requests: Sequence[Request],
    decoding: Decoding,
    forward: Source = PLAIN,
    *,
    measure: Measure | None = None,
) -> list[list[Completion]]:
    """Sample every request. Returns its completions in the order of its keys.

    The same keys give the same text at any batch size (exactly in float32).

    Args:
        forward: source of the logits, by default the model's own forward pass; or another engine, which answers whole
            requests.
        measure: quantity to return in the completions' `measured`.

    Raises:
        ElicitError: a requested rank exceeds the vocabulary, or a prompt with its new tokens exceeds the model's
            positions.
    """
    if isinstance(forward, Elsewhere):
        return forward.generate(engine, requests, decoding, measure)
    context = engine.context
    for request in requests:
        check_sampling_fits(len(request.ids), _max_new_tokens(request, decoding), context)
    results: dict[tuple[int, int], Completion] = {}
    onednn = torch.backends.mkldnn.enabled
    stopper = Stopper(engine.tokenizer, decoding.stop)
    with torch.inference_mode():
        pending = list(_plan_batches(engine, requests, decoding))[::-1]
        while pending:
            batch = pending.pop()
            try:
                results.update(_sample_batch(engine, requests, batch, decoding, stopper, forward, measure))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or sum(len(samples) for _, samples in batch) == 1:
                    raise
                pending.extend(_split_batch(batch)[::-1])
            finally:
                engine.clock.explicit = None
                # torch disables oneDNN permanently after a failed allocation; bfloat16 would be many times slower.
                torch.backends.mkldnn.set_flags(onednn)  # type: ignore[no-untyped-call]
    return [[results[i, j] for j in range(len(request.keys))] for i, request in enumerate(requests)]


#: A batch: (request index, sample indices) pairs.
Batch = list[tuple[int, list[int]]]


def _plan_batches(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
    """Plan batches of requests of similar length within the budgets; `rotary` separates some lengths."""
    vocabulary = engine.hf.config.get_text_config(decoder=True).vocab_size
    per_token = cache_bytes_per_token(engine.hf)
    batch: Batch = []
    rows = 0
    scaling = length_scaling(engine.hf.config)
    group = 0
    for index in sorted(range(len(requests)), key=lambda i: len(requests[i].ids)):
        length = len(requests[index].ids) + _max_new_tokens(requests[index], decoding)
        before, group = group, frequency_group(scaling, len(requests[index].ids), length)
        if batch and group != before:
            yield batch
            batch, rows = [], 0
        limit = max(1, min(engine.cache_budget // (per_token * length), engine.logit_budget // vocabulary))
        samples = list(range(len(requests[index].keys)))
        while samples:
            if rows >= limit:
                yield batch
                batch, rows = [], 0
            taken, samples = samples[: limit - rows], samples[limit - rows :]
            batch.append((index, taken))
            rows += len(taken)
    if batch:
        yield batch


def _split_batch(batch: Batch) -> list[Batch]:
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    index, samples = batch[0]
    middle = len(samples) // 2
    return [[(index, samples[:middle])], [(index, samples[middle:])]]


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _max_new_tokens(request: Request, decoding: Decoding) -> int:
    """Largest number of new tokens of a request."""
    return decoding.max_new_tokens if request.limit is None else min(request.limit, decoding.max_new_tokens)


def _sample_batch(
    engine: Engine,
    requests: Sequence[Request],
    batch: Batch,
    decoding: Decoding,
    stopper: Stopper,
    forward: Forward,
    measure: Measure | None,
) -> dict[tuple[int, int], Completion]:
    """Sample one batch."""
    batch_requests = [requests[index] for index, _ in batch]
    names = [(index, sample) for index, samples in batch for sample in samples]
    limits = np.array([_max_new_tokens(requests[index], decoding) for index, _ in names])
    longest = decoding.replace(max_new_tokens=int(limits.max()))
    state, logits = forward.prefill(engine, batch_requests, [len(samples) for _, samples in batch], longest)
    sampled = decoding.temperature > 0
    stream = UniformStream([requests[i].keys[j] for i, j in names]) if sampled else None
    chain = build_logits_processors(decoding) if sampled else []
    device = logits.device
    is_end = np.zeros(logits.shape[1], dtype=bool)
    is_end[[token for token in engine.end_ids if token < logits.shape[1]]] = True
    banned = token_rows.make_id_tensor(engine.banned_ids, device) if engine.banned_ids else None
    logits, fixed, limits = _constrain_first_tokens(requests, batch, logits, banned, limits)

    buffer = _TokenBuffer.allocate(len(names), longest.max_new_tokens, measure is not None)
    rows = np.arange(len(names))  # rows still generating
    lengths = np.zeros(len(names), dtype=int)  # tokens of each row at its end
    by_token = np.zeros(len(names), dtype=bool)
    by_stop = np.zeros(len(names), dtype=bool)
    touched = np.zeros(len(names), dtype=int)
    for position in range(longest.max_new_tokens):
        uniform = None if stream is None else stream.draw_step(position, rows)
        chosen = choose_tokens(logits, chain, uniform, banned, measure, fixed if position == 0 else None)
        host_tokens = buffer.record_step(chosen, rows, position)  # the step's only wait for the device
        over = is_end[host_tokens]
        by_token[rows[over]] = True
        if stopper.candidates is not None:
            for slot in np.flatnonzero(stopper.candidates[host_tokens]):
                prompt, before = _split_continued(requests[names[rows[slot]][0]])
                if not over[slot] and stopper.has_stop(
                    before + buffer.tokens[rows[slot], : position + 1].tolist(), prompt
                ):
                    by_stop[rows[slot]] = over[slot] = True
        over |= limits[rows] == position + 1
        lengths[rows[over]] = position + 1
        touched[rows] = state.firing_counts[rows]
        if over.all():
            break
        tokens = chosen.tokens
        if over.any():
            order = _compact_slots(over)
            state.keep(order)
            tokens, rows = tokens[torch.from_numpy(order).to(device)], rows[order]
        logits = forward.step(engine, state, tokens, rows, position + 1)
    finish: list[Finish] = ["stop" if s else "eos" if t else "length" for s, t in zip(by_stop, by_token, strict=True)]
    return _collect_completions(names, requests, buffer, lengths, finish, touched, stopper)


def _constrain_first_tokens(
    requests: Sequence[Request], batch: Batch, logits: torch.Tensor, banned: torch.Tensor | None, limits: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor | None, np.ndarray]:
    """Apply requests' constraints on first tokens: logits without those to avoid, tokens by rank, limits of the rows.

    The tokens are None if no request names a rank, and -1 for rows that choose freely.
    """
    fixed: list[int] = []
    for index, samples in batch:
        request, start = requests[index], len(fixed)
        if request.avoid:
            logits = logits.clone()
            logits[start : start + len(samples), list(request.avoid)] = -torch.inf
        if request.ranks:
            ranked = select_by_rank(logits[start], [0, *(request.ranks[sample] for sample in samples)], banned)
            fixed += ranked[1:]
            below = (logits[start, ranked[1:]] - logits[start, ranked[0]]).float().exp().cpu().numpy() < request.floor
            limits[start : start + len(samples)][below] = 1
        else:
            fixed += [-1] * len(samples)
    return logits, torch.tensor(fixed, device=logits.device) if any(token >= 0 for token in fixed) else None, limits


def _split_continued(request: Request) -> tuple[tuple[int, ...], list[int]]:
    """Split a request's ids into the prompt's and those already in the completion."""
    length = len(request.ids) - request.continued
    return request.ids[:length], list(request.ids[length:])


def _compact_slots(over: np.ndarray) -> np.ndarray:
    """Slots to keep when those marked `over` leave: gaps are filled with the last remaining slots."""
    rows = int((~over).sum())
    order = np.arange(rows)
    order[over[:rows]] = rows + np.flatnonzero(~over[rows:])
    return order


class _TokenBuffer(NamedTuple):
    """Tokens chosen so far and their measurements: [rows, most new tokens] each."""

    tokens: np.ndarray
    logprobs: np.ndarray
    measured: np.ndarray | None

    @classmethod
    def allocate(cls, rows: int, most: int, measured: bool) -> _TokenBuffer:
        shape = (rows, most)
        return cls(np.zeros(shape, dtype=int), np.zeros(shape), np.zeros(shape) if measured else None)

    def record_step(self, chosen: ChosenTokens, rows: np.ndarray, position: int) -> np.ndarray:
        """Store the tokens chosen for `rows`; returns them."""
        tokens, logprobs, measured = chosen.on_host()
        self.tokens[rows, position] = tokens
        self.logprobs[rows, position] = logprobs
        if self.measured is not None and measured is not None:
            self.measured[rows, position] = measured
        return tokens


def _collect_completions(
    names: list[tuple[int, int]],
    requests: Sequence[Request],
    buffer: _TokenBuffer,
    lengths: np.ndarray,
    finish: list[Finish],
    touched: np.ndarray,
    stopper: Stopper,
) -> dict[tuple[int, int], Completion]:
    """Build the completions of a finished batch, each cut at its row's end."""
    completions: dict[tuple[int, int], Completion] = {}
    for row, name in enumerate(names):
        length, request = int(lengths[row]), requests[name[0]]
        tokens = buffer.tokens[row, :length].tolist()
        prompt, before = _split_continued(request)
        text, _ = stopper.truncate_text(stopper.decode_text(before + tokens, prompt))
        completions[name] = Completion(
            tuple(tokens),
            text,
            finish[row],
            tuple(buffer.logprobs[row, :length].tolist()),
            len(request.ids),
            int(touched[row]),
            () if buffer.measured is None else tuple(buffer.measured[row, :length].tolist()),
        )
    return completions
