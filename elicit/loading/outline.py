"""A model without its weights: config, tokenizer and modules, from a few small files.

The modules stand on torch's meta device: they have names, shapes and hooks, and no numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from elicit.errors import ElicitError
from elicit.loading import architectures, catalog, converted, ends, hub, rows, size
from elicit.loading.catalog import ModelSource
from elicit.loading.hashes import tokenizer_hash
from elicit.loading.load import DTYPES, LoadedModel, read_supported_config, read_tokenizer
from elicit.loading.textpart import select_text_config
from elicit.loading.tokens import set_pad_token


def load_without_weights(name: str, *, dtype: str = "auto") -> LoadedModel | None:
    """The result of `load_transformers` without weights and their hash. Uses no network and converts nothing.

    None if files are missing: a hub id without config and tokenizer in the local cache, a folder with a config alone,
    a .gguf file that is not yet converted.

    Raises:
        ElicitError: as `load_transformers`, as far as files other than the weights show it.
    """
    source = catalog.resolve_model(name)
    folder = find_config_folder(source)
    if folder is None:
        return None
    hf = build_meta_model(folder, source.name, dtype=size.resolve_dtype(source, dtype) or "float32")
    try:
        tokenizer = read_tokenizer(folder, source.name)
    except ElicitError:
        if size.count_parameters(source) is None:
            return None  # nothing but its config is here
        raise
    rows.trim_to_tokens(tokenizer, hf)
    ends.set_end_ids(tokenizer, hf)
    set_pad_token(tokenizer, hf)
    card = catalog.read_card(folder) if source.kind == "organism" else None
    return LoadedModel(hf.eval(), tokenizer, source.name, source, "", tokenizer_hash(tokenizer), card)


def find_config_folder(source: ModelSource) -> Path | None:
    """Folder of a model's config, None if it is not here. Its weights may be missing."""
    if source.kind == "gguf":
        assert source.path is not None
        return converted.find_converted_folder(source.path)
    return source.path if source.path is not None else hub.find_cached_config(source.name)


def build_meta_model(folder: Path, name: str, *, dtype: str = "float32") -> Any:
    """Transformers model of a folder's config, on the meta device.

    Raises:
        ElicitError: a config that cannot be read or is not supported.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig

    config = select_text_config(read_supported_config(folder, name), name)
    with torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    architectures.get_layout(hf, name=name)
    if (folder / "generation_config.json").is_file():
        hf.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return hf
