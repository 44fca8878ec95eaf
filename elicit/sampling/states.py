"""What a model holds and predicts while it reads given completions: teacher-forced, one entry per completion token.

The state of a token is the residual that *produces* it, one position before it: where steering would change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import nn

from elicit.sampling.forward import Engine
from elicit.sampling.score import Scored, batches, head, hidden_states


class States(NamedTuple):
    """One completion, as a model reads it."""

    residuals: Float[torch.Tensor, "layer token d_model"]
    """After each layer that was asked for, in float32 on the CPU."""
    top: Int[torch.Tensor, " token"]
    """The most probable token in the place of each completion token."""


def states(
    engine: Engine, layers: Sequence[nn.Module], wanted: Sequence[int], sequences: Sequence[Scored]
) -> list[States]:
    """Residuals and predictions along every completion, in the order of `sequences`. Active steering applies.

    Args:
        layers: the model's decoder layers.
        wanted: which of them to read.
    """
    found: list[States | None] = [None] * len(sequences)
    caught: dict[int, torch.Tensor] = {}
    handles = [
        layers[layer].register_forward_hook(
            lambda _, __, out, layer=layer: caught.update({layer: out[0] if isinstance(out, tuple) else out})
        )
        for layer in wanted
    ]
    try:
        with torch.inference_mode():
            for packed in batches(engine, sequences, vocabulary_matters=True):
                final = hidden_states(engine, packed)
                for row, index in enumerate(packed.indices):
                    first = len(sequences[index].prompt) - 1
                    here = slice(first, first + len(sequences[index].completion))
                    residuals = torch.stack([caught[layer][row, here].float().cpu() for layer in wanted])
                    found[index] = States(residuals, head(engine, final[row, here]).argmax(-1).cpu())
    finally:
        for handle in handles:
            handle.remove()
    return [one for one in found if one is not None]
