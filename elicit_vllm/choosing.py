"""Choose tokens by identity: the random number of a token belongs to its sample and step, not to the engine.

Number k of a sample is number k of its own Philox stream, and the token is the inverse of the cumulative distribution
at it, in double precision (`elicit.sampling.choose` does the same: the two are compared by test). Logits that are no
tokens of the model have been set to minus infinity before (`steering.mask_logits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

_BLOCK = 128
_GROUP = 1024
_BELOW = 1 - 2.0**-40


@dataclass(frozen=True)
class Filters:
    """Temperature (0: greedy) and filters, in transformers' order."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def warp(self, logits: torch.Tensor) -> torch.Tensor:
        """Apply temperature, top-k, top-p and min-p, as transformers' own processors do."""
        from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        chain: list[Any] = []
        if self.temperature not in (0.0, 1.0):
            chain.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k is not None:
            chain.append(TopKLogitsWarper(self.top_k))
        if self.top_p is not None and self.top_p < 1:
            chain.append(TopPLogitsWarper(self.top_p))
        if self.min_p is not None:
            chain.append(MinPLogitsWarper(self.min_p))
        for processor in chain:
            logits = processor(None, logits)
        return logits


@dataclass
class Stream:
    """Random numbers of one sample, from step `start` on."""

    key: int
    start: int = 0
    _numbers: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _generator: Any = None

    def number(self, step: int) -> float:
        """The number of the sample's token `start + step`."""
        if self._generator is None:
            self._generator = np.random.Generator(np.random.Philox(key=self.key))
        while len(self._numbers) <= self.start + step:
            self._numbers = np.concatenate([self._numbers, self._generator.random(_BLOCK)])
        return float(self._numbers[self.start + step])


@dataclass(frozen=True)
class Choice:
    """How one row chooses its next token."""

    filters: Filters
    number: float = 0.0
    """Its random number; unused when greedy."""
    rank: int | None = None
    """Take the token of this rank instead (0: the most probable; of equals the lower id first)."""
    avoid: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """The token of one row, log p and the measurements that the lab may ask for."""

    token: int
    logprob: float
    margin: float
    """p(most probable) - p(second), unfiltered."""
    drawn: float
    """log q under the distribution that it was drawn from."""
    share: float
    """p(token) / p(most probable)."""


def choose(logits: torch.Tensor, choices: Sequence[Choice]) -> list[Chosen]:
    """Choose one token per row of `logits` [row vocab]; rows of equal filters are treated together."""
    groups: dict[Filters, list[int]] = {}
    for row, choice in enumerate(choices):
        groups.setdefault(choice.filters, []).append(row)
    results: list[Chosen | None] = [None] * len(choices)
    for filters, rows in groups.items():
        for row, chosen in zip(
            rows, _choose_group(logits[rows].float(), filters, [choices[r] for r in rows]), strict=True
        ):
            results[row] = chosen
    return [chosen for chosen in results if chosen is not None]


def _choose_group(logits: torch.Tensor, filters: Filters, choices: Sequence[Choice]) -> list[Chosen]:
    for row, choice in enumerate(choices):
        if choice.avoid:
            logits[row, list(choice.avoid)] = -torch.inf
    if filters.temperature == 0:
        warped, tokens = logits, logits.argmax(dim=-1)
    else:
        warped = filters.warp(logits)
        numbers = torch.tensor([choice.number for choice in choices], dtype=torch.float64, device=logits.device)
        tokens = _inverse_cdf(warped, numbers)
    for row, choice in enumerate(choices):
        if choice.rank is not None:
            tokens[row] = _token_of_rank(logits[row], choice.rank)
    total = logits.logsumexp(dim=-1)
    picked = logits.gather(1, tokens[:, None])[:, 0]
    top = logits.topk(2, dim=-1).values
    p = (top - total[:, None]).exp()
    drawn = warped.gather(1, tokens[:, None])[:, 0] - (total if warped is logits else warped.logsumexp(dim=-1))
    table = (
        torch.stack(
            [
                tokens.double(),
                (picked - total).double(),
                (p[:, 0] - p[:, 1]).double(),
                drawn.double(),
                (picked - top[:, 0]).exp().double(),
            ]
        )
        .cpu()
        .numpy()
    )
    return [Chosen(int(column[0]), *map(float, column[1:])) for column in table.T]


def _token_of_rank(logits: torch.Tensor, rank: int) -> int:
    near = (logits >= logits.topk(rank + 1).values[-1]).nonzero()[:, 0]
    return int(near[logits[near].argsort(descending=True, stable=True)][rank])


def _inverse_cdf(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    probabilities, numbers = logits.softmax(dim=-1), numbers[:, None]
    if probabilities.shape[1] <= 4 * _GROUP:
        return _search(probabilities.double().cumsum(dim=-1), numbers)[:, 0]
    padded = torch.nn.functional.pad(probabilities, (0, -probabilities.shape[1] % _GROUP))
    grouped = padded.view(len(padded), -1, _GROUP)
    sums = grouped.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    group = _search(sums, numbers)
    before = torch.where(group > 0, sums.gather(1, (group - 1).clamp(min=0)), 0.0)
    inner = grouped[torch.arange(len(group), device=group.device), group[:, 0]].double().cumsum(dim=-1)
    target = torch.minimum(numbers * sums[:, -1:] * _BELOW - before, inner[:, -1:] * _BELOW).clamp(min=0.0)
    return (group * _GROUP + torch.searchsorted(inner, target, right=True))[:, 0]


def _search(cdf: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    return torch.searchsorted(cdf, numbers * cdf[:, -1:] * _BELOW, right=True)
