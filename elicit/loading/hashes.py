"""Hashes that identify a model and a tokenizer. An SAE, a vector or an adapter belongs to one such hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from elicit.loading import architectures

_CHUNK = 1 << 24
"""Number of values converted at a time: 64 MB."""


def weights_hash(hf: Any) -> str:
    """sha256 of a live model's state dict: names, shapes and values.

    Values are hashed as float32, which holds every bfloat16 and float16 exactly. So the hash depends on weights, not on
    files: it is the same for one file or ten shards, on any device, and for a bfloat16 file read as float32. Rounding
    to a narrower type makes other weights and another hash. Tied tensors count once, under the first of their names.
    """
    digest = hashlib.sha256()
    seen: set[tuple[Any, ...]] = set()
    for name, tensor in sorted(architectures.unwrap_model(hf).state_dict().items()):
        storage_key = (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if storage_key in seen and tensor.numel():
            continue
        seen.add(storage_key)
        kind = "float32" if tensor.is_floating_point() else str(tensor.dtype)
        digest.update(json.dumps([name, kind, list(tensor.shape)]).encode())
        _update_digest(digest, tensor)
    return digest.hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """sha256 of everything that determines a tokenizer's ids: its model and rules, added tokens and special tokens.

    Truncation and padding are left out: they are settings that every call may change.
    """
    from transformers import PreTrainedTokenizerFast

    if isinstance(tokenizer, PreTrainedTokenizerFast):
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        del rules["truncation"], rules["padding"]
    else:
        rules = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    text = json.dumps([rules, special], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _update_digest(digest: Any, tensor: torch.Tensor) -> None:
    flat = tensor.detach().reshape(-1)
    for start in range(0, flat.numel(), _CHUNK):
        part = flat[start : start + _CHUNK]
        if part.is_floating_point():
            part = part.float()
        digest.update(part.contiguous().cpu().view(torch.uint8).numpy())
