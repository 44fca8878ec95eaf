"""Merge trained weights into a copy of the base that shares every tensor that they leave alone."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch

from elicit.adapters import Adapter, clone_sharing_tensors, inject_adapter
from elicit.weights import FullWeights, Weights


def is_tied(hf: Any) -> bool:
    """True if the embedding and the head are one parameter."""
    head = hf.get_output_embeddings()
    return head is not None and hf.get_input_embeddings().weight is head.weight


def merge_weights(base: Any, weights: Weights | None, dtype: torch.dtype | None = None) -> Any:
    """Build the base's model with merged weights; tensors that they do not change are the base's own.

    Args:
        dtype: None keeps the base's.
    """
    hf = clone_sharing_tensors(base)
    if dtype is not None and dtype != base.dtype:
        hf = copy.deepcopy(hf).to(dtype)
    if isinstance(weights, Adapter):
        for name, parameter in hf.named_parameters():
            if name.endswith("bias"):  # adapters may contain whole biases, which are written in place
                parameter.data = parameter.data.clone()
        wrapped = inject_adapter(hf, weights)
        _untie_shared_parameters(wrapped)
        # Safe merging makes new tensors; otherwise peft would add into the base's own.
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # about tensors that are no longer tied
            return wrapped.merge_and_unload(safe_merge=True)
    if isinstance(weights, FullWeights):
        with weights.apply(hf):
            changed = {name: parameter.data for name, parameter in hf.named_parameters()}
        for name, parameter in hf.named_parameters():
            parameter.data = changed[name]
    return hf


def _untie_shared_parameters(hf: Any) -> None:
    """Give every module its own parameters: merging into an embedding would change a head that is tied to it."""
    seen: set[int] = set()
    for module in hf.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and id(parameter) in seen:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().clone(), requires_grad=False)
            seen.add(id(module._parameters[name]))
