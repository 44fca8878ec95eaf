"""Residuals and predictions of a model along given completions: teacher-forced, one entry per completion token.

The state of a token is the residual that *produces* it, one position before it: where steering would change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import nn

from elicit.sampling.forward import Engine
from elicit.sampling.score import Scored, hidden_states, pack_batches, project_to_logits


class TokenStates(NamedTuple):
    """A model's states along one completion."""

    residuals: Float[torch.Tensor, "layer token d_model"]
    """Residuals after each requested layer, in float32 on the CPU."""
    top: Int[torch.Tensor, " token"]
    """The most probable token at the position of each completion token."""


def read_token_states(
    engine: Engine, layers: Sequence[nn.Module], layer_indices: Sequence[int], sequences: Sequence[Scored]
) -> list[TokenStates]:
    """Read residuals and predictions along every completion, in the order of `sequences`. Active steering applies.

    Args:
        layers: the model's decoder layers.
        layer_indices: the layers to read.
    """
    results: list[TokenStates | None] = [None] * len(sequences)
    caught: dict[int, torch.Tensor] = {}
    handles = [
        layers[layer].register_forward_hook(
            lambda _, __, out, layer=layer: caught.update({layer: out[0] if isinstance(out, tuple) else out})
        )
        for layer in layer_indices
    ]
    try:
        with torch.inference_mode():
            for packed in pack_batches(engine, sequences, vocabulary_matters=True):
                final = hidden_states(engine, packed)
                for row, index in enumerate(packed.indices):
                    first = len(sequences[index].prompt) - 1
                    here = slice(first, first + len(sequences[index].completion))
                    residuals = torch.stack([caught[layer][row, here].float().cpu() for layer in layer_indices])
                    results[index] = TokenStates(
                        residuals, project_to_logits(engine, final[row, here]).argmax(-1).cpu()
                    )
    finally:
        for handle in handles:
            handle.remove()
    return [result for result in results if result is not None]
