"""Everything discovery computes while streaming, again and slowly: one sequence, one token, one feature at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from elicit import seeds
from saes.discovery import Span
from saes.discovery.conditions import SparseActivations
from saes.sae import SAE


def activations_of(hf: Any, sae: SAE, spans: Sequence[Span]) -> list[np.ndarray]:
    """[counted, d_sae] of each span, from the whole model's own hidden states."""
    found = []
    for span in spans:
        with torch.no_grad():
            states = hf(input_ids=torch.tensor([list(span.ids)]), output_hidden_states=True).hidden_states
            found.append(sae.encode(states[sae.layer + 1][0, span.start : span.stop]).double().numpy())
    return found


def reason_score(
    spans: Sequence[Span], acts: Sequence[np.ndarray], words: dict[str, list[list[int]]], before: int, after: int
) -> np.ndarray:
    """The formula of 2503.18878, token by token."""
    tokens: list[tuple[np.ndarray, set[str]]] = []
    for span, f in zip(spans, acts, strict=True):
        near: list[set[str]] = [set() for _ in span.ids]
        for word, spellings in words.items():
            for spelling in spellings:
                for start in range(len(span.ids) - len(spelling) + 1):
                    if list(span.ids[start : start + len(spelling)]) == list(spelling):
                        for place in range(start, start + len(spelling)):
                            for p in range(place - before, place + after + 1):
                                if 0 <= p < len(near):
                                    near[p].add(word)
        tokens += [(row, near[span.start + i]) for i, row in enumerate(f)]
    plus = np.mean([row for row, near in tokens if near], axis=0)
    minus = np.mean([row for row, near in tokens if not near], axis=0)
    means = []
    for word in words:
        rows = [row for row, near in tokens if word in near]
        if rows:
            means.append(np.mean(rows, axis=0))
    entropy = np.ones_like(plus)
    for i in range(len(plus)):
        total = sum(mean[i] for mean in means)
        if total == 0:
            entropy[i] = 0
        elif len(means) > 1:
            shares = [mean[i] / total for mean in means]
            entropy[i] = -sum(p * np.log(p) for p in shares if p > 0) / np.log(len(means))
    return plus / plus.sum() * entropy**0.7 - minus / minus.sum()


def spans(condition: str, n: int, *, single: bool = False) -> list[Span]:
    """Sequences of mixed length; the two conditions draw from overlapping halves of the vocabulary."""
    found = []
    for number in range(n):
        random = seeds.make_generator("test spans", condition, number)
        size = int(random.integers(4, 20))
        low = 30 if condition == "positive" else 45
        ids = [1, *random.integers(low, low + 35, size=size).tolist()]
        start = int(random.integers(1, size))
        found.append(Span.last(ids) if single else Span(ids, start, int(random.integers(start + 1, size + 2))))
    return found


def as_active(f: np.ndarray, span: Sequence[int], groups: Sequence[str] | None = None) -> SparseActivations:
    """Activations [token, d_sae] as they stream; `span` numbers the span of each token."""
    token, feature = np.nonzero(f)
    names = groups or [f"g{i}" for i in range(max(span) + 1)]
    units = [Span([i], 0, 1, name) for i, name in enumerate(names)]
    position = torch.arange(len(f))
    return SparseActivations(
        torch.from_numpy(token), torch.from_numpy(feature), torch.from_numpy(f[token, feature]).float(),
        torch.tensor(span), position, units,
    )  # fmt: skip
