"""Logits of final hidden states, by the model's own forward pass.

Families differ between the head and the logits: Gemma caps them, Cohere multiplies, Granite divides, others do neither.
All of this is in the `forward` of the causal language model, which is run with a decoder that returns the given states.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import nn
from transformers.modeling_outputs import MoeModelOutputWithPast

from elicit.loading import architectures


@dataclass
class _DecoderOutput(MoeModelOutputWithPast):  # type: ignore[misc]  # transformers is untyped
    """Output type of the decoders of any family."""

    cross_attentions: Any = None
    cache_params: Any = None
    shared_kv_states: Any = None


class _FixedStates(nn.Module):
    """Decoder that returns given states."""

    def __init__(self, states: torch.Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *args: Any, **kwargs: Any) -> _DecoderOutput:
        return _DecoderOutput(last_hidden_state=self.states)


def compute_model_logits(hf: Any, hidden: Float[torch.Tensor, "pos d_model"]) -> Float[torch.Tensor, "pos vocab"]:
    """Logits of `hf` (a causal LM, or a PeftModel around one) for final decoder states `hidden`.

    In the model's dtype, with its own scales and caps; gradients flow. No hook on the decoder or on a layer runs.
    """
    model = architectures.unwrap_model(hf)
    ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
    with _replace_decoder(model, _FixedStates(hidden[None])):
        # The class's own forward: trainers replace that of the instance.
        return type(model).forward(model, input_ids=ids, use_cache=False).logits[0]  # type: ignore[no-any-return]


@contextmanager
def _replace_decoder(model: Any, replacement: nn.Module) -> Iterator[None]:
    where, _, name = architectures.get_layout(model).decoder.rpartition(".")
    parent = model.get_submodule(where)
    decoder = parent._modules[name]
    parent._modules[name] = replacement
    try:
        yield
    finally:
        parent._modules[name] = decoder
