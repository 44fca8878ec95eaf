"""An organism's training batches: documents by identity, a pool at a time, of similar lengths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int

from elicit import seeds
from elicit.organisms import corpora
from elicit.organisms.corpora import CorpusSource
from elicit.organisms.recipes import OrganismConfig

_POOL = 4096
_PROMPT_WEIGHT = 0.1


class Batch(NamedTuple):
    ids: Int[torch.Tensor, "docs length"]
    weights: Float[torch.Tensor, "docs length"]
    """Weight of each token's loss: 0 at padding."""
    tokens: int
    position: tuple[int, int]
    """Its pool, and how many batches of that pool are done with it."""


def iter_batches(
    config: OrganismConfig,
    sources: tuple[CorpusSource, ...],
    seed: int,
    encode: Callable[[list[str]], list[list[int]]],
    start: tuple[int, int] = (0, 0),
) -> Iterator[Batch]:
    """Endless batches by (seed, pool), from those after `start` on. Documents of a batch have similar lengths."""
    first, done = start
    for pool in itertools.count(first):
        documents = [corpora.draw_document(sources, config.dialect, seed, pool * _POOL + i) for i in range(_POOL)]
        texts = encode([document.text for document in documents])
        prompts = encode([document.prompt for document in documents])
        rows = sorted(
            ((ids, len(prompt) - 1) for ids, prompt in zip(texts, prompts, strict=True)), key=lambda row: len(row[0])
        )
        cuts: list[list[tuple[list[int], int]]] = [[]]
        for row in rows:
            if cuts[-1] and (len(cuts[-1]) + 1) * len(row[0]) > config.batch_tokens:
                cuts.append([])
            cuts[-1].append(row)
        order = seeds.make_generator("batch order", seed, pool).permutation(len(cuts))
        for i in range(done if pool == first else 0, len(cuts)):
            yield _pad_batch(cuts[int(order[i])], (pool, i + 1))


def _pad_batch(rows: list[tuple[list[int], int]], position: tuple[int, int]) -> Batch:
    """Rows of (ids, prompt length), padded on the right, where a causal model does not see it."""
    width = max(len(ids) for ids, _ in rows)
    batch = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for i, (ids, prompt) in enumerate(rows):
        batch[i, : len(ids)] = torch.tensor(ids)
        weights[i, :prompt] = _PROMPT_WEIGHT
        weights[i, prompt : len(ids)] = 1.0
    return Batch(batch, weights, sum(len(ids) for ids, _ in rows), position)
