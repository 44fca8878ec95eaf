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
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from elicit.loading import architectures
from elicit.sampling.cache import bytes_per_token, preallocated
from elicit.sampling.choose import Chosen, Stopper, UniformStream, choose, filters
from elicit.sampling.decoding import Completion, Decoding, Request
from elicit.steering import Clock, padded_frame, spread_frame, step_frame

#: Initial room in the cache beyond the prompt; longer completions make it grow.
_ROOM = 128
#: Finished rows are dropped once they are this share of the batch: dropping copies the cache.
_DROP_SHARE = 0.125


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
    _limits: dict[str, int] = field(default_factory=dict)
    """Rows that fitted after memory ran out once."""


def generate(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> list[list[Completion]]:
    """Sample every request. Returns its completions in the order of its keys.

    The same keys give the same text at any batch size (exactly so in float32).
    """
    results: dict[tuple[int, int], Completion] = {}
    stopper = Stopper(engine.tokenizer, decoding.stop)
    with torch.inference_mode():
        pending = list(_plan(engine, requests, decoding))[::-1]
        while pending:
            batch = pending.pop()
            try:
                results.update(_run(engine, requests, batch, decoding, stopper))
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
    engine: Engine, requests: Sequence[Request], batch: Batch, decoding: Decoding, stopper: Stopper
) -> dict[tuple[int, int], Completion]:
    """Sample one batch."""
    asked = [requests[index] for index, _ in batch]
    state, logits = _prefill(engine, asked, [len(samples) for _, samples in batch], decoding)
    names = [(index, sample) for index, samples in batch for sample in samples]
    sampled = decoding.temperature > 0
    stream = UniformStream([requests[i].keys[j] for i, j in names]) if sampled else None
    chain = filters(decoding) if sampled else []
    device = logits.device
    ends = torch.tensor(sorted(engine.end_ids), device=device)
    banned = torch.tensor(engine.banned_ids, device=device) if engine.banned_ids else None
    candidates = None if stopper.candidates is None else stopper.candidates.to(device)

    steps: list[Chosen] = []
    alive = np.arange(len(names))  # row numbers still generating
    placed = alive  # row numbers in the batch, finished ones that have not been dropped included
    members: list[np.ndarray] = []  # which rows each step's tokens belong to
    ended = np.full(len(names), -1)  # number of tokens at which a row ended
    by_stop = np.zeros(len(names), dtype=bool)
    touched = np.zeros(len(names), dtype=int)
    for step in range(decoding.max_new_tokens):
        uniform = None if stream is None else stream.at(step, placed)
        chosen = choose(logits, chain, uniform, banned)
        steps.append(Chosen(chosen.tokens.cpu(), chosen.logprobs.cpu()))
        members.append(placed)
        over = torch.isin(chosen.tokens, ends).cpu().numpy()
        if candidates is not None:
            for slot in candidates[chosen.tokens].nonzero()[:, 0].tolist():
                row = placed[slot]
                if ended[row] < 0 and not over[slot] and stopper.hit(_tokens(steps, members, row)):
                    by_stop[row] = over[slot] = True
        fresh = placed[over & (ended[placed] < 0)]
        ended[fresh] = step + 1
        touched[fresh] = state.ledger[fresh]
        alive = placed[ended[placed] < 0]
        if len(alive) == 0 or step + 1 == decoding.max_new_tokens:
            break
        next_tokens = chosen.tokens
        if len(placed) - len(alive) >= max(1, _DROP_SHARE * len(placed)):
            keep = torch.from_numpy(np.flatnonzero(ended[placed] < 0)).to(device)
            state.keep(keep)
            next_tokens, placed = next_tokens[keep], alive
        logits = _step(engine, state, next_tokens, placed, step + 1)
    touched[alive] = state.ledger[alive]
    return _collect(names, requests, steps, members, ended, by_stop, touched, stopper)


@dataclass
class _State:
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

    def keep(self, indices: torch.Tensor) -> None:
        self.cache.batch_select_indices(indices)
        self.lengths = self.lengths[indices]
        if self.mask is not None:
            self.mask = self.mask[indices]
        if self.forced is not None:
            self.forced = self.forced[indices]


def _prefill(
    engine: Engine, asked: list[Request], samples: list[int], decoding: Decoding
) -> tuple[_State, torch.Tensor]:
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
    state = _State(cache, mask, lengths[order].to(device), width, behind, ledger[order.numpy()])
    return state, out.logits[:, -1][order.to(device)]


def _step(engine: Engine, state: _State, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
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


def _tokens(steps: list[Chosen], members: list[np.ndarray], row: int) -> list[int]:
    """The tokens so far of a row that has not ended. Members are sorted, so its slot is found by bisection."""
    slots = [int(np.searchsorted(rows, row)) for rows in members]
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
    for step, (chosen, rows) in enumerate(zip(steps, members, strict=True)):
        tokens[rows, step] = chosen.tokens.numpy()
        logprobs[rows, step] = chosen.logprobs.numpy()
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
