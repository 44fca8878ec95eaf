"""Trained weights as a file for a vLLM server: the tensors that a policy changes, by transformers' names.

Adapters are merged first, so their products are rounded a little differently than beside the base.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import torch

from elicit.adapters import Adapter
from elicit.merged import is_tied, merge_weights
from elicit.weights import Weights


class WeightFile(NamedTuple):
    """Tensors as the server takes them."""

    name: str
    """The content's sha256."""
    content: bytes


def find_weights_obstacle(hf: Any, weights: Weights) -> str | None:
    """Why a server cannot run the base with these weights; None if it can."""
    if not is_tied(hf):
        return None
    if isinstance(weights, Adapter):
        merged = merge_weights(hf, weights)
        if not torch.equal(merged.get_input_embeddings().weight, merged.get_output_embeddings().weight):
            return "the adapter changes only one of a tied embedding and head, which vLLM keeps as one"
    return None


def write_weights(hf: Any, weights: Weights, vocabulary: int) -> WeightFile:
    """Serialise what the weights change.

    Args:
        vocabulary: rows of the embedding in the model's files, of which `hf` has only those of tokens.
    """
    merged = merge_weights(hf, weights)
    base = dict(hf.named_parameters())
    changed = {
        name: parameter.detach()
        for name, parameter in merged.named_parameters()
        if name in base and not _is_same(parameter, base[name])
    }
    rows = hf.get_input_embeddings().num_embeddings
    return _serialise({name: _pad_rows(tensor, rows, vocabulary) for name, tensor in changed.items()})


def _is_same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() or torch.equal(a, b)


def _pad_rows(tensor: torch.Tensor, rows: int, vocabulary: int) -> torch.Tensor:
    """Add zero rows for those that loading has cut off; the server never draws or reads them."""
    if tensor.ndim != 2 or len(tensor) != rows or vocabulary <= rows:
        return tensor
    return torch.nn.functional.pad(tensor, (0, 0, 0, vocabulary - rows))


def _serialise(tensors: dict[str, torch.Tensor]) -> WeightFile:
    from safetensors.torch import save

    content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
    return WeightFile(hashlib.sha256(content).hexdigest(), content)
