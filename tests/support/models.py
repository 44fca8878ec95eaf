"""Base models around tiny random transformers models."""

from __future__ import annotations

from pathlib import Path

from elicit.loading.catalog import ModelSource
from elicit.loading.load import LoadedModel
from elicit.model import BaseModel
from tests.support.tiny import tiny


def tiny_model(arch: str = "llama", seed: int = 0) -> BaseModel:
    hf, tokenizer = tiny(arch, seed=seed)
    loaded = LoadedModel(hf, tokenizer, f"tiny-{arch}", ModelSource("folder", f"tiny-{arch}", None), "w", "t", None)
    return BaseModel(loaded)


def save_tiny(arch: str, folder: Path, seed: int = 0) -> Path:
    """The folder, with such a model's files in it."""
    hf, tokenizer = tiny(arch, seed=seed)
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
