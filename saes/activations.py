"""Residuals of running text, streamed: what training, scoring and feature pages all read.

The forward pass ends at the layer that is asked for. Padding never comes out; the first tokens of each sequence are
left out (in real models their norm is an outlier by a factor of 60). Nothing is kept: memory is one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import nn
from transformers import PreTrainedModel

from elicit.context import check_text_fits, context_length
from elicit.errors import ElicitError
from elicit.rotary import RotaryScaling, frequency_group, length_scaling

#: Sequences that are sorted by length among each other before batching, so that little padding is computed.
_WINDOW = 2048


class Harvest(NamedTuple):
    """The residuals of some tokens, one row each."""

    h: Float[torch.Tensor, "token d_model"]
    ids: Int[torch.Tensor, " token"]
    sequence: Int[torch.Tensor, " token"]
    """Which sequence (its number in the stream) each token belongs to."""
    position: Int[torch.Tensor, " token"]
    """Its absolute position there."""


class _LayerReached(Exception):
    """Ends a forward pass at the layer that was asked for."""


def unwrap_bridge(model: Any) -> PreTrainedModel:
    """The transformers model inside a bridge, or the model itself."""
    return model if isinstance(model, PreTrainedModel) else model.original_model


def find_decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder layers of a transformers model or a TransformerBridge.

    Raises:
        ElicitError: if they cannot be told.
    """
    hf = unwrap_bridge(model)
    depth = hf.config.get_text_config(decoder=True).num_hidden_layers
    candidates = [
        (path.count("."), module)
        for path, module in hf.base_model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if not candidates:
        raise ElicitError(f"saes: the decoder layers of {type(hf).__name__} were not found ({depth} expected).")
    return min(candidates, key=lambda entry: entry[0])[1]


def stream(
    model: Any,
    layer: int,
    sequences: Iterable[Sequence[int]],
    *,
    batch_tokens: int = 8192,
    skip: int = 1,
) -> Iterator[Harvest]:
    """Residuals after decoder layer `layer` of every token of every sequence but its first `skip`.

    Sequences come out in windows: within one, by length. Results do not depend on that order other than in order.

    Args:
        model: a transformers causal LM or a TransformerBridge.
        batch_tokens: padded tokens per forward pass.

    Raises:
        ElicitError: a layer that does not exist, or a sequence beyond the model's positions.
    """
    layers = find_decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise ElicitError(f"saes: layer {layer} does not exist. Layers are 0 to {len(layers) - 1}.")
    hf = unwrap_bridge(model)
    context = context_length(vars(hf.config.get_text_config()))
    for numbers, ids, real in batch_sequences(sequences, batch_tokens=batch_tokens, model=model):
        check_text_fits(ids.shape[1], context)
        h = capture_residual(hf, layers[layer], ids, real)
        keep = real.clone()
        keep[:, :skip] = False
        row, position = keep.nonzero(as_tuple=True)
        where = keep.to(h.device)
        yield Harvest(h[where], ids[keep], torch.tensor(numbers)[row], position)


def capture_residual(
    hf: PreTrainedModel, block: nn.Module, ids: Int[torch.Tensor, "batch pos"], real: torch.Tensor
) -> Float[torch.Tensor, "batch pos d_model"]:
    """The output of one decoder layer; the layers above it do not run."""
    captured: list[torch.Tensor] = []

    def capture_output(module: nn.Module, args: Any, output: Any) -> None:
        captured.append(output[0] if isinstance(output, tuple) else output)
        raise _LayerReached

    handle = block.register_forward_hook(capture_output)
    try:
        with torch.no_grad():
            # Right padding is invisible to a causal model: no mask is needed, and attention is faster without one.
            hf.base_model(input_ids=ids.to(hf.device), use_cache=False)
    except _LayerReached:
        pass
    finally:
        handle.remove()
    return captured[0]


def batch_sequences(
    sequences: Iterable[Sequence[int]], *, batch_tokens: int, model: Any
) -> Iterator[tuple[list[int], Int[torch.Tensor, "batch pos"], torch.Tensor]]:
    """(sequence numbers, right-padded ids, real-token mask), long sequences first within each window.

    Args:
        model: what reads them: with rotary scaling by length, only some sequences may share a pass (`elicit.rotary`).
    """
    scaling = length_scaling(unwrap_bridge(model).config)
    window: list[tuple[int, Sequence[int]]] = []
    for number, sequence in enumerate(sequences):
        window.append((number, sequence))
        if len(window) == _WINDOW:
            yield from _pad_window(window, batch_tokens, scaling)
            window = []
    yield from _pad_window(window, batch_tokens, scaling)


def _pad_window(
    window: list[tuple[int, Sequence[int]]], batch_tokens: int, scaling: RotaryScaling | None
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    order = sorted(window, key=lambda entry: (-len(entry[1]), entry[0]))
    while order:
        width = max(1, len(order[0][1]))
        group = frequency_group(scaling, width)
        alike = (
            sum(frequency_group(scaling, len(sequence)) == group for _, sequence in order) if scaling else len(order)
        )
        count = min(max(1, alike), max(1, batch_tokens // width))
        chosen, order = order[:count], order[count:]
        ids = torch.zeros(len(chosen), width, dtype=torch.long)
        lengths = torch.tensor([len(sequence) for _, sequence in chosen])
        for row, (_, sequence) in enumerate(chosen):
            ids[row, : len(sequence)] = torch.as_tensor(sequence, dtype=torch.long)
        yield [number for number, _ in chosen], ids, torch.arange(width) < lengths[:, None]
