"""Choose tokens from logits: filters, inverse-CDF sampling, log-probabilities.

Random numbers are determined by identity: row r at step k uses number u_k of its own stream, whatever its batch, and
the token is F^-1(u_k), the inverse of the cumulative distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float64, Int

from elicit.errors import ElicitError
from elicit.sampling.decoding import Decoding, Measure

_BLOCK = 128
#: Logits that are processed together; larger pieces on a GPU keep it busy.
_PIECE, _PIECE_GPU = 1 << 21, 1 << 25
#: Tokens per group in the two-level inverse CDF.
_GROUP = 1024
#: Just below 1, so that rounding can never select a token after the last one with positive probability.
_BELOW = 1 - 2.0**-40


class ChosenTokens(NamedTuple):
    tokens: Int[torch.Tensor, " rows"]
    logprobs: Float[torch.Tensor, " rows"]
    measured: Float[torch.Tensor, " rows"] | None = None

    def on_host(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(tokens, log-probabilities, measured) as numpy arrays, in one transfer.

        Every transfer waits for the device. Doubles hold token ids (below 2^53) and float32 values exactly.
        """
        parts = [part.double() for part in self if part is not None]
        tokens, *rest = torch.stack(parts).cpu().numpy()
        return tokens.astype(int), rest[0], rest[1] if self.measured is not None else None


class UniformStream:
    """Uniform numbers for a batch of rows, drawn in blocks so that long generations stay in bounded memory."""

    def __init__(self, keys: list[int]) -> None:
        self._generators = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        self._block = np.zeros((len(keys), 0))
        self._start = 0

    def draw_step(self, step: int, rows: np.ndarray) -> Float64[torch.Tensor, " rows"]:
        """Numbers of `rows` for `step`; steps must be requested in order."""
        if step >= self._start + self._block.shape[1]:
            self._start = step
            self._block = np.stack([generator.random(_BLOCK) for generator in self._generators])
        return torch.from_numpy(self._block[rows, step - self._start])


def build_logits_processors(decoding: Decoding) -> list[Any]:
    """Build transformers' logits processors for a decoding, in transformers' order."""
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


def choose_tokens(
    logits: Float[torch.Tensor, "rows vocab"],
    chain: list[Any],
    uniform: Float64[torch.Tensor, " rows"] | None,
    banned: Int[torch.Tensor, " ids"] | None,
    measure: Measure | None = None,
    fixed: Int[torch.Tensor, " rows"] | None = None,
) -> ChosenTokens:
    """Choose one token per row: the most probable one if `uniform` is None, else by inverse CDF.

    Rows are processed a few at a time: intermediate values in float32 and float64 then number a small multiple of
    `_PIECE`, however large vocabulary and batch are, and fit into the processor's caches.

    Args:
        banned: ids that are never chosen (padding rows of the head, which are not tokens).
        measure: further quantity to measure for each token.
        fixed: tokens to take instead, where not negative.
    """
    size = max(1, (_PIECE if logits.device.type == "cpu" else _PIECE_GPU) // logits.shape[1])
    pieces = [
        _choose_piece(
            logits[start : start + size].float(),
            chain,
            None if uniform is None else uniform[start : start + size],
            banned,
            measure,
            None if fixed is None else fixed[start : start + size],
        )
        for start in range(0, len(logits), size)
    ]
    if len(pieces) == 1:
        return pieces[0]
    tokens, logprobs, measured = zip(*pieces, strict=True)
    return ChosenTokens(torch.cat(tokens), torch.cat(logprobs), None if measured[0] is None else torch.cat(measured))


def _choose_piece(
    logits: torch.Tensor,
    chain: list[Any],
    uniform: torch.Tensor | None,
    banned: torch.Tensor | None,
    measure: Measure | None,
    fixed: torch.Tensor | None,
) -> ChosenTokens:
    if banned is not None:
        logits = logits.index_fill(1, banned, -torch.inf)
    warped = logits
    if uniform is None:
        tokens = logits.argmax(dim=-1)
    else:
        for warp in chain:
            warped = warp(None, warped)
        tokens = _inverse_cdf(warped, uniform)
    if fixed is not None:
        tokens = torch.where(fixed >= 0, fixed, tokens)
    total = logits.logsumexp(dim=-1)
    measured = None
    if measure == "margin":
        top = (logits.topk(2, dim=-1).values - total[:, None]).exp()
        measured = top[:, 0] - top[:, 1]
    elif measure == "drawn":
        measured = _log_p(warped, tokens, total if warped is logits else warped.logsumexp(dim=-1))
    return ChosenTokens(tokens, _log_p(logits, tokens, total), measured)


def _log_p(logits: torch.Tensor, tokens: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, tokens[:, None])[:, 0] - total


def select_by_rank(
    logits: Float[torch.Tensor, " vocab"], ranks: Sequence[int], banned: Int[torch.Tensor, " ids"] | None
) -> list[int]:
    """Tokens at the given ranks (0: the most probable); of equally probable ones the lower id comes first.

    Raises:
        ElicitError: a rank exceeds the number of tokens that may be chosen.
    """
    logits = logits.float()
    if banned is not None:
        logits = logits.index_fill(0, banned, -torch.inf)
    count = max(ranks) + 1
    possible = int((logits > -torch.inf).sum())
    if count > possible:
        raise ElicitError(f"{count} first tokens were asked for, but this model can only choose among {possible}.")
    near = (logits >= logits.topk(count).values[-1]).nonzero()[:, 0]
    ordered = near[logits[near].argsort(descending=True, stable=True)].tolist()
    return [ordered[rank] for rank in ranks]


def _inverse_cdf(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Inverse CDF in double precision: with a large vocabulary, a float32 running sum loses the tail's tokens.

    A large vocabulary is first summed in groups: a running sum over groups finds the group, and one within the group
    finds the token, so that few values are converted to float64.
    """
    probabilities, uniform = logits.softmax(dim=-1), uniform.to(logits.device)[:, None]
    if probabilities.shape[1] <= 4 * _GROUP:
        return _search_cdf(probabilities.double().cumsum(dim=-1), uniform)[:, 0]
    padded = torch.nn.functional.pad(probabilities, (0, -probabilities.shape[1] % _GROUP))
    grouped = rearrange(padded, "rows (groups size) -> rows groups size", size=_GROUP)
    sums = grouped.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    group = _search_cdf(sums, uniform)
    before = torch.where(group > 0, sums.gather(1, (group - 1).clamp(min=0)), 0.0)
    inner = grouped[torch.arange(len(group), device=group.device), group[:, 0]].double().cumsum(dim=-1)
    # The two sums of a group differ in their last bits: the target must not exceed the running sum's end.
    target = torch.minimum(uniform * sums[:, -1:] * _BELOW - before, inner[:, -1:] * _BELOW).clamp(min=0.0)
    return (group * _GROUP + torch.searchsorted(inner, target, right=True))[:, 0]


def _search_cdf(cdf: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Index of the first running sum above the fraction `uniform` of the total."""
    return torch.searchsorted(cdf, uniform * cdf[:, -1:] * _BELOW, right=True)
