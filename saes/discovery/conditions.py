"""The conditions that are compared: two of them, each an iterable of spans, encoded as they stream by.

One mechanism serves every comparison: cued against uncued prompts at their last token (`Span.last`), trace against
answer within worked solutions, right against wrong completions, and one model against another on the same spans.
Nothing outlives a batch: no array of shape [token, d_sae] is larger than `CHUNK` tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from elicit.errors import ElicitError, one_line
from saes import activations
from saes.sae import SAE

#: Tokens that are encoded at a time: [1024, 8192] in float32 are 32 MiB.
CHUNK = 1024


class Span(NamedTuple):
    """The positions [start, stop) of one sequence of tokens: those that count.

    Tokens from `stop` on cannot matter to a causal model and are not computed. In real models the residual of position
    0 is an outlier (60 times the norm of the rest): start at 1 unless it is meant.
    """

    ids: Sequence[int]
    start: int
    stop: int
    group: str | None = None
    """What belongs together (a problem): one unit for intervals and for the probe's folds. None: the ids."""

    @classmethod
    def last(cls, ids: Sequence[int], group: str | None = None) -> Span:
        """The last token of a prompt, where the first new token is decided."""
        return cls(ids, len(ids) - 1, len(ids), group)

    @property
    def digest(self) -> str:
        """Hash of ids and positions: the identity of a span, wherever in the stream it stands."""
        bounds = np.array([self.start, self.stop], dtype=np.int64).tobytes()
        return hashlib.blake2b(self._to_bytes() + bounds, digest_size=16).hexdigest()

    @property
    def unit(self) -> str:
        """`group`, or a hash of the ids."""
        return self.group if self.group is not None else hashlib.blake2b(self._to_bytes(), digest_size=16).hexdigest()

    @property
    def unit_key(self) -> int:
        """`unit` as a number: the same in every process."""
        return int.from_bytes(hashlib.blake2b(self.unit.encode(), digest_size=8).digest(), "little")

    def _to_bytes(self) -> bytes:
        return np.asarray(self.ids, dtype=np.int64).tobytes()


class SparseActivations(NamedTuple):
    """The nonzero activations of some whole spans. Entries are in the order of their tokens."""

    token: Int[torch.Tensor, " nonzero"]
    """Which token (row) an entry belongs to, from 0."""
    feature: Int[torch.Tensor, " nonzero"]
    value: Float[torch.Tensor, " nonzero"]
    span: Int[torch.Tensor, " token"]
    """Which of `spans` each token belongs to."""
    position: Int[torch.Tensor, " token"]
    """Its absolute position there."""
    spans: Sequence[Span]

    @property
    def tokens(self) -> int:
        return self.span.shape[0]


def encode_spans(
    model: Any, sae: SAE, spans: Iterable[Span], *, where: str, batch_tokens: int
) -> Iterator[SparseActivations]:
    """The activations of every counted token of every span, span by span, on the CPU.

    Args:
        model: a transformers causal LM or a TransformerBridge; its layer `sae.layer` is read.
        where: the condition's name, for messages.
        batch_tokens: padded tokens per forward pass.

    Raises:
        ElicitError: a span that is no span or lies outside its sequence; NaN residuals or activations.
    """
    hf = activations.unwrap_bridge(model)
    block = activations.find_decoder_layers(model)[sae.layer]
    pending: dict[int, Span] = {}

    def iterate_sequences() -> Iterator[Sequence[int]]:
        for number, span in enumerate(spans):
            check_span(span, number, where)
            pending[number] = span
            yield span.ids[: span.stop]

    for numbers, ids, real in activations.batch_sequences(iterate_sequences(), batch_tokens=batch_tokens, model=hf):
        chosen = [pending.pop(number) for number in numbers]
        h = activations.capture_residual(hf, block, ids, real)
        for first, last in _group_spans(chosen):
            yield _encode_batch(sae, h[first:last], chosen[first:last], where)


def _encode_batch(
    sae: SAE, h: Float[torch.Tensor, "span pos d_model"], spans: Sequence[Span], where: str
) -> SparseActivations:
    starts, stops = (torch.tensor([span[i] for span in spans]) for i in (1, 2))
    places = torch.arange(h.shape[1])
    counted = (places >= starts[:, None]) & (places < stops[:, None])
    rows, position = counted.nonzero(as_tuple=True)
    residuals = h[rows.to(h.device), position.to(h.device)]
    chunks = []
    with torch.no_grad():
        for first in range(0, len(rows), CHUNK):
            f = sae.encode(residuals[first : first + CHUNK])
            token, feature = f.nonzero(as_tuple=True)
            chunks.append((token.cpu() + first, feature.cpu(), f[token, feature].cpu()))
    token, feature, value = (torch.cat(part) for part in zip(*chunks, strict=True))
    if not (residuals.isfinite().all() and value.isfinite().all()):
        raise ElicitError(
            f"saes.discover: {where} spans give NaN or infinite activations at layer {sae.layer}. Check the model's "
            "weights and dtype (try float32)."
        )
    return SparseActivations(token, feature, value, rows, position, spans)


def _group_spans(spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Runs of whole spans of about `CHUNK` counted tokens."""
    first, tokens = 0, 0
    for number, span in enumerate(spans):
        size = span.stop - span.start
        if number > first and tokens + size > CHUNK:
            yield first, number
            first, tokens = number, 0
        tokens += size
    yield first, len(spans)


def check_span(span: Span, number: int, where: str) -> None:
    """Raises ElicitError unless `span` is a Span with at least one position, all inside its sequence."""
    if not isinstance(span, Span):
        raise ElicitError(
            f"saes.discover: {where} item {number} is {one_line(repr(span), 80)}; expected saes.Span(ids, start, "
            "stop), or saes.Span.last(ids) for a prompt's last token."
        )
    if not 0 <= span.start < span.stop <= len(span.ids):
        raise ElicitError(
            f"saes.discover: {where} span {number} is [{span.start}, {span.stop}) of a sequence of {len(span.ids)} "
            f"tokens. Expected 0 <= start < stop <= {len(span.ids)}."
        )


def check_match(model: Any, sae: SAE, which: str) -> None:
    """Raises ElicitError if the model has no such layer, or residuals of another width."""
    depth, width = (
        len(activations.find_decoder_layers(model)),
        activations.unwrap_bridge(model).config.get_text_config().hidden_size,
    )
    if sae.layer >= depth:
        raise ElicitError(
            f"SAE {sae.name!r} reads layer {sae.layer}, but {which} has layers 0 to {depth - 1}. It was trained on "
            f"{sae.manifest.model!r}: give that model."
        )
    if sae.d_model != width:
        raise ElicitError(
            f"SAE {sae.name!r} reads residuals of width {sae.d_model}, but {which}'s have {width}. It was trained on "
            f"{sae.manifest.model!r}: give that model."
        )
