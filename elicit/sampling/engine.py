"""The sampler: one engine for every policy.

1. Requests are sorted by prompt length and cut into batches by a memory budget (cache bytes and logits).
2. Each prompt is prefilled once; its cache is repeated for its samples.
3. Decoding steps write into a preallocated cache; rows that finish leave the batch, and their steering window and
   random numbers leave with them.
4. A batch that runs out of memory is cut in half and tried again: random numbers belong to samples, so the text does
   not change.

Every forward pass is announced to the model's `Clock`, so steering knows where each row stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from elicit.sampling.cache import bytes_per_token
from elicit.sampling.choose import Chosen, Stopper, UniformStream, choose, filters
from elicit.sampling.decoding import Completion, Decoding, Request
from elicit.sampling.forward import PLAIN, Engine, Forward


def generate(
    engine: Engine, requests: Sequence[Request], decoding: Decoding, forward: Forward = PLAIN
) -> list[list[Completion]]:
    """Sample every request. Returns its completions in the order of its keys.

    `forward` gives the logits; the plain one is the model's own pass.

    The same keys give the same text at any batch size (exactly so in float32).
    """
    results: dict[tuple[int, int], Completion] = {}
    stopper = Stopper(engine.tokenizer, decoding.stop)
    with torch.inference_mode():
        pending = list(_plan(engine, requests, decoding))[::-1]
        while pending:
            batch = pending.pop()
            try:
                results.update(_run(engine, requests, batch, decoding, stopper, forward))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or sum(len(samples) for _, samples in batch) == 1:
                    raise
                pending.extend(_halves(batch)[::-1])
            finally:
                engine.clock.explicit = None
    return [[results[i, j] for j in range(len(request.keys))] for i, request in enumerate(requests)]


#: A batch: (request index, sample indices) pairs.
Batch = list[tuple[int, list[int]]]


def _plan(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
    """Batches of requests of similar length, each within the budgets."""
    vocabulary = engine.hf.config.get_text_config(decoder=True).vocab_size
    per_token = bytes_per_token(engine.hf)
    batch: Batch = []
    rows = 0
    for index in sorted(range(len(requests)), key=lambda i: len(requests[i].ids)):
        length = len(requests[index].ids) + decoding.max_new_tokens
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


def _halves(batch: Batch) -> list[Batch]:
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    index, samples = batch[0]
    middle = len(samples) // 2
    return [[(index, samples[:middle])], [(index, samples[middle:])]]


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _run(
    engine: Engine, requests: Sequence[Request], batch: Batch, decoding: Decoding, stopper: Stopper, forward: Forward
) -> dict[tuple[int, int], Completion]:
    """Sample one batch."""
    asked = [requests[index] for index, _ in batch]
    state, logits = forward.prefill(engine, asked, [len(samples) for _, samples in batch], decoding)
    names = [(index, sample) for index, samples in batch for sample in samples]
    sampled = decoding.temperature > 0
    stream = UniformStream([requests[i].keys[j] for i, j in names]) if sampled else None
    chain = filters(decoding) if sampled else []
    device = logits.device
    ends = torch.tensor(sorted(engine.end_ids), device=device)
    banned = torch.tensor(engine.banned_ids, device=device) if engine.banned_ids else None
    candidates = None if stopper.candidates is None else stopper.candidates.to(device)

    steps: list[Chosen] = []
    members: list[np.ndarray] = []  # which rows each step's tokens belong to
    rows = np.arange(len(names))  # rows in the batch: those still generating
    ended = np.zeros(len(names), dtype=int)  # tokens at which a row ended, 0 if it never did
    by_stop = np.zeros(len(names), dtype=bool)
    touched = np.zeros(len(names), dtype=int)
    for position in range(decoding.max_new_tokens):
        uniform = None if stream is None else stream.at(position, rows)
        chosen = choose(logits, chain, uniform, banned)
        steps.append(Chosen(chosen.tokens.cpu(), chosen.logprobs.cpu()))
        members.append(rows)
        over = torch.isin(chosen.tokens, ends).cpu().numpy()
        if candidates is not None:
            for slot in candidates[chosen.tokens].nonzero()[:, 0].tolist():
                if not over[slot] and stopper.hit(_tokens(steps, members, rows[slot])):
                    by_stop[rows[slot]] = over[slot] = True
        ended[rows[over]] = position + 1
        touched[rows] = state.ledger[rows]
        if over.all() or position + 1 == decoding.max_new_tokens:
            break
        tokens = chosen.tokens
        if over.any():
            order = _filled(over)
            state.keep(order)
            tokens, rows = tokens[torch.from_numpy(order).to(device)], rows[order]
        logits = forward.step(engine, state, tokens, rows, position + 1)
    return _collect(names, requests, steps, members, ended, by_stop, touched, stopper)


def _filled(over: np.ndarray) -> np.ndarray:
    """Slots to keep when those marked `over` leave: the gaps they leave are filled with the last slots that stay."""
    rows = int((~over).sum())
    order = np.arange(rows)
    order[over[:rows]] = rows + np.flatnonzero(~over[rows:])
    return order


def _tokens(steps: list[Chosen], members: list[np.ndarray], row: int) -> list[int]:
    """The tokens so far of a row that has not ended."""
    slots = [int(np.flatnonzero(rows == row)[0]) for rows in members]
    return [int(chosen.tokens[slot]) for chosen, slot in zip(steps, slots, strict=True)]


def _collect(
    names: list[tuple[int, int]],
    requests: Sequence[Request],
    steps: list[Chosen],
    members: list[np.ndarray],
    ended: np.ndarray,
    by_stop: np.ndarray,
    touched: np.ndarray,
    stopper: Stopper,
) -> dict[tuple[int, int], Completion]:
    """Completions of a finished batch, cut where each row ended."""
    tokens = np.zeros((len(names), len(steps)), dtype=int)
    logprobs = np.zeros((len(names), len(steps)))
    for position, (chosen, rows) in enumerate(zip(steps, members, strict=True)):
        tokens[rows, position] = chosen.tokens.numpy()
        logprobs[rows, position] = chosen.logprobs.numpy()
    done: dict[tuple[int, int], Completion] = {}
    for row, name in enumerate(names):
        length = int(ended[row]) if ended[row] > 0 else len(steps)
        mine = tokens[row, :length].tolist()
        text, _ = stopper.cut(stopper.text(mine))
        finish = "stop" if by_stop[row] else ("eos" if ended[row] > 0 else "length")
        done[name] = Completion(
            tuple(mine),
            text,
            finish,  # type: ignore[arg-type]
            tuple(logprobs[row, :length].tolist()),
            len(requests[name[0]].ids),
            int(touched[row]),
        )
    return done
