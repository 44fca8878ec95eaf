"""The residual after every layer at every position of texts, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.model import BaseModel
from elicit.sampling import Scored
from elicit.sampling.score import PackedBatch, hidden_states, pack_sequences


def encode_texts(model: BaseModel, texts: Sequence[str], *, most: int | None = None) -> list[Scored]:
    """Texts as token sequences without completions, of at most `most` tokens each.

    Raises:
        ElicitError: `texts` is a single string or empty, or holds an empty text.
    """
    if isinstance(texts, str):
        raise ElicitError("lens: expected a list of texts. Type: [text]")
    if not texts:
        raise ElicitError("lens: the list of texts is empty. Give one or more.")
    return [Scored(model.encode(text)[:most], ()) for text in texts]


def iterate_residuals(
    model: BaseModel, sequences: Sequence[Scored], layers: Sequence[int]
) -> Iterator[tuple[PackedBatch, Float[torch.Tensor, "layer batch pos d_model"]]]:
    """Residuals in right-padded batches, in the model's dtype. Active steering applies, with the right lengths."""
    engine = model.engine
    for batch in pack_sequences(engine, sequences, engine.pass_tokens):
        with torch.inference_mode(), watch_outputs(model, layers) as caught:
            hidden_states(engine, batch)
        device = caught[layers[-1]].device  # layers may be on several
        yield batch, torch.stack([caught[layer].to(device) for layer in layers])


@contextmanager
def watch_outputs(model: BaseModel, layers: Sequence[int], *, root: int | None = None) -> Iterator[dict[int, Any]]:
    """Keep the residual after some layers of the passes that run in the context: {layer: [batch, pos, d_model]}.

    Args:
        root: a layer whose residual becomes a leaf that needs gradients, for derivatives of what comes after it.
    """
    modules = architectures.get_decoder_layers(model.hf)
    caught: dict[int, Any] = {}

    def make_hook(layer: int) -> Any:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            caught[layer] = output[0] if isinstance(output, tuple) else output
            if layer == root:
                caught[layer].requires_grad_(True)

        return keep

    handles = [modules[layer].register_forward_hook(make_hook(layer)) for layer in layers]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
