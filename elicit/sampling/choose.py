"""From logits to tokens: filters, inverse-CDF sampling, log-probabilities, stop strings.

Random numbers come from identity (law of the lab): row r at step k uses position k of its own stream, whatever the
batch it is in, and the token is the inverse of the cumulative distribution at that number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int

from elicit.sampling.decoding import Decoding

_BLOCK = 128


class Chosen(NamedTuple):
    tokens: Int[torch.Tensor, " rows"]
    logprobs: Float[torch.Tensor, " rows"]


class UniformStream:
    """Uniform numbers for a batch of rows, drawn in blocks so that long generations stay in bounded memory."""

    def __init__(self, keys: list[int]) -> None:
        self._generators = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        self._block = np.zeros((len(keys), 0))
        self._start = 0

    def at(self, step: int, rows: np.ndarray) -> Float64[torch.Tensor, " rows"]:
        """Numbers of `rows` for `step`; steps must be asked for in order."""
        if step >= self._start + self._block.shape[1]:
            self._start = step
            self._block = np.stack([generator.random(_BLOCK) for generator in self._generators])
        return torch.from_numpy(self._block[rows, step - self._start])


def filters(decoding: Decoding) -> list[Any]:
    """transformers' own logits processors for a decoding, in its order."""
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    chain: list[Any] = []
    if decoding.temperature not in (0.0, 1.0):
        chain.append(TemperatureLogitsWarper(decoding.temperature))
    if decoding.top_k is not None:
        chain.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p is not None and decoding.top_p < 1:
        chain.append(TopPLogitsWarper(decoding.top_p))
    if decoding.min_p is not None:
        chain.append(MinPLogitsWarper(decoding.min_p))
    return chain


def choose(
    logits: Float[torch.Tensor, "rows vocab"],
    chain: list[Any],
    uniform: Float64[torch.Tensor, " rows"] | None,
    banned: Int[torch.Tensor, " ids"] | None,
) -> Chosen:
    """One token per row: the most probable one if `uniform` is None, else by inverse CDF.

    Args:
        banned: ids that are never chosen (padding rows that are no tokens of the model).
    """
    logits = logits.float()
    if banned is not None:
        logits = logits.index_fill(1, banned, -torch.inf)
    tokens = logits.argmax(dim=-1) if uniform is None else _inverse_cdf(logits, chain, uniform)
    picked = logits.gather(1, tokens[:, None])[:, 0]
    return Chosen(tokens, picked - logits.logsumexp(dim=-1))


def _inverse_cdf(logits: torch.Tensor, chain: list[Any], uniform: torch.Tensor) -> torch.Tensor:
    for warp in chain:
        logits = warp(None, logits)
    # Double precision: with a large vocabulary, a float32 running sum loses the tail's tokens.
    cdf = logits.softmax(dim=-1).double().cumsum(dim=-1)
    # Just below the total, so that rounding can never point past the last token that has probability.
    target = uniform.to(cdf.device)[:, None] * cdf[:, -1:] * (1 - 2.0**-40)
    return torch.searchsorted(cdf, target, right=True)[:, 0]


class Stopper:
    """Finds stop strings as tokens arrive, decoding text only when a token could complete one.

    A stop string can only be completed by a token whose text holds the string's last character (or part of one, for
    byte-level tokens), so most steps need no decoding at all.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self.candidates: Bool[torch.Tensor, " vocab"] | None = _candidates(tokenizer, stop) if stop else None

    def hit(self, tokens: list[int]) -> bool:
        """Whether the text of `tokens` holds a stop string."""
        return self.cut(self.text(tokens))[1]

    def text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def cut(self, text: str) -> tuple[str, bool]:
        """(text before the earliest stop string, whether there was one)."""
        places = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        return (text[: min(places)], True) if places else (text, False)


def _candidates(tokenizer: Any, stop: tuple[str, ...]) -> torch.Tensor:
    last = {string[-1] for string in stop}
    pieces = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    return torch.tensor([any(c in piece for c in last) or "\ufffd" in piece for piece in pieces])
