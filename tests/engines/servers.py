"""vLLM servers for tests: small random models in folders, and the lab's own server on them, in vLLM's environment.

`make test-vllm` builds that environment and names its interpreter in ELICIT_VLLM_PYTHON.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from elicit.engines.connect import check_same_model
from elicit.engines.process import ServerProcess
from elicit.engines.vllm import VLLMEngine
from elicit.loading.load import prepare_model_folder
from elicit.model import BaseModel, load
from tests.support.bases import TEMPLATE, byte_tokenizer, resized
from tests.support.tiny import CHARACTERS, char_tokenizer, norm_mean

PYTHON = os.environ.get("ELICIT_VLLM_PYTHON", "")

#: Small steps and blocks, so that every prompt is prefilled in chunks and prefixes are served from the cache.
SMALL = {"max_num_batched_tokens": 24, "max_num_seqs": 12, "block_size": 32}

_SIZE = {
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
}
_WINDOWED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 16}
#: Architecture -> (class, config class, further options).
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {"tie_word_embeddings": True}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {"query_pre_attn_scalar": 32, **_WINDOWED}),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", {"query_pre_attn_scalar": 32, **_WINDOWED}),
}


@functools.cache
def model_folder(arch: str, spare: int = 0, dtype: str = "float32") -> str:
    """A random model as people have them: a byte-level tokenizer for Qwen, a chat template, spare rows.

    Args:
        spare: rows behind the last token.
    """
    import transformers

    model_class, config_class, more = ARCHITECTURES[arch]
    tokenizer = byte_tokenizer() if arch.startswith("qwen") else char_tokenizer(CHARACTERS)
    tokenizer.chat_template = TEMPLATE
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = getattr(transformers, config_class)(vocab_size=len(tokenizer), **_SIZE, **special, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, model_class)(config)
        for name, parameter in sorted(model.named_parameters()):
            wide = 0.2 if parameter.ndim > 1 else 0.05
            torch.nn.init.normal_(parameter, mean=norm_mean(name, arch), std=wide)
        if spare:
            resized(model, len(tokenizer) + spare)
    folder = tempfile.mkdtemp(prefix=f"vllm-{arch}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def base(name: str, dtype: str = "float32") -> BaseModel:
    return load(name, dtype=dtype)


class Served:
    """A model here and on a server of its own."""

    def __init__(self, model: BaseModel, *, package: Path | None = None, **options: Any) -> None:
        """Start a server. `package` is another copy of the server's package than the lab's."""
        self.model = model
        self.label = model.name if model.card else type(model.hf).__name__
        assert model.context_length is not None
        dtype = str(model.dtype).removeprefix("torch.")
        settings = {"seed": 0, "max_model_len": model.context_length + 1, **SMALL, **options}
        folder = prepare_model_folder(model.name)
        self.process = ServerProcess(PYTHON, folder, dtype=dtype, options=settings, package=package)
        self.engine = VLLMEngine(self.process.connection, model.engine)

    def check(self) -> None:
        """The check of every connection."""
        check_same_model(self.model, self.engine)

    def close(self) -> None:
        self.process.close()
