"""Name, path, GGUF file or hub id -> a transformers model and its tokenizer.

Importing this package does not import torch, because the command line lists models. Modules that need torch are
imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elicit.loading.catalog import ModelSource, OrganismEntry, list_organisms, resolve_model

if TYPE_CHECKING:
    from elicit.loading.bridge import bridge_view
    from elicit.loading.hashes import tokenizer_hash, weights_hash
    from elicit.loading.load import LoadedModel, load_transformers, read_tokenizer
    from elicit.loading.tokens import set_pad_token

__all__ = [
    "OrganismEntry",
    "ModelSource",
    "list_organisms",
    "resolve_model",
    "LoadedModel",
    "load_transformers",
    "read_tokenizer",
    "set_pad_token",
    "weights_hash",
    "tokenizer_hash",
    "bridge_view",
]

_LATER = {
    "LoadedModel": "load",
    "load_transformers": "load",
    "read_tokenizer": "load",
    "set_pad_token": "tokens",
    "weights_hash": "hashes",
    "tokenizer_hash": "hashes",
    "bridge_view": "bridge",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
